//! Changes to a guest's configuration: which take effect at once, which wait in the
//! pending section, and what each does to volumes and MACs. Authorisation happened
//! before; nothing here knows the caller.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::World;
use super::guest::{Config, Kind, is_disk_key, is_net_key};
use super::storage::{Content, Volume};
use crate::propstring;
use crate::schema::param::{Param, Type};
use crate::size::{self, GIB};

/// Parameters of the configuration calls that are no configuration keys.
const CONTROL_KEYS: &[&str] = &[
    "node",
    "vmid",
    "delete",
    "revert",
    "digest",
    "skiplock",
    "force",
    "background_delay",
    "import-working-storage",
];

/// What a call asks to change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) set: Config,
    pub(crate) delete: Vec<String>,
    pub(crate) revert: Vec<String>,
}

/// The configuration keys among `params`, normalised as PVE stores them.
pub(crate) fn config_keys(world: &mut World, kind: Kind, params: &BTreeMap<String, String>) -> Config {
    let schema = world.schema.clone();
    let mut keys = Config::new();
    for (key, value) in params.iter().filter(|(k, _)| !CONTROL_KEYS.contains(&k.as_str())) {
        if let Some(param) = schema.config_key(kind.name(), key) {
            keys.insert(key.clone(), normalise(world, kind, (key, param), value));
        }
    }
    keys
}

fn normalise(world: &mut World, kind: Kind, (key, param): (&str, &Param), value: &str) -> String {
    match key {
        "tags" => tags(value),
        "description" if !value.is_empty() && !value.ends_with('\n') => format!("{value}\n"),
        key if is_net_key(key) => net(world, kind, param, value),
        _ => value.to_owned(),
    }
}

/// Lower-cased, sorted, without doubles, joined by `;`.
fn tags(text: &str) -> String {
    let mut tags: Vec<String> =
        text.split([';', ',', ' ']).filter(|t| !t.is_empty()).map(str::to_ascii_lowercase).collect();
    tags.sort();
    tags.dedup();
    tags.join(";")
}

/// A device sent without its MAC gets a new one, at every update.
fn net(world: &mut World, kind: Kind, param: &Param, text: &str) -> String {
    let keys = param.properties().expect("a network device is a property string");
    let mut values = propstring::parse(keys, text).expect("the schema check parsed it");
    match kind {
        Kind::Lxc => {
            values.entry("hwaddr".to_owned()).or_insert_with(|| world.rng.mac());
            values.entry("type".to_owned()).or_insert_with(|| "veth".to_owned());
            propstring::print(keys, &values)
        }
        Kind::Qemu => {
            let model = values.remove("model").unwrap_or_default();
            let mac = values.remove("macaddr").unwrap_or_else(|| world.rng.mac());
            let rest = propstring::print(keys, &values);
            if rest.is_empty() { format!("{model}={mac}") } else { format!("{model}={mac},{rest}") }
        }
    }
}

