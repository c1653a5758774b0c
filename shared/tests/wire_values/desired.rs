//! Desired states: one that uses everything, one that leaves out all that may be left out.

use std::collections::{BTreeMap, BTreeSet};

use felhom_shared::desired::{
    Checksum, ChecksumAlgorithm, CloneOf, ContentType, DesiredState, Disk, DriveClass, Features, Filesystem,
    GuestKind, GuestSpec, Identity, Mount, MountSource, Network, Power, Presence, Source, Startup,
    StorageAction, StorageRole, StorageSpec, StoredFile, TunnelSpec, Uplink, Weekday, Window,
};
use felhom_shared::drive::{DurableId, Hardware};
use felhom_shared::id::{FileName, Label, Sha256Hex, StorageId, Tag};
use felhom_shared::secret::{SecretName, SecretRef};
use jiff::civil::time;

use super::{guest_id, uuid, vmid};

pub(crate) fn everything() -> DesiredState {
    DesiredState {
        version: 1,
        identity: Identity { name: label("kovacs-haz"), customer: Some("Kovács család".to_owned()) },
        maintenance_window: Some(Window {
            days: vec![
                Weekday::Mon,
                Weekday::Tue,
                Weekday::Wed,
                Weekday::Thu,
                Weekday::Fri,
                Weekday::Sat,
                Weekday::Sun,
            ],
            start: time(3, 0, 0, 0),
            minutes: 120,
            timezone: "Europe/Budapest".to_owned(),
        }),
        guests: vec![container(), machine(), full_clone(), linked_clone(), privileged(), going()],
        storage: storages(),
        tunnel: Some(TunnelSpec {
            presence: Presence::Present,
            token: Some(SecretRef {
                secret: SecretName::new("tunnel-token").unwrap(),
                sha256: Sha256Hex::of(b"a token"),
            }),
            program_sha256: Some(Sha256Hex::of(b"a program")),
            revert_after_s: 90,
        }),
    }
}

/// Every action, role, class, file system and kind of content at least once.
fn storages() -> Vec<StorageSpec> {
    let all = [
        ContentType::Backup,
        ContentType::Images,
        ContentType::Import,
        ContentType::Iso,
        ContentType::Rootdir,
        ContentType::Vztmpl,
    ];
    let spec = |name: &str, number: u128, action, role| StorageSpec {
        storage: StorageId::new(name).unwrap(),
        durable_id: DurableId::of_contents(&uuid(number).to_string(), None).unwrap(),
        action,
        role,
        class: None,
        filesystem: None,
        content: [ContentType::Backup].into(),
        label: None,
    };
    let photos = StorageSpec {
        class: Some(DriveClass::Hdd),
        filesystem: Some(Filesystem::Ext4),
        content: all.into(),
        label: Some("a polcon".to_owned()),
        ..spec("photos", 0xa1, StorageAction::Adopt, StorageRole::Guests)
    };
    let usb = Hardware { wwn: None, serial: Some("WX41"), model: "Elements", size_bytes: 2_000_398_934_016 };
    let fresh = StorageSpec {
        durable_id: DurableId::of_hardware(&usb).unwrap(),
        class: Some(DriveClass::Usb),
        filesystem: Some(Filesystem::Xfs),
        ..spec("backup-usb", 0xa2, StorageAction::Format, StorageRole::Backup)
    };
    let ignored = StorageSpec {
        content: BTreeSet::new(),
        ..spec("old", 0xa3, StorageAction::Ignore, StorageRole::Files)
    };
    let classes = [DriveClass::Nvme, DriveClass::Ssd, DriveClass::Virtual].into_iter().zip(0xa4..);
    let rest = classes.map(|(class, number)| StorageSpec {
        class: Some(class),
        ..spec(class.word(), number, StorageAction::Adopt, StorageRole::Files)
    });
    [photos, fresh, ignored].into_iter().chain(rest).collect()
}

/// What `desired_v1_least.json` reads as.
pub(crate) fn least() -> DesiredState {
    let mut guest = plain(1, 101, "web", template(None));
    guest.networks = BTreeMap::from([("net0".to_owned(), card("vmbr0"))]);
    guest.mounts = BTreeMap::from([("mp0".to_owned(), volume_mount("/srv", 1))]);
    guest.features = Some(Features { nesting: false });
    guest.startup = Some(Startup { order: None, up_s: None, down_s: None });
    guest.maintenance_window = Some(Window {
        days: vec![],
        start: time(2, 30, 0, 0),
        minutes: 60,
        timezone: "Europe/Budapest".to_owned(),
    });
    DesiredState {
        version: 1,
        identity: Identity { name: label("box"), customer: None },
        maintenance_window: None,
        guests: vec![guest],
        storage: Vec::new(),
        tunnel: None,
    }
}

