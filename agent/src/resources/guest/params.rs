//! From a guest's spec to the parameters PVE creates it with. Pure.

use std::collections::BTreeMap;

use felhom_shared::desired::{Disk, GuestKind, GuestSpec, Mount, MountSource, Network, Source, Startup};
use felhom_shared::id::StorageId;
use felhom_shared::signed::OpId;

use super::key::{clone_mark, name_key, tags};
use crate::step::{CloneGuest, CreateGuest, FetchFile, Step};

/// The steps that bring a missing guest into being, without starting it.
pub(super) fn create_steps(spec: &GuestSpec, grant: Option<&OpId>) -> Vec<Step> {
    let mut steps: Vec<Step> = fetch(&spec.source).into_iter().collect();
    steps.push(match &spec.source {
        Source::Clone(clone) => {
            let mut params = BTreeMap::from([
                (name_key(spec.kind).to_owned(), spec.name.to_string()),
                ("description".to_owned(), clone_mark(spec.guest_id)),
            ]);
            if let Some(storage) = &clone.storage {
                params.insert("full".to_owned(), "1".to_owned());
                params.insert("storage".to_owned(), storage.to_string());
            }
            let allocates_on = clone.storage.iter().cloned().collect();
            Step::CloneGuest(CloneGuest { source: clone.vmid, params, allocates_on })
        }
        Source::Template(_) | Source::Image(_) => Step::CreateGuest(CreateGuest {
            params: create_params(spec),
            allocates_on: storages(spec),
            grant: grant.cloned(),
        }),
    });
    steps
}

fn fetch(source: &Source) -> Option<Step> {
    let (file, content) = match source {
        Source::Template(file) => (file, "vztmpl"),
        Source::Image(file) => (file, "import"),
        Source::Clone(_) => return None,
    };
    Some(Step::FetchFile(FetchFile {
        storage: file.storage.clone(),
        file: file.file.clone(),
        content: content.to_owned(),
        url: file.url.clone()?,
        checksum: file.checksum.clone()?,
    }))
}

fn create_params(spec: &GuestSpec) -> BTreeMap<String, String> {
    let mut params = plain_keys(spec);
    for (slot, network) in &spec.networks {
        params.insert(slot.clone(), network_value(spec.kind, slot, network));
    }
    match spec.kind {
        GuestKind::Lxc => lxc_params(spec, &mut params),
        GuestKind::Qemu => qemu_params(spec, &mut params),
    }
    params
}

/// The keys whose value is one word or text, the same at creation and later.
pub(super) fn plain_keys(spec: &GuestSpec) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::from([
        (name_key(spec.kind).to_owned(), spec.name.to_string()),
        ("cores".to_owned(), spec.cores.to_string()),
        ("memory".to_owned(), spec.memory_mib.to_string()),
        ("onboot".to_owned(), flag(spec.onboot)),
        ("tags".to_owned(), tags(spec).into_iter().collect::<Vec<_>>().join(";")),
    ]);
    if let Some(swap) = spec.swap_mib {
        keys.insert("swap".to_owned(), swap.to_string());
    }
    if let Some(description) = &spec.description {
        keys.insert("description".to_owned(), description.clone());
    }
    if let Some(startup) = &spec.startup {
        keys.insert("startup".to_owned(), startup_value(*startup));
    }
    if let Some(features) = spec.features
        && features.nesting
    {
        keys.insert("features".to_owned(), "nesting=1".to_owned());
    }
    keys
}

fn lxc_params(spec: &GuestSpec, params: &mut BTreeMap<String, String>) {
    if let Source::Template(template) = &spec.source {
        params.insert("ostemplate".to_owned(), format!("{}:vztmpl/{}", template.storage, template.file));
    }
    params.insert("unprivileged".to_owned(), flag(spec.unprivileged));
    for (slot, disk) in &spec.disks {
        params.insert(slot.clone(), new_volume(disk));
    }
    for (slot, mount) in &spec.mounts {
        if let Some(value) = mount_value(mount, None) {
            params.insert(slot.clone(), value);
        }
    }
}

