//! The hand that makes things happen to the node: faults, and what a customer or the
//! world does behind the API's back. It reads everything and obeys no permission.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api;
use crate::auth::Token;
use crate::cert;
use crate::drives::{self, Drive, Part, write_host};
use crate::engine::Engine;
use crate::faults::{ActiveFault, Fault};
use crate::pools;
use crate::requests::{Counters, LoggedRequest};
use crate::size::GIB;
use crate::state::config;
use crate::state::guest::{Config, Guest, GuestSnapshot, Kind};
use crate::state::storage::{Content, Storage, Volume};
use crate::state::{Download, Snapshot, World, now};
use crate::{ControlError, StartError};

/// A cheap handle on a running double.
#[derive(Clone)]
pub struct Control {
    engine: Arc<Engine>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Who holds a file lock the control took.
const BY_HAND: &str = "control";

impl Control {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    // Faults

    /// Puts a fault in force; the number takes it back.
    pub fn add_fault(&self, fault: Fault) -> u64 {
        self.engine.faults.lock().expect("short").add(fault)
    }

    /// Takes one fault back.
    pub fn remove_fault(&self, id: u64) {
        self.engine.faults.lock().expect("short").remove(id);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.engine.faults.lock().expect("short").clear();
    }

    /// Faults in force, with how often each struck.
    #[must_use]
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.engine.faults.lock().expect("short").list()
    }

    // The node

    /// Without quorum every write is refused.
    pub fn set_quorum(&self, quorum: bool) {
        self.engine.switches.lock().expect("short").quorum = quorum;
    }

    /// With pvedaemon down protected calls are 595; `/version` still answers.
    pub fn set_daemon(&self, running: bool) {
        self.engine.switches.lock().expect("short").daemon = running;
    }

    /// How long tasks started from now on work.
    pub fn set_task_time(&self, time: Duration) {
        self.engine.switches.lock().expect("short").task_time = time;
    }

    /// What each call costs.
    pub fn set_latency(&self, latency: Duration) {
        self.engine.switches.lock().expect("short").latency = latency;
    }

    /// Calls about another node answer 595 with `reason`; `None` forgets the node.
    pub fn set_unreachable(&self, node: &str, reason: Option<&str>) {
        let mut switches = self.engine.switches.lock().expect("short");
        match reason {
            Some(reason) => switches.unreachable.insert(node.to_owned(), reason.to_owned()),
            None => switches.unreachable.remove(node),
        };
    }

    /// pveproxy restarts: every connection is dropped, all state stays.
    pub fn restart(&self) {
        self.engine.restarts.send_modify(|n| *n += 1);
    }

    /// Power cut and boot: tasks die without an end line, locks stay, guests with `onboot` run.
    pub fn reboot_host(&self) {
        self.engine.change(|world| world.after_crash(true));
        self.restart();
    }

    /// A new certificate in the same file, and pveproxy restarted with it.
    ///
    /// # Errors
    /// Where it cannot be made or written.
    pub fn renew_certificate(&self) -> Result<(), StartError> {
        let identity = cert::renew(&self.engine.dir, &self.engine.options.node)?;
        *self.engine.tls.lock().expect("short") = identity.tls;
        self.engine.change(|world| world.fingerprint = identity.fingerprint);
        self.restart();
        Ok(())
    }

    /// A bridge appears or goes.
    pub fn set_bridge(&self, bridge: &str, present: bool) {
        self.engine.change(|world| toggle(&mut world.node.bridges, bridge, present));
    }

    /// A drive is mounted at `path`, or no longer.
    pub fn set_mounted(&self, path: &str, mounted: bool) {
        self.engine.change(|world| toggle(&mut world.node.mounts, path, mounted));
    }

    /// Mounts a file system of the host's drives, in its files below `host_root` and in PVE's eyes.
    ///
    /// # Errors
    /// Where no drive has it, or the files cannot be written.
    pub fn mount_drive(&self, uuid: &str, at: &str) -> std::io::Result<()> {
        drives::mount(&self.host_root(), uuid, at)?;
        self.set_mounted(at, true);
        Ok(())
    }

