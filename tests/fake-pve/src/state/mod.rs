//! Everything the double remembers: one node with its guests, volumes, storages and
//! tasks. All of it is written to disk, except what dies with a process: workers and
//! the file locks they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::Token;
use crate::call::Refusal;
use crate::rng::Rng;
use crate::schema::Schema;

pub(crate) mod config;
pub(crate) mod guest;
pub(crate) mod pool;
pub(crate) mod storage;
pub(crate) mod task;

use self::guest::{Guest, Kind};
use self::storage::{Storage, Volume};
use self::task::{Task, Worker};

/// The machine under the guests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name in paths and UPIDs.
    pub name: String,
    /// Bridges a network device may use.
    pub bridges: BTreeSet<String>,
    /// Paths where a drive is mounted.
    pub mounts: BTreeSet<String>,
    /// ZFS pools that are imported and mounted.
    #[serde(default)]
    pub pools: BTreeSet<String>,
    /// Whether what is mounted on this machine counts too.
    #[serde(default)]
    pub real_mounts: bool,
    /// Drives, as `disks/list` shows them; partitions have a `parent`.
    pub disks: Vec<Value>,
    /// Logical processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of the root filesystem.
    pub disk_bytes: u64,
    /// Epoch seconds of the last boot.
    pub booted: u64,
}

/// A file the outside world offers to `download-url` and `aplinfo`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Download {
    /// Bytes.
    pub size: u64,
    /// Algorithm to hexadecimal digest.
    pub checksums: BTreeMap<String, String>,
}

/// The whole state.
#[derive(Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) guests: BTreeMap<u32, Guest>,
    pub(crate) storages: BTreeMap<String, Storage>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) downloads: BTreeMap<String, Download>,
    /// Templates `aplinfo` can fetch, by file name.
    pub(crate) appliances: BTreeMap<String, Download>,
    pub(crate) rng: Rng,
    pub(crate) next_pid: u32,
    pub(crate) fingerprint: String,
    #[serde(skip)]
    pub(crate) flocks: BTreeMap<u32, String>,
    #[serde(skip)]
    pub(crate) started: Vec<Worker>,
    #[serde(skip)]
    pub(crate) broadcast: Broadcast,
    #[serde(skip, default = "Schema::shared")]
    pub(crate) schema: Arc<Schema>,
}

/// What pvestatd last told the cluster: `/cluster/resources` knows no more than this.
#[derive(Default)]
pub(crate) struct Broadcast {
    pub(crate) guests: BTreeMap<u32, Value>,
    pub(crate) at: Option<Instant>,
    pub(crate) period: Duration,
}

/// A copy of what matters, for tests to look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The machine.
    pub node: Node,
    /// Guests by VMID.
    pub guests: BTreeMap<u32, Guest>,
    /// Storages by id.
    pub storages: BTreeMap<String, Storage>,
    /// Volumes by volume id.
    pub volumes: BTreeMap<String, Volume>,
    /// Tasks, oldest first.
    pub tasks: Vec<Task>,
}

impl Snapshot {
    /// Volumes that belong to `vmid`: how a test notices a disk allocated twice.
    #[must_use]
    pub fn volumes_of(&self, vmid: u32) -> Vec<&str> {
        self.volumes
            .iter()
            .filter(|(_, v)| v.vmid == Some(vmid) && v.content.is_guest())
            .map(|(k, _)| k.as_str())
            .collect()
    }
}

/// The node's one backup lock, kept beside those of the guests; no guest has this number.
pub(crate) const NODE_BACKUP: u32 = 0;

/// Epoch seconds now.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).expect("the clock stands after 1970")
}

impl World {
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.node.clone(),
            guests: self.guests.clone(),
            storages: self.storages.clone(),
            volumes: self.volumes.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// The guest, or PVE's words for one that is not there or is of the other kind.
    pub(crate) fn guest(&self, kind: Kind, vmid: u32) -> Result<&Guest, Refusal> {
        self.guests.get(&vmid).filter(|g| g.kind == kind).ok_or_else(|| self.no_config(kind, vmid))
    }

    fn no_config(&self, kind: Kind, vmid: u32) -> Refusal {
        let (node, dir) = (&self.node.name, kind.config_dir());
        Refusal::die(format!("Configuration file 'nodes/{node}/{dir}/{vmid}.conf' does not exist"))
    }

    /// Refuses a VMID in use, whatever holds it.
    pub(crate) fn vmid_free(&self, vmid: u32) -> Result<(), Refusal> {
        match self.guests.get(&vmid) {
            None => Ok(()),
            Some(other) => {
                let (label, node) = (other.kind.label(), &self.node.name);
                Err(Refusal::die(format!("{label} {vmid} already exists on node '{node}'")))
            }
        }
    }

    pub(crate) fn mounted(&self, path: &str) -> bool {
        let line = |line: &str| line.split(' ').nth(4) == Some(path);
        let really = || {
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            table.lines().any(line)
        };
        self.node.mounts.contains(path) || (self.node.real_mounts && really())
    }

    pub(crate) fn pid(&mut self) -> u32 {
        self.next_pid += 1 + u32::try_from(self.rng.below(7)).expect("below seven");
        self.next_pid
    }

    /// Stops what a power cut stops: running tasks have no end line, guests are off
    /// unless they start at boot.
    pub(crate) fn after_crash(&mut self, host_rebooted: bool) {
        for task in self.tasks.iter_mut().filter(|t| t.endtime.is_none()) {
            task.die();
        }
        self.flocks.clear();
        if host_rebooted {
            self.node.booted = now();
            for guest in self.guests.values_mut() {
                guest.running = None;
                if guest.config.get("onboot").is_some_and(|v| v == "1") && !guest.is_locked() {
                    guest.power_on(self.next_pid, now());
                    self.next_pid += 1;
                }
            }
        }
    }
}
