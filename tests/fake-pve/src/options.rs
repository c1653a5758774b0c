//! How a double is set up, and the node it starts with. Times are short here; the
//! program asks for real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::auth::Token;
use crate::rng::Rng;
use crate::schema::Schema;
use crate::size::GIB;
use crate::state::guest::{Config, Guest, Kind};
use crate::state::storage::{Content, Storage, Volume};
use crate::state::{Broadcast, Download, Node, World, now};

/// Everything that can be chosen before the start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the API; port 0 takes a free one. Loopback only.
    pub listen: std::net::SocketAddr,
    /// Address of the control interface over HTTP, where one is wanted.
    pub control: Option<std::net::SocketAddr>,
    /// Holds certificate, addresses, token and state; a temporary one without it.
    pub dir: Option<PathBuf>,
    /// Name of the node.
    pub node: String,
    /// Feeds MACs, orders and chances.
    pub seed: u64,
    /// How long an ordinary task works.
    pub task_time: Duration,
    /// What every call costs, spent by one of the workers.
    pub latency: Duration,
    /// How many calls are worked on at once.
    pub workers: usize,
    /// How long a refused authentication takes.
    pub auth_delay: Duration,
    /// How long a call waits for a guest's configuration lock.
    pub lock_timeout: Duration,
    /// An idle connection is closed after this.
    pub keep_alive: Duration,
    /// A protected call that takes longer is answered 596 and goes on.
    pub proxy_timeout: Duration,
    /// How far `/cluster/resources` lags behind.
    pub broadcast_period: Duration,
    /// Whether what is mounted on this machine is mounted in PVE's eyes.
    pub real_mounts: bool,
    /// Tokens beside the full one.
    pub tokens: Vec<Token>,
    /// The full token's id, `user@realm!tokenid`.
    pub token_id: String,
}

impl Default for Options {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            control: None,
            dir: None,
            node: "pve1".to_owned(),
            seed: 1,
            task_time: ms(20),
            latency: ms(0),
            workers: 3,
            auth_delay: ms(20),
            lock_timeout: ms(300),
            keep_alive: Duration::from_secs(5),
            proxy_timeout: Duration::from_secs(30),
            broadcast_period: ms(50),
            real_mounts: false,
            tokens: Vec::new(),
            token_id: "felhom@pve!agent".to_owned(),
        }
    }
}

/// Templates present at the start.
const TEMPLATES: [&str; 2] =
    ["debian-12-standard_12.12-1_amd64.tar.zst", "alpine-3.22-default_20250617_amd64.tar.xz"];

impl Options {
    /// A fresh node: two storages, one bridge, two container templates, one machine template.
    pub(crate) fn world(&self) -> World {
        let mut rng = Rng::new(self.seed);
        let full = Token::full(&self.token_id, &rng.uuid());
        let tokens = self.tokens.iter().cloned().chain([full]).map(|t| (t.id.clone(), t)).collect();
        let mut world = World {
            node: Node {
                name: self.node.clone(),
                bridges: BTreeSet::from(["vmbr0".to_owned()]),
                mounts: BTreeSet::new(),
                pools: BTreeSet::new(),
                real_mounts: self.real_mounts,
                disks: vec![json!({"devpath": "/dev/nvme0n1", "size": 1_000_204_886_016_u64, "type": "nvme",
                    "model": "Samsung SSD 980", "serial": "S64DNL0T123456", "vendor": "unknown", "rpm": 0, "gpt": 1,
                    "wwn": "eui.002538d121b0a1c4", "health": "PASSED", "wearout": 99, "used": "LVM", "osdid": -1,
                    "osdid-list": null, "by_id_link": "/dev/disk/by-id/nvme-Samsung_SSD_980_S64DNL0T123456"})],
                cpus: 16,
                memory_bytes: 64 * GIB,
                disk_bytes: 100 * GIB,
                booted: now().saturating_sub(9258),
            },
            guests: BTreeMap::new(),
            storages: storages(),
            volumes: BTreeMap::new(),
            tasks: Vec::new(),
            tokens,
            downloads: BTreeMap::new(),
            appliances: BTreeMap::new(),
            rng,
            next_pid: 1000,
            fingerprint: String::new(),
            flocks: BTreeMap::new(),
            started: Vec::new(),
            broadcast: Broadcast { period: self.broadcast_period, ..Broadcast::default() },
            schema: Schema::shared(),
        };
        for template in TEMPLATES {
            let format = if template.ends_with("zst") { "tzst" } else { "txz" };
            let volume = Volume::new(Content::Vztmpl, 120 << 20, format);
            world.volumes.insert(format!("local:vztmpl/{template}"), volume);
        }
        let missing = Download { size: 125 << 20, checksums: BTreeMap::new() };
        world.appliances.insert("debian-13-standard_13.1-2_amd64.tar.zst".to_owned(), missing);
        add_machine_template(&mut world);
        world
    }
}

fn storages() -> BTreeMap<String, Storage> {
    let local =
        Storage::new("dir", "vztmpl,iso,backup,snippets,import", 100 * GIB).with("path", "/var/lib/vz");
    let thin =
        Storage::new("lvmthin", "rootdir,images", 1024 * GIB).with("vgname", "pve").with("thinpool", "data");
    BTreeMap::from([("local".to_owned(), local), ("local-lvm".to_owned(), thin)])
}

fn add_machine_template(world: &mut World) {
    let mac = world.rng.mac();
    let uuid = world.rng.uuid();
    let pairs = [
        ("agent", "enabled=1".to_owned()),
        ("boot", "order=scsi0".to_owned()),
        ("cores", "2".to_owned()),
        ("memory", "2048".to_owned()),
        ("meta", "creation-qemu=10.0.13,ctime=1795500000".to_owned()),
        ("name", "debian-13-cloud".to_owned()),
        ("net0", format!("virtio={mac},bridge=vmbr0")),
        ("ostype", "l26".to_owned()),
        ("scsi0", "local-lvm:base-9000-disk-0,discard=on,size=3G".to_owned()),
        ("scsihw", "virtio-scsi-single".to_owned()),
        ("serial0", "socket".to_owned()),
        ("smbios1", format!("uuid={uuid}")),
        ("template", "1".to_owned()),
    ];
    let config: Config = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let disk = Volume { vmid: Some(9000), ..Volume::new(Content::Images, 3 * GIB, "raw") };
    world.volumes.insert("local-lvm:base-9000-disk-0".to_owned(), disk);
    world.guests.insert(9000, Guest::new(9000, Kind::Qemu, config));
}