    /// Takes it away again.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub fn unmount_drive(&self, at: &str) -> std::io::Result<()> {
        self.set_mounted(at, false);
        drives::unmount(&self.host_root(), at)
    }

    /// The host's drives from now on, in `disks/list` and in its files below `host_root`.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub fn set_drives(&self, drives: &[Drive]) -> std::io::Result<()> {
        let (mounted, datasets) = (drives::mounted(&self.host_root()), pools::mounted(&self.host_root()));
        write_host(&self.host_root(), drives)?;
        for (dataset, at) in datasets {
            pools::mount(&self.host_root(), &dataset, &at)?;
        }
        pools::drives_changed(&self.host_root(), drives)?;
        for (uuid, at) in mounted {
            // systemd takes a drive's mount away with the drive.
            if self.mount_drive(&uuid, &at).is_err() {
                self.unmount_drive(&at)?;
            }
        }
        self.set_disks(drives.iter().map(Drive::listed).collect());
        *self.engine.drives.lock().expect("short") = drives.to_vec();
        Ok(())
    }

    /// A drive gets a new partition table with one partition, or that partition a file system.
    ///
    /// # Errors
    /// Where there is no such drive, or the files cannot be written.
    pub fn repartition(
        &self,
        name: &str,
        (format, uuid): (&str, &str),
        partition: &str,
    ) -> std::io::Result<()> {
        let mut drives = self.engine.drives.lock().expect("short").clone();
        let gone = || std::io::Error::new(std::io::ErrorKind::NotFound, format!("no drive {name}"));
        let drive = drives.iter_mut().find(|drive| name.starts_with(&drive.name)).ok_or_else(gone)?;
        drive.parts = vec![Part {
            size_bytes: drive.size_bytes - (2 << 20),
            format: format.to_owned(),
            uuid: uuid.to_owned(),
            label: String::new(),
            mounted_at: None,
            held_by: None,
            partition: partition.to_owned(),
        }];
        // Files of an earlier file system are gone with it.
        self.set_drives(&drives)
    }

    /// Runs the host's `zpool` or `zfs`, as far as it has them.
    ///
    /// # Errors
    /// In the tool's words.
    pub fn run_zfs(&self, words: &[&str]) -> std::io::Result<()> {
        let mut drives = self.drives();
        let ran = pools::run(&self.host_root(), &mut drives, words);
        if ran.is_ok() && drives != self.drives() {
            self.set_drives(&drives)?;
        }
        let imported = pools::imported(&self.host_root()).into_iter().collect();
        self.engine.change(|world| world.node.pools = imported);
        ran
    }

    /// Mounts a dataset of a pool, in its files below `host_root`.
    ///
    /// # Errors
    /// Where the pool is not imported, or the files cannot be written.
    pub fn mount_dataset(&self, dataset: &str, at: &str) -> std::io::Result<()> {
        pools::mount(&self.host_root(), dataset, at)
    }

    /// The host's drives as they are.
    #[must_use]
    pub fn drives(&self) -> Vec<Drive> {
        self.engine.drives.lock().expect("short").clone()
    }

    /// Plugs a drive in or pulls it. A serial number of none of the usual drives is that of a new one.
    ///
    /// # Errors
    /// Where the files cannot be written.
    pub fn plug_drive(&self, serial: &str, plugged: bool) -> std::io::Result<()> {
        let mut drives = self.engine.drives.lock().expect("short").clone();
        drives.retain(|drive| drive.serial != serial);
        if plugged {
            let usual = Drive::usual().into_iter().find(|drive| drive.serial == serial);
            drives.push(usual.unwrap_or_else(|| Drive::spare(serial)));
        }
        self.set_drives(&drives)
    }

    /// Where an agent beside this double finds the host's files.
    #[must_use]
    pub fn host_root(&self) -> std::path::PathBuf {
        self.engine.dir.join("host")
    }

    /// The drives `disks/list` shows from now on.
    pub fn set_disks(&self, disks: Vec<serde_json::Value>) {
        self.engine.change(|world| world.node.disks = disks);
    }

    /// One more token.
    pub fn add_token(&self, token: Token) {
        self.engine.change(|world| world.tokens.insert(token.id.clone(), token));
    }

    // Storage

    /// The disk or server behind a storage stops or resumes answering.
    ///
    /// # Errors
    /// Where there is no such storage.
    pub fn set_storage_online(&self, storage: &str, online: bool) -> Result<(), ControlError> {
        self.engine.change(|world| {
            let entry =
                world.storages.get_mut(storage).ok_or_else(|| ControlError::NoStorage(storage.to_owned()))?;
            entry.online = online;
            Ok(())
        })
    }

    /// A storage as the customer would define it: type, content list, GiB.
    pub fn add_storage(&self, id: &str, kind: &str, content: &str, gib: u64) {
        let storage = Storage::new(kind, content, gib * GIB).with("path", &format!("/mnt/pve/{id}"));
        self.engine.change(|world| world.storages.insert(id.to_owned(), storage));
    }

    /// Edits a storage's definition by hand.
    pub fn set_storage_option(&self, id: &str, key: &str, value: &str) {
        self.engine.change(|world| {
            if let Some(storage) = world.storages.get_mut(id) {
                storage.options.insert(key.to_owned(), value.to_owned());
            }
        });
    }

    /// What a URL will yield to `download-url`.
    pub fn add_download(&self, url: &str, download: Download) {
        self.engine.change(|world| world.downloads.insert(url.to_owned(), download));
    }

    // Guests, as touched by hand

    /// Sets or clears the persistent `lock:` key.
    ///
    /// # Errors
    /// Where there is no such guest.
    pub fn set_lock(&self, vmid: u32, lock: Option<&str>) -> Result<(), ControlError> {
        self.edit_config(vmid, "lock", lock)
    }

    /// Takes the guest's file lock until `release_flock`.
    pub fn hold_flock(&self, vmid: u32) {
        self.engine.world().flocks.insert(vmid, BY_HAND.to_owned());
    }

    /// Gives the file lock back.
    pub fn release_flock(&self, vmid: u32) {
        self.engine.world().flocks.retain(|v, holder| *v != vmid || holder != BY_HAND);
    }

    /// Edits the configuration file: drift. `None` deletes the key; nothing is checked.
    ///
    /// # Errors
    /// Where there is no such guest.
    pub fn edit_config(&self, vmid: u32, key: &str, value: Option<&str>) -> Result<(), ControlError> {
        self.with_guest(vmid, |guest| {
            match value {
                Some(value) => guest.config.insert(key.to_owned(), value.to_owned()),
                None => guest.config.remove(key),
            };
        })
    }

    /// The customer takes a snapshot, without a task.
    ///
    /// # Errors
    /// Where there is no such guest.
    pub fn take_snapshot(&self, vmid: u32, name: &str) -> Result<(), ControlError> {
        self.with_guest(vmid, |guest| {
            let config = guest.config.clone();
            guest.snapshots.insert(name.to_owned(), GuestSnapshot { config, snaptime: now() });
            guest.config.insert("parent".to_owned(), name.to_owned());
        })
    }

    /// The customer backs a guest up to `storage`, without a task. Returns the archive.
    ///
    /// # Errors
    /// Where there is no such guest.
    pub fn take_backup(&self, vmid: u32, storage: &str) -> Result<String, ControlError> {
        self.engine.change(|world| {
            let guest = world.guests.get(&vmid).ok_or(ControlError::NoGuest(vmid))?;
            let mut kept = guest.config.clone();
            kept.retain(|key, _| key != "lock" && key != "parent" && !key.starts_with("unused"));
            let (kind, format) = (guest.kind, if guest.kind == Kind::Lxc { "tar.zst" } else { "vma.zst" });
            let number = world.volumes.len();
            let volid = format!("{storage}:backup/vzdump-{}-{vmid}-by_hand-{number}.{format}", kind.name());
            let volume = Volume {
                vmid: Some(vmid),
                backup_of: Some((kind, kept)),
                ..Volume::new(Content::Backup, 34_070_219, format)
            };
            world.volumes.insert(volid.clone(), volume);
            Ok(volid)
        })
    }

    /// Starts or stops the guest at once, without a task.
    ///
    /// # Errors
    /// Where there is no such guest.
    pub fn set_running(&self, vmid: u32, running: bool) -> Result<(), ControlError> {
        self.engine.change(|world| {
            if running {
                // A volume a pending change asks for may fail; the guest then keeps its old disk.
                let _ = config::apply_pending(world, vmid);
            }
            let pid = world.pid();
            let guest = world.guests.get_mut(&vmid).ok_or(ControlError::NoGuest(vmid))?;
            match running {
                true => guest.power_on(pid, now()),
                false => guest.running = None,
            }
            Ok(())
        })
    }

    /// A guest of the customer's own, which nobody manages.
    ///
    /// # Errors
    /// Where the VMID is taken or the disk cannot be made.
    pub fn create_guest(&self, vmid: u32, kind: Kind, name: &str) -> Result<(), ControlError> {
        self.engine.change(|world| by_hand(world, vmid, kind, name))
    }

    /// The customer destroys a guest, protection or not.
    ///
    /// # Errors
    /// Where there is no such guest.
    pub fn destroy_guest(&self, vmid: u32) -> Result<(), ControlError> {
        self.engine.change(|world| {
            world.guests.get(&vmid).ok_or(ControlError::NoGuest(vmid))?;
            config::destroy(world, vmid);
            Ok(())
        })
    }

    fn with_guest(&self, vmid: u32, change: impl FnOnce(&mut Guest)) -> Result<(), ControlError> {
        self.engine.change(|world| {
            let guest = world.guests.get_mut(&vmid).ok_or(ControlError::NoGuest(vmid))?;
            change(guest);
            Ok(())
        })
    }

    // Looking

    /// A copy of guests, volumes, storages and tasks.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.engine.world().snapshot()
    }

    /// Blocks until no task runs; `false` where some still does after `patience`.
    #[must_use]
    pub fn wait_idle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if self.engine.world().tasks.iter().all(|t| t.endtime.is_some()) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets `/cluster/resources` catch up now.
    pub fn broadcast(&self) {
        api::refresh_broadcast(&mut self.engine.world());
    }

    /// Calls since the start or the last reset.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.engine.log.lock().expect("short").entries().to_vec()
    }

    /// How many there were, and how many were not GET.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.engine.log.lock().expect("short").counters
    }

    /// Forgets all calls so far.
    pub fn reset_requests(&self) {
        self.engine.log.lock().expect("short").reset();
    }
}

