//! Copying a guest, whole or linked to its template.

use super::create_lxc::{lock, or_destroy};
use crate::call::{Answer, Call, Refusal};
use crate::state::World;
use crate::state::config::{destroy, volume_of, with_new_mac};
use crate::state::guest::{Config, Guest, Kind, is_disk_key, is_net_key};
use crate::state::task::{TaskLog, Worker};

pub(super) fn clone(world: &mut World, call: &Call) -> Answer {
    let (kind, vmid) = (call.kind, call.vmid());
    let newid: u32 =
        call.must("newid").parse().map_err(|_| Refusal::param("newid", "type check ('integer') failed"))?;
    let source = world.guest(kind, vmid)?.clone();
    source.check_lock().map_err(Refusal::die)?;
    world.vmid_free(newid)?;
    if source.running.is_some() && kind == Kind::Lxc {
        return Err(Refusal::die(format!(
            "Full clone of a running container is only possible from a snapshot (CT {vmid})"
        )));
    }
    let full = call.flag("full") || !source.is_template();
    let storage = call.get("storage").map(str::to_owned);
    if storage.is_some() && !full {
        return Err(Refusal::param("storage", "parameter 'storage' not allowed for linked clones"));
    }
    if let Some(storage) = &storage {
        world.disk_storage(storage, kind)?;
    }
    let mut config = source.config.clone();
    config.remove("template");
    config.remove("parent");
    config.retain(|k, _| !k.starts_with("unused"));
    for key in [kind.name_key(), "description"] {
        if let Some(value) = call.get(key) {
            let value =
                if key == "description" { format!("{}\n", value.trim_end()) } else { value.to_owned() };
            config.insert(key.to_owned(), value);
        }
    }
    let lock = lock(if kind == Kind::Lxc { "create" } else { "clone" });
    world.guests.insert(newid, Guest { systemd: source.systemd, ..Guest::new(newid, kind, lock) });
    let task = format!("{}clone", kind.task_prefix());
    let worker = Worker::fork(world, &task, &vmid.to_string(), &call.caller.id)
        .locking(newid)
        .begin(move |world, log| {
            or_destroy(world, newid, |world| copy(world, newid, (kind, config), storage.as_deref(), log))
        })
        .finish(move |world, _| {
            world.guests.get_mut(&newid).ok_or("guest is gone")?.config.remove("lock");
            Ok(())
        })
        .undo(move |world| destroy(world, newid));
    Ok(worker.start(world))
}

fn copy(
    world: &mut World,
    newid: u32,
    (kind, mut config): (Kind, Config),
    storage: Option<&str>,
    log: &mut TaskLog,
) -> Result<(), String> {
    let keys: Vec<String> = config.keys().cloned().collect();
    for key in keys {
        let value = config[&key].clone();
        if is_net_key(&key) {
            config.insert(key, with_new_mac(world, kind, &value));
        } else if is_disk_key(kind, &key) {
            let old = volume_of(&value).to_owned();
            let Some(size) = world.volumes.get(&old).map(|v| v.size) else { continue };
            let target = storage.unwrap_or_else(|| old.split(':').next().unwrap_or_default()).to_owned();
            let volid = world.allocate(&target, newid, size, kind)?;
            log.line(format!(
                "create full clone of {} ({old})",
                if kind == Kind::Lxc { "mountpoint" } else { "drive" }
            ));
            config.insert(key, value.replacen(&old, &volid, 1));
        }
    }
    if kind == Kind::Qemu {
        config.insert("smbios1".to_owned(), format!("uuid={}", world.rng.uuid()));
        config.insert("vmgenid".to_owned(), world.rng.uuid());
    }
    let guest = world.guests.get_mut(&newid).ok_or("guest is gone")?;
    guest.config.extend(config);
    Ok(())
}