/// The MAC renewed, for clones and unique restores.
pub(crate) fn with_new_mac(world: &mut World, kind: Kind, text: &str) -> String {
    let mac = world.rng.mac();
    let parts = text.split(',').enumerate().map(|(i, part)| match (kind, part.split_once('=')) {
        (Kind::Qemu, Some((model, _))) if i == 0 => format!("{model}={mac}"),
        (Kind::Lxc, Some(("hwaddr", _))) => format!("hwaddr={mac}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The configuration as JSON, numbers where the schema has numbers.
pub(crate) fn render(world: &World, kind: Kind, config: &Config) -> Map<String, Value> {
    config.iter().map(|(key, value)| (key.clone(), render_value(world, kind, key, value))).collect()
}

/// One value as JSON.
pub(crate) fn render_value(world: &World, kind: Kind, key: &str, value: &str) -> Value {
    let number = match key {
        "template" | "snaptime" => true,
        _ => {
            let param = world.schema.config_key(kind.name(), key);
            param.is_some_and(|p| matches!(p.kind, Type::Integer | Type::Boolean))
        }
    };
    match value.parse::<i64>() {
        Ok(value) if number => value.into(),
        _ => value.into(),
    }
}

/// Whether a running guest takes the change without a restart.
fn is_live(kind: Kind, key: &str, exists: bool) -> bool {
    let common = [
        "description",
        "onboot",
        "startup",
        "protection",
        "hookscript",
        "tags",
        "cpulimit",
        "cpuunits",
        "lock",
    ];
    if common.contains(&key) || is_net_key(key) || key.starts_with("unused") {
        return true;
    }
    match kind {
        Kind::Lxc => {
            let added = !exists && (is_disk_key(kind, key) || key.starts_with("dev"));
            ["hostname", "cores", "memory", "swap"].contains(&key) || added
        }
        Kind::Qemu => {
            let added =
                !exists && (key.starts_with("scsi") || key.starts_with("virtio")) && is_disk_key(kind, key);
            ["name", "balloon", "shares"].contains(&key) || added
        }
    }
}

/// Puts `change` into force as far as a guest in its present state allows; the rest pends.
pub(crate) fn apply(world: &mut World, vmid: u32, change: Change) -> Result<(), String> {
    let Some(guest) = world.guests.get_mut(&vmid) else { return Ok(()) };
    let (kind, running) = (guest.kind, guest.running.is_some());
    for key in &change.revert {
        guest.pending.remove(key);
        guest.pending_delete.remove(key);
    }
    for key in &change.delete {
        let now = !running || is_live(kind, key, true);
        if now {
            delete_key(world, vmid, key);
        } else if let Some(guest) = world.guests.get_mut(&vmid) {
            guest.pending.remove(key);
            guest.pending_delete.insert(key.clone());
        }
    }
    for (key, value) in change.set {
        let Some(guest) = world.guests.get_mut(&vmid) else { return Ok(()) };
        guest.pending_delete.remove(&key);
        if !running || is_live(kind, &key, guest.config.contains_key(&key)) {
            guest.pending.remove(&key);
            set_key(world, vmid, &key, &value)?;
        } else if guest.config.get(&key) == Some(&value) {
            guest.pending.remove(&key);
        } else {
            // A virtual machine's new disk is made at once, a container's when it is mounted.
            let value = if kind == Kind::Qemu { realise(world, kind, vmid, (&key, &value))? } else { value };
            if let Some(guest) = world.guests.get_mut(&vmid) {
                guest.pending.insert(key, value);
            }
        }
    }
    Ok(())
}

/// What a start does before anything else.
pub(crate) fn apply_pending(world: &mut World, vmid: u32) -> Result<(), String> {
    let Some(guest) = world.guests.get_mut(&vmid) else { return Ok(()) };
    let delete = std::mem::take(&mut guest.pending_delete);
    let set = std::mem::take(&mut guest.pending);
    for key in delete {
        delete_key(world, vmid, &key);
    }
    for (key, value) in set {
        set_key(world, vmid, &key, &value)?;
    }
    Ok(())
}

fn set_key(world: &mut World, vmid: u32, key: &str, value: &str) -> Result<(), String> {
    let Some(kind) = world.guests.get(&vmid).map(|g| g.kind) else { return Ok(()) };
    let value = realise(world, kind, vmid, (key, value))?;
    let Some(guest) = world.guests.get_mut(&vmid) else { return Ok(()) };
    let old = guest.config.insert(key.to_owned(), value.clone());
    if let Some(old) = old.filter(|old| is_disk_key(kind, key) && volume_of(old) != volume_of(&value)) {
        keep_unused(world, vmid, volume_of(&old));
    }
    Ok(())
}

fn delete_key(world: &mut World, vmid: u32, key: &str) {
    let Some(guest) = world.guests.get_mut(&vmid) else { return };
    let kind = guest.kind;
    guest.pending.remove(key);
    let Some(old) = guest.config.remove(key) else { return };
    if key.starts_with("unused") {
        world.volumes.remove(volume_of(&old));
    } else if is_disk_key(kind, key) {
        keep_unused(world, vmid, volume_of(&old));
    } else if key == "memory" || key == "swap" {
        // A container always has both: deleting means the default again.
        if let (Kind::Lxc, Some(guest)) = (kind, world.guests.get_mut(&vmid)) {
            guest.config.insert(key.to_owned(), "512".to_owned());
        }
    }
}

fn keep_unused(world: &mut World, vmid: u32, volid: &str) {
    let owned = world.volumes.get(volid).is_some_and(|v| v.vmid == Some(vmid) && v.content.is_guest());
    let Some(guest) = world.guests.get_mut(&vmid).filter(|_| owned) else { return };
    if guest.config.values().any(|v| volume_of(v) == volid) {
        return;
    }
    let key = (0..)
        .map(|n| format!("unused{n}"))
        .find(|k| !guest.config.contains_key(k))
        .expect("numbers do not run out");
    guest.config.insert(key, volid.to_owned());
}

/// The volume a disk's property string names.
pub(crate) fn volume_of(text: &str) -> &str {
    let first = text.split(',').next().unwrap_or_default();
    first.strip_prefix("volume=").or_else(|| first.strip_prefix("file=")).unwrap_or(first)
}

/// `STORE:8` split into storage and bytes.
pub(crate) fn new_volume(volume: &str) -> Option<(&str, u64)> {
    let (storage, size) = volume.split_once(':')?;
    let digits = size.starts_with(|c: char| c.is_ascii_digit())
        && size.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.then(|| size::parse(size, GIB)).flatten().map(|bytes| (storage, bytes))
}

/// A disk's value with its volume made or found and its size written in; other keys as they are.
pub(crate) fn realise(
    world: &mut World,
    kind: Kind,
    vmid: u32,
    (key, value): (&str, &str),
) -> Result<String, String> {
    if !is_disk_key(kind, key) {
        return Ok(value.to_owned());
    }
    let schema = world.schema.clone();
    let keys = schema.config_key(kind.name(), key).and_then(Param::properties).ok_or("no such disk")?;
    let mut values = propstring::parse(keys, value).map_err(|e| e.trim_end().to_owned())?;
    let volume_key = if kind == Kind::Lxc { "volume" } else { "file" };
    let volume = values.get(volume_key).cloned().unwrap_or_default();
    let source = values.remove("import-from");
    values.remove("format");
    let volid = match new_volume(&volume) {
        Some((storage, bytes)) => {
            let bytes = match &source {
                Some(source) => {
                    world.volumes.get(source).ok_or(format!("volume '{source}' does not exist"))?.size
                }
                None => bytes,
            };
            world.allocate(storage, vmid, bytes, kind)?
        }
        None if volume.ends_with(":cloudinit") => {
            values.insert("media".to_owned(), "cdrom".to_owned());
            cloudinit(world, &volume, vmid)?
        }
        None if volume == "none" || volume.starts_with('/') => volume.clone(),
        None if world.volumes.contains_key(&volume) => volume.clone(),
        None => return Err(format!("volume '{volume}' does not exist")),
    };
    if let Some(stored) = world.volumes.get(&volid).filter(|v| v.content.is_guest()) {
        values.insert("size".to_owned(), size::format(stored.size));
    }
    values.insert(volume_key.to_owned(), volid);
    Ok(propstring::print(keys, &values))
}

fn cloudinit(world: &mut World, volume: &str, vmid: u32) -> Result<String, String> {
    let storage = volume.split(':').next().unwrap_or_default();
    let files = world.usable_storage(storage)?.kind == "dir";
    let volid = if files {
        format!("{storage}:{vmid}/vm-{vmid}-cloudinit.qcow2")
    } else {
        format!("{storage}:vm-{vmid}-cloudinit")
    };
    let volume = Volume { vmid: Some(vmid), ..Volume::new(Content::Images, 4 << 20, "raw") };
    world.volumes.insert(volid.clone(), volume);
    Ok(volid)
}

/// Removes the guest and every volume its configuration owns.
pub(crate) fn destroy(world: &mut World, vmid: u32) {
    let Some(guest) = world.guests.remove(&vmid) else { return };
    let snapshots = guest.snapshots.values().flat_map(|s| s.config.values());
    let pending = guest.pending.values();
    for value in guest.config.values().chain(snapshots).chain(pending) {
        let volid = volume_of(value);
        if world.volumes.get(volid).is_some_and(|v| v.vmid == Some(vmid) && v.content.is_guest()) {
            world.volumes.remove(volid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, apply, apply_pending, new_volume, tags, volume_of};
    use crate::options::Options;
    use crate::state::World;
    use crate::state::guest::{Config, Guest, Kind};

    fn set(pairs: &[(&str, &str)]) -> Change {
        let set = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Change { set, ..Change::default() }
    }

    fn world(kind: Kind, running: bool) -> World {
        let mut world = Options::default().world();
        let mut guest = Guest::new(100, kind, Config::new());
        if running {
            guest.power_on(1, 1);
        }
        world.guests.insert(100, guest);
        world
    }

    #[test]
    fn tags_are_a_sorted_set_in_lower_case() {
        assert_eq!(tags("Zeta;felhom,alpha felhom"), "alpha;felhom;zeta");
    }

    #[test]
    fn only_a_number_behind_the_storage_asks_for_a_new_volume() {
        assert_eq!(new_volume("local:0.5"), Some(("local", 1 << 29)));
        assert_eq!(new_volume("local:100/vm-100-disk-0.raw"), None);
        assert_eq!(volume_of("volume=a:b,mp=/x"), "a:b");
    }

    #[test]
    fn resending_a_size_allocates_again_and_keeps_the_old_volume_unused() {
        let mut world = world(Kind::Lxc, false);
        apply(&mut world, 100, set(&[("rootfs", "local-lvm:8")])).unwrap();
        apply(&mut world, 100, set(&[("rootfs", "local-lvm:8")])).unwrap();
        let config = &world.guests[&100].config;
        assert_eq!(config["rootfs"], "local-lvm:vm-100-disk-1,size=8G");
        assert_eq!(config["unused0"], "local-lvm:vm-100-disk-0");
        apply(&mut world, 100, Change { delete: vec!["unused0".to_owned()], ..Change::default() }).unwrap();
        assert!(!world.volumes.contains_key("local-lvm:vm-100-disk-0"));
    }

    #[test]
    fn a_running_machine_keeps_its_cores_until_it_starts_again() {
        let mut world = world(Kind::Qemu, true);
        apply(&mut world, 100, set(&[("cores", "4"), ("name", "new")])).unwrap();
        let guest = &world.guests[&100];
        assert_eq!(guest.config.get("name").map(String::as_str), Some("new"));
        assert_eq!((guest.config.get("cores"), guest.pending["cores"].as_str()), (None, "4"));
        apply_pending(&mut world, 100).unwrap();
        assert_eq!(world.guests[&100].config["cores"], "4");
        assert!(world.guests[&100].pending.is_empty());
    }

    #[test]
    fn a_running_container_takes_memory_at_once_and_features_later() {
        let mut world = world(Kind::Lxc, true);
        apply(&mut world, 100, set(&[("memory", "256"), ("features", "nesting=1")])).unwrap();
        let guest = &world.guests[&100];
        assert_eq!(guest.config["memory"], "256");
        assert_eq!(guest.pending["features"], "nesting=1");
        apply(&mut world, 100, Change { revert: vec!["features".to_owned()], ..Change::default() }).unwrap();
        assert!(world.guests[&100].pending.is_empty());
    }
}