fn toggle(set: &mut std::collections::BTreeSet<String>, item: &str, present: bool) {
    if present {
        set.insert(item.to_owned());
    } else {
        set.remove(item);
    }
}

fn by_hand(world: &mut World, vmid: u32, kind: Kind, name: &str) -> Result<(), ControlError> {
    world.vmid_free(vmid).map_err(|e| ControlError::Refused(e.message.trim_end().to_owned()))?;
    let mac = world.rng.mac();
    let (disk, net) = match kind {
        Kind::Lxc => ("rootfs", format!("name=eth0,bridge=vmbr0,hwaddr={mac},ip=dhcp,type=veth")),
        Kind::Qemu => ("scsi0", format!("virtio={mac},bridge=vmbr0")),
    };
    let pairs = [
        (kind.name_key(), name),
        ("memory", "512"),
        ("net0", &net),
        ("ostype", if kind == Kind::Lxc { "debian" } else { "l26" }),
    ];
    let config: Config = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    world.guests.insert(vmid, Guest::new(vmid, kind, config));
    let value = config::realise(world, kind, vmid, (disk, "local-lvm:8")).map_err(ControlError::Refused)?;
    if let Some(guest) = world.guests.get_mut(&vmid) {
        guest.config.insert(disk.to_owned(), value);
    }
    Ok(())
}