fn container() -> GuestSpec {
    let sum = Checksum { algorithm: ChecksumAlgorithm::Sha256, value: "0f".repeat(32) };
    GuestSpec {
        guest_id: guest_id(1),
        vmid: vmid(101),
        kind: GuestKind::Lxc,
        presence: Presence::Present,
        power: Power::Running,
        name: label("nextcloud"),
        source: template(Some(sum)),
        cores: 2,
        memory_mib: 2048,
        swap_mib: Some(512),
        disks: BTreeMap::from([("rootfs".to_owned(), disk(16))]),
        mounts: BTreeMap::from([
            ("mp0".to_owned(), volume_mount("/srv/data", 64)),
            (
                "mp1".to_owned(),
                Mount {
                    path: "/srv/media".to_owned(),
                    source: MountSource::Bind("/mnt/media".to_owned()),
                    backup: false,
                    read_only: true,
                },
            ),
        ]),
        networks: BTreeMap::from([
            (
                "net0".to_owned(),
                Network {
                    bridge: "vmbr0".to_owned(),
                    name: Some("lan0".to_owned()),
                    vlan: Some(20),
                    ip: Some("192.0.2.7/24".to_owned()),
                    gateway: Some("192.0.2.1".parse().unwrap()),
                    mac: Some("BC:24:11:00:00:01".to_owned()),
                    firewall: true,
                },
            ),
            ("net1".to_owned(), Network { ip: Some("dhcp".to_owned()), ..card("vmbr1") }),
        ]),
        tags: vec![Tag::new("app").unwrap(), Tag::new("tier_1+x.y-z").unwrap()],
        description: Some("Fényképek\nés iratok".to_owned()),
        onboot: true,
        startup: Some(Startup { order: Some(2), up_s: Some(20), down_s: Some(90) }),
        unprivileged: true,
        features: Some(Features { nesting: true }),
        maintenance_window: Some(Window {
            days: vec![Weekday::Sat],
            start: time(23, 45, 0, 0),
            minutes: 1440,
            timezone: "UTC".to_owned(),
        }),
        uplink: Some(Uplink { revert_after_s: 300 }),
    }
}

fn machine() -> GuestSpec {
    let image = StoredFile {
        storage: storage("local"),
        file: FileName::new("debian-13-generic-amd64.qcow2").unwrap(),
        url: Some("https://images.example/debian-13-generic-amd64.qcow2".to_owned()),
        checksum: Some(Checksum { algorithm: ChecksumAlgorithm::Sha512, value: "a5".repeat(64) }),
    };
    let disks = BTreeMap::from([("scsi0".to_owned(), disk(32)), ("virtio1".to_owned(), disk(100))]);
    let networks = BTreeMap::from([("net0".to_owned(), card("vmbr0"))]);
    GuestSpec {
        kind: GuestKind::Qemu,
        disks,
        networks,
        ..plain(2, 102, "homeassistant", Source::Image(image))
    }
}

fn full_clone() -> GuestSpec {
    let source = Source::Clone(CloneOf { vmid: vmid(9000), storage: Some(storage("local-lvm")) });
    let disks = BTreeMap::from([("sata0".to_owned(), disk(8)), ("ide2".to_owned(), disk(9))]);
    GuestSpec { kind: GuestKind::Qemu, power: Power::Stopped, disks, ..plain(3, 103, "mail", source) }
}

fn linked_clone() -> GuestSpec {
    plain(4, 104, "mail-test", Source::Clone(CloneOf { vmid: vmid(9001), storage: None }))
}

fn privileged() -> GuestSpec {
    GuestSpec { unprivileged: false, ..plain(5, 105, "legacy", template(None)) }
}

fn going() -> GuestSpec {
    GuestSpec { presence: Presence::Absent, ..plain(6, 999_999_999, "old", template(None)) }
}

fn plain(number: u128, at: u32, name: &str, source: Source) -> GuestSpec {
    GuestSpec {
        guest_id: guest_id(number),
        vmid: vmid(at),
        kind: GuestKind::Lxc,
        presence: Presence::default(),
        power: Power::default(),
        name: label(name),
        source,
        cores: 1,
        memory_mib: 512,
        swap_mib: None,
        disks: BTreeMap::from([("rootfs".to_owned(), disk(4))]),
        mounts: BTreeMap::new(),
        networks: BTreeMap::new(),
        tags: vec![],
        description: None,
        onboot: false,
        startup: None,
        unprivileged: true,
        features: None,
        maintenance_window: None,
        uplink: None,
    }
}

fn template(checksum: Option<Checksum>) -> Source {
    let file = FileName::new("debian-12-standard_12.12-1_amd64.tar.zst").unwrap();
    let url = checksum.is_some().then(|| format!("https://images.example/{file}"));
    Source::Template(StoredFile { storage: storage("local"), file, url, checksum })
}

fn volume_mount(path: &str, size_gib: u32) -> Mount {
    let source = MountSource::Volume(disk(size_gib));
    Mount { path: path.to_owned(), source, backup: true, read_only: false }
}

fn card(bridge: &str) -> Network {
    let bridge = bridge.to_owned();
    Network { bridge, name: None, vlan: None, ip: None, gateway: None, mac: None, firewall: false }
}

fn disk(size_gib: u32) -> Disk {
    Disk { storage: storage("local-lvm"), size_gib }
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn storage(text: &str) -> StorageId {
    StorageId::new(text).unwrap()
}
