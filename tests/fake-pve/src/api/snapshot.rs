//! Snapshots. That a storage cannot make one, a name is taken or a snapshot is missing
//! is found out by the task.

use serde_json::{Value, json};

use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::config::{self, volume_of};
use crate::state::guest::{Guest, GuestSnapshot, is_disk_key};
use crate::state::task::Worker;
use crate::state::{World, now};

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    let mut out: Vec<Value> = Vec::new();
    for (name, snapshot) in &guest.snapshots {
        let mut item = json!({"name": name, "snaptime": snapshot.snaptime,
            "description": snapshot.config.get("description").cloned().unwrap_or_default()});
        item["parent"] = snapshot.config.get("parent").cloned().into();
        out.push(without_null(item));
    }
    let running = u8::from(guest.running.is_some());
    let current = json!({"name": "current", "description": "You are here!", "digest": guest.digest(),
        "running": running, "parent": guest.config.get("parent")});
    out.push(without_null(current));
    Ok(Reply::data(out))
}

fn without_null(mut item: Value) -> Value {
    if let Some(map) = item.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    item
}

pub(super) fn feature(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    let has = match call.must("feature") {
        "snapshot" => can_snapshot(world, guest),
        _ => true,
    };
    Ok(Reply::data(json!({"hasFeature": u8::from(has)})))
}

fn can_snapshot(world: &World, guest: &Guest) -> bool {
    let disks = guest.config.iter().filter(|(k, _)| is_disk_key(guest.kind, k)).map(|(_, v)| volume_of(v));
    disks.filter(|d| world.volumes.contains_key(*d)).all(|volid| {
        let storage = volid.split(':').next().and_then(|s| world.storages.get(s));
        storage.is_some_and(|s| s.snapshots(volid))
    })
}

pub(super) fn config(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    let name = call.must("snapname");
    let snapshot =
        guest.snapshots.get(name).ok_or_else(|| Refusal::die(format!("snapshot '{name}' does not exist")))?;
    let mut shown = snapshot.config.clone();
    shown.insert("snaptime".to_owned(), snapshot.snaptime.to_string());
    Ok(Reply::data(config::render(world, call.kind, &shown)))
}

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let (kind, vmid, name) = (call.kind, call.vmid(), call.must("snapname").to_owned());
    world.guest(kind, vmid)?;
    if name == "current" {
        return Err(Refusal::die("unable to use snapshot name 'current' (reserved name)"));
    }
    let description = call.get("description").map(|d| format!("{}\n", d.trim_end()));
    let task = format!("{}snapshot", kind.task_prefix());
    let worker = Worker::fork(world, &task, &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin({
            let name = name.clone();
            move |world, _| {
                let guest = world.guest(kind, vmid).map_err(|e| e.message)?;
                guest.check_lock()?;
                if guest.snapshots.contains_key(&name) {
                    return Err(format!("snapshot name '{name}' already used"));
                }
                if !can_snapshot(world, guest) {
                    return Err("snapshot feature is not available".to_owned());
                }
                lock(world, vmid, "snapshot")
            }
        })
        .finish(move |world, log| {
            let guest = world.guests.get_mut(&vmid).ok_or("guest is gone")?;
            guest.config.remove("lock");
            let mut config = guest.config.clone();
            config.remove("description");
            config.extend(description.map(|d| ("description".to_owned(), d)));
            guest.snapshots.insert(name.clone(), GuestSnapshot { config, snaptime: now() });
            guest.config.insert("parent".to_owned(), name);
            log.line("trying to acquire lock...");
            log.line(" OK");
            Ok(())
        })
        .undo(move |world| unlock(world, vmid, "snapshot"));
    Ok(worker.start(world))
}

pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    let (kind, vmid, name) = (call.kind, call.vmid(), call.must("snapname").to_owned());
    world.guest(kind, vmid)?;
    let task = format!("{}delsnapshot", kind.task_prefix());
    let worker = Worker::fork(world, &task, &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin({
            let name = name.clone();
            move |world, _| must_exist(world, vmid, &name, "snapshot-delete")
        })
        .finish(move |world, _| {
            let guest = world.guests.get_mut(&vmid).ok_or("guest is gone")?;
            guest.config.remove("lock");
            let gone = guest.snapshots.remove(&name);
            let grandparent = gone.and_then(|s| s.config.get("parent").cloned());
            let children = guest.snapshots.values_mut().map(|s| &mut s.config);
            for config in children.chain([&mut guest.config]).filter(|c| c.get("parent") == Some(&name)) {
                match &grandparent {
                    Some(parent) => config.insert("parent".to_owned(), parent.clone()),
                    None => config.remove("parent"),
                };
            }
            Ok(())
        })
        .undo(move |world| unlock(world, vmid, "snapshot-delete"));
    Ok(worker.start(world))
}

pub(super) fn rollback(world: &mut World, call: &Call) -> Answer {
    let (kind, vmid, name) = (call.kind, call.vmid(), call.must("snapname").to_owned());
    world.guest(kind, vmid)?;
    let start = call.flag("start");
    let task = format!("{}rollback", kind.task_prefix());
    let worker = Worker::fork(world, &task, &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin({
            let name = name.clone();
            move |world, _| must_exist(world, vmid, &name, "rollback")
        })
        .finish(move |world, log| {
            let guest = world.guests.get_mut(&vmid).ok_or("guest is gone")?;
            guest.running = None;
            let description = guest.config.remove("description");
            guest.config = guest.snapshots[&name].config.clone();
            // The description belongs to the guest, the snapshot's to the snapshot.
            guest.config.remove("description");
            guest.config.extend(description.map(|d| ("description".to_owned(), d)));
            guest.config.insert("parent".to_owned(), name);
            guest.pending.clear();
            guest.pending_delete.clear();
            if start { super::power::power_on(world, vmid, log) } else { Ok(()) }
        })
        .undo(move |world| unlock(world, vmid, "rollback"));
    Ok(worker.start(world))
}

fn must_exist(world: &mut World, vmid: u32, name: &str, lock_name: &str) -> Result<(), String> {
    let guest = world.guests.get(&vmid).ok_or("guest is gone")?;
    guest.check_lock()?;
    if !guest.snapshots.contains_key(name) {
        return Err(format!("snapshot '{name}' does not exist"));
    }
    lock(world, vmid, lock_name)
}

fn lock(world: &mut World, vmid: u32, name: &str) -> Result<(), String> {
    let guest = world.guests.get_mut(&vmid).ok_or("guest is gone")?;
    guest.config.insert("lock".to_owned(), name.to_owned());
    Ok(())
}

fn unlock(world: &mut World, vmid: u32, name: &str) {
    if let Some(guest) = world.guests.get_mut(&vmid).filter(|g| g.lock() == Some(name)) {
        guest.config.remove("lock");
    }
}
