//! Desired documents in few words. Identities follow from the VMID, so that two documents mean the same guest.

use std::collections::BTreeMap;

use felhom_shared::desired::{
    CloneOf, DESIRED_VERSION, DesiredState, Disk, GuestKind, GuestSpec, Identity, Mount, MountSource,
    Network, Power, Presence, Source, StoredFile, Window,
};
use felhom_shared::id::{FileName, GuestId, HostId, Label, StorageId, Vmid};
use uuid::Uuid;

const TEMPLATE: &str = "debian-12-standard_12.12-1_amd64.tar.zst";
/// fake-pve's machine template.
const MACHINE_TEMPLATE: u32 = 9000;

/// The box of every test.
#[must_use]
pub fn host_id() -> HostId {
    HostId(Uuid::from_u128(0xfe11_0000_0000_4000_8000_0000_0000_0001))
}

/// The guest meant to live at a VMID.
#[must_use]
pub fn guest_id(vmid: u32) -> GuestId {
    // The mark is made of the first twelve digits, so the VMID stands there.
    GuestId(Uuid::from_u128((u128::from(vmid) << 80) | 0x4000_8000_0000_0000_0001))
}

/// A document of these guests.
#[must_use]
pub fn document(guests: impl IntoIterator<Item = GuestSpec>) -> DesiredState {
    let guests = guests.into_iter().collect();
    let identity = Identity { name: label("test-house"), customer: None };
    DesiredState {
        version: DESIRED_VERSION,
        identity,
        maintenance_window: None,
        guests,
        storage: Vec::new(),
        tunnel: None,
    }
}

/// A window that is open at every hour of every day.
#[must_use]
pub fn always_open() -> Window {
    Window::always()
}

/// A running container: one core, 512 MiB, 4 GiB on `local-lvm`, one card.
#[must_use]
pub fn lxc(vmid: u32, name: &str) -> GuestSpec {
    let file = FileName::new(TEMPLATE).expect("a plain file name");
    let template = StoredFile { storage: storage("local"), file, url: None, checksum: None };
    let card = Network { ip: Some("dhcp".to_owned()), ..card() };
    GuestSpec {
        networks: BTreeMap::from([("net0".to_owned(), card)]),
        swap_mib: Some(0),
        ..guest(vmid, name, GuestKind::Lxc, Source::Template(template))
    }
}

/// A running virtual machine, copied whole from the node's machine template: two cores, 2 GiB, 4 GiB of disk.
#[must_use]
pub fn qemu(vmid: u32, name: &str) -> GuestSpec {
    let source = CloneOf {
        vmid: Vmid::new(MACHINE_TEMPLATE).expect("within PVE's bounds"),
        storage: Some(storage("local-lvm")),
    };
    GuestSpec { cores: 2, memory_mib: 2048, ..guest(vmid, name, GuestKind::Qemu, Source::Clone(source)) }
}

/// The guest, copied from another one on the node.
#[must_use]
pub fn clone_of(source: u32, spec: GuestSpec) -> GuestSpec {
    let vmid = Vmid::new(source).expect("within PVE's bounds");
    GuestSpec { source: Source::Clone(CloneOf { vmid, storage: Some(storage("local-lvm")) }), ..spec }
}

/// The container, whose root lies on this storage.
#[must_use]
pub fn on_storage(mut spec: GuestSpec, id: &str) -> GuestSpec {
    if let Some(disk) = spec.disks.get_mut("rootfs") {
        disk.storage = storage(id);
    }
    spec
}

/// The container with a volume at `/srv/data`.
#[must_use]
pub fn with_mount(mut spec: GuestSpec, size_gib: u32) -> GuestSpec {
    let source = MountSource::Volume(Disk { storage: storage("local-lvm"), size_gib });
    let mount = Mount { path: "/srv/data".to_owned(), source, backup: true, read_only: false };
    spec.mounts.insert("mp0".to_owned(), mount);
    spec
}

fn guest(vmid: u32, name: &str, kind: GuestKind, source: Source) -> GuestSpec {
    let slot = if kind == GuestKind::Lxc { "rootfs" } else { "scsi0" };
    let disk = Disk { storage: storage("local-lvm"), size_gib: 4 };
    GuestSpec {
        guest_id: guest_id(vmid),
        vmid: Vmid::new(vmid).expect("within PVE's bounds"),
        kind,
        presence: Presence::Present,
        power: Power::Running,
        name: label(name),
        source,
        cores: 1,
        memory_mib: 512,
        swap_mib: None,
        disks: BTreeMap::from([(slot.to_owned(), disk)]),
        mounts: BTreeMap::new(),
        networks: BTreeMap::from([("net0".to_owned(), card())]),
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

fn card() -> Network {
    let bridge = "vmbr0".to_owned();
    Network { bridge, name: None, vlan: None, ip: None, gateway: None, mac: None, firewall: false }
}

fn label(text: &str) -> Label {
    Label::new(text).expect("a plain word")
}

fn storage(text: &str) -> StorageId {
    StorageId::new(text).expect("a plain word")
}