fn qemu_params(spec: &GuestSpec, params: &mut BTreeMap<String, String>) {
    let fixed =
        [("ostype", "l26"), ("scsihw", "virtio-scsi-single"), ("agent", "enabled=1"), ("serial0", "socket")];
    params.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut imported = false;
    for (slot, disk) in &spec.disks {
        let value = match &spec.source {
            Source::Image(image) if !imported => {
                imported = true;
                params.insert("boot".to_owned(), format!("order={slot}"));
                format!("{}:0,import-from={}:import/{}", disk.storage, image.storage, image.file)
            }
            _ => new_volume(disk),
        };
        params.insert(slot.clone(), value);
    }
}

/// `STORAGE:GIB`, which asks PVE to allocate.
pub(super) fn new_volume(disk: &Disk) -> String {
    format!("{}:{}", disk.storage, disk.size_gib)
}

/// A mount point's value: a new volume, or the existing `volid` with the document's options. A bind mount has
/// none: it is guarded, and no token may set it.
pub(super) fn mount_value(mount: &Mount, volid: Option<&str>) -> Option<String> {
    let MountSource::Volume(disk) = &mount.source else { return None };
    let volume = volid.map_or_else(|| new_volume(disk), ToOwned::to_owned);
    let mut value = format!("{volume},mp={},backup={}", mount.path, u8::from(mount.backup));
    if mount.read_only {
        value.push_str(",ro=1");
    }
    Some(value)
}

/// A new network card's value; an existing card is merged, not rebuilt.
fn network_value(kind: GuestKind, slot: &str, network: &Network) -> String {
    let options = network_options(kind, slot, network);
    let mut parts = Vec::new();
    if kind == GuestKind::Qemu {
        parts.push(network.mac.as_ref().map_or_else(|| "virtio".to_owned(), |mac| format!("virtio={mac}")));
    } else if let Some(mac) = &network.mac {
        parts.push(format!("hwaddr={mac}"));
    }
    parts.extend(options.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
    parts.join(",")
}

/// Each option the document decides, with its value or `None` where it must not be set.
pub(super) fn network_options(
    kind: GuestKind,
    slot: &str,
    network: &Network,
) -> Vec<(&'static str, Option<String>)> {
    let number = slot.trim_start_matches("net");
    let mut options = Vec::new();
    if kind == GuestKind::Lxc {
        options.push(("name", Some(network.name.clone().unwrap_or_else(|| format!("eth{number}")))));
    }
    options.push(("bridge", Some(network.bridge.clone())));
    options.push(("tag", network.vlan.map(|vlan| vlan.to_string())));
    options.push(("firewall", network.firewall.then(|| "1".to_owned())));
    if kind == GuestKind::Lxc {
        options.push(("ip", network.ip.clone()));
        options.push(("gw", network.gateway.filter(std::net::IpAddr::is_ipv4).map(|ip| ip.to_string())));
        options.push(("gw6", network.gateway.filter(std::net::IpAddr::is_ipv6).map(|ip| ip.to_string())));
    }
    options
}

fn startup_value(startup: Startup) -> String {
    let parts = [("order", startup.order), ("up", startup.up_s), ("down", startup.down_s)];
    let set = parts.into_iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")));
    set.collect::<Vec<_>>().join(",")
}

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

fn storages(spec: &GuestSpec) -> Vec<StorageId> {
    let volumes = spec.mounts.values().filter_map(|mount| match &mount.source {
        MountSource::Volume(disk) => Some(&disk.storage),
        MountSource::Bind(_) => None,
    });
    let mut storages: Vec<_> =
        spec.disks.values().map(|disk| &disk.storage).chain(volumes).cloned().collect();
    storages.sort_unstable();
    storages.dedup();
    storages
}
