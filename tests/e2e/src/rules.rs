//! What must hold on the node, whatever has happened. Looks at the node's own books, not at the agent's.

use std::collections::BTreeMap;

use fake_pve::{Content, Guest, Kind, Snapshot};
use felhom_shared::desired::{DesiredState, Disk, GuestKind, GuestSpec, MountSource, Power, Presence};

/// Where the node differs from the document, and what is doubled or left behind.
#[must_use]
pub fn broken(node: &Snapshot, desired: &DesiredState) -> Vec<String> {
    let mut broken = untidy(node);
    for spec in desired.guests.iter().filter(|spec| spec.presence == Presence::Present) {
        match node.guests.get(&spec.vmid.get()) {
            Some(guest) => {
                let found = differences(guest, spec);
                broken.extend(found.into_iter().map(|what| format!("{}: {what}", spec.name)));
            }
            None => broken.push(format!("{} is not there", spec.name)),
        }
    }
    broken
}

/// Volumes nobody uses, volumes of nobody, marks that two guests carry.
pub(crate) fn untidy(node: &Snapshot) -> Vec<String> {
    let mut broken = Vec::new();
    for (volid, volume) in &node.volumes {
        let Some(vmid) = volume.vmid.filter(|_| matches!(volume.content, Content::Rootdir | Content::Images))
        else {
            continue;
        };
        match node.guests.get(&vmid) {
            None => broken.push(format!("{volid} belongs to no guest")),
            Some(guest) if !uses(guest, volid) => {
                broken.push(format!("{volid} is used by no disk of {vmid}"));
            }
            Some(_) => {}
        }
    }
    let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
    for guest in node.guests.values() {
        let tags = guest.config.get("tags").map(String::as_str).unwrap_or_default();
        for mark in tags.split(';').filter(|tag| tag.starts_with("fh-")) {
            if let Some(other) = owners.insert(mark, guest.vmid) {
                broken.push(format!("{other} and {} both carry {mark}", guest.vmid));
            }
        }
    }
    broken
}

fn uses(guest: &Guest, volid: &str) -> bool {
    let values = guest.config.iter().chain(&guest.pending).filter(|(key, _)| !key.starts_with("unused"));
    values
        .into_iter()
        .any(|(_, value)| value.split(',').any(|part| part == volid || part.ends_with(&format!("={volid}"))))
}

fn differences(guest: &Guest, spec: &GuestSpec) -> Vec<String> {
    let kind = match spec.kind {
        GuestKind::Lxc => Kind::Lxc,
        GuestKind::Qemu => Kind::Qemu,
    };
    let mut found = Vec::new();
    if guest.kind != kind {
        found.push(format!("it is {:?}", guest.kind));
    }
    if let Some(lock) = guest.lock() {
        found.push(format!("it is locked ({lock})"));
    }
    if guest.running.is_some() != (spec.power == Power::Running) {
        found.push(format!("it should be {:?}", spec.power));
    }
    let name_key = if kind == Kind::Lxc { "hostname" } else { "name" };
    let mut wanted = vec![
        (name_key, spec.name.to_string()),
        ("cores", spec.cores.to_string()),
        ("memory", spec.memory_mib.to_string()),
        ("tags", tags(spec)),
    ];
    if let Some(swap) = spec.swap_mib {
        wanted.push(("swap", swap.to_string()));
    }
    for (key, wanted) in wanted {
        let has = guest.pending.get(key).or_else(|| guest.config.get(key));
        if has != Some(&wanted) {
            found.push(format!("{key} is {has:?}, not {wanted}"));
        }
    }
    found.extend(disks(spec).into_iter().filter_map(|(slot, disk)| wrong_disk(guest, slot, disk)));
    found
}

fn tags(spec: &GuestSpec) -> String {
    let own = ["felhom".to_owned(), spec.guest_id.mark()];
    let mut tags: Vec<String> = spec.tags.iter().map(ToString::to_string).chain(own).collect();
    tags.sort();
    tags.join(";")
}

fn disks(spec: &GuestSpec) -> Vec<(&str, &Disk)> {
    let mounts = spec.mounts.iter().filter_map(|(slot, mount)| match &mount.source {
        MountSource::Volume(disk) => Some((slot.as_str(), disk)),
        MountSource::Bind(_) => None,
    });
    spec.disks.iter().map(|(slot, disk)| (slot.as_str(), disk)).chain(mounts).collect()
}

fn wrong_disk(guest: &Guest, slot: &str, disk: &Disk) -> Option<String> {
    let value = guest.config.get(slot).or_else(|| guest.pending.get(slot));
    let Some(value) = value else { return Some(format!("{slot} is missing")) };
    let has_size = value.split(',').any(|part| part == format!("size={}G", disk.size_gib));
    (!has_size || !value.contains(&format!("{}:", disk.storage)))
        .then(|| format!("{slot} is {value}, not {} GiB on {}", disk.size_gib, disk.storage))
}
