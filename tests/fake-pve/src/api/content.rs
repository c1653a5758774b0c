//! What lies on a storage.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::World;
use crate::state::guest::Kind;
use crate::state::storage::{Content, Volume};
use crate::state::task::Worker;

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let id = call.must("storage");
    world.usable_storage(id).map_err(Refusal::die)?;
    let vmid = call.number("vmid");
    let wanted = |volid: &str, v: &Volume| {
        volid.split_once(':').is_some_and(|(s, _)| s == id)
            && call.get("content").is_none_or(|c| c == v.content.name())
            && vmid.is_none_or(|n| v.vmid.map(u64::from) == Some(n))
    };
    let found = world.volumes.iter().filter(|(volid, v)| wanted(volid, v));
    Ok(Reply::data(found.map(|(volid, v)| entry(volid, v)).collect::<Vec<_>>()))
}

fn entry(volid: &str, volume: &Volume) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("volid", volid.into());
    put("content", volume.content.name().into());
    put("size", volume.size.into());
    put("format", volume.format.as_str().into());
    put("ctime", volume.ctime.into());
    if let Some(vmid) = volume.vmid {
        put("vmid", vmid.into());
    }
    if let Some((kind, _)) = &volume.backup_of {
        put("subtype", kind.name().into());
    }
    if let Some(notes) = &volume.notes {
        put("notes", notes.as_str().into());
    }
    if volume.protected {
        put("protected", 1.into());
    }
    out.into()
}

/// A volume id given whole, or its name on the storage of the path.
fn volid(call: &Call) -> String {
    let volume = call.must("volume");
    if volume.contains(':') { volume.to_owned() } else { format!("{}:{volume}", call.must("storage")) }
}

pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    let volid = volid(call);
    let path = world.volume_path(&volid);
    let volume =
        world.volumes.get(&volid).ok_or_else(|| Refusal::die(format!("volume '{volid}' does not exist")))?;
    let mut out = json!({"path": path, "size": volume.size, "used": volume.size, "format": volume.format});
    if volume.content == Content::Backup {
        out["format"] = "raw".into();
        out["protected"] = u8::from(volume.protected).into();
        out["notes"] = volume.notes.clone().unwrap_or_default().into();
    }
    Ok(Reply::data(out))
}

pub(super) fn update(world: &mut World, call: &Call) -> Answer {
    let volid = volid(call);
    let missing = || Refusal::die(format!("volume '{volid}' does not exist"));
    let volume = world.volumes.get_mut(&volid).ok_or_else(missing)?;
    if call.get("protected").is_some() {
        volume.protected = call.flag("protected");
    }
    if let Some(notes) = call.get("notes") {
        volume.notes = Some(notes.to_owned());
    }
    Ok(Reply::null())
}

pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    let (volid, storage) = (volid(call), call.must("storage").to_owned());
    world.usable_storage(&storage).map_err(Refusal::die)?;
    let guest = world.volumes.get(&volid).filter(|v| v.content.is_guest()).and_then(|v| v.vmid);
    if let Some(guest) = guest.and_then(|vmid| world.guests.get(&vmid)) {
        let label = if guest.kind == Kind::Lxc { "container" } else { "guest" };
        let vmid = guest.vmid;
        return Err(Refusal::die(format!(
            "cannot remove volume '{volid}': {label} with same VMID '{vmid}' still exists"
        )));
    }
    let owner = world.volumes.get(&volid).and_then(|v| v.vmid).or_else(|| vmid_in_name(&volid));
    let id = owner.map_or(format!("@{storage}"), |vmid| format!("{vmid}@{storage}"));
    let worker = Worker::fork(world, "imgdel", &id, &call.caller.id).finish(move |world, log| {
        let name = volid.split_once(':').map_or("", |(_, n)| n);
        if world.volumes.get(&volid).is_some_and(|v| v.protected) {
            return Err(format!("cannot remove protected volume '{name}' on '{storage}'"));
        }
        let path = world.volume_path(&volid);
        match world.volumes.remove(&volid) {
            Some(_) => log.line(format!("Removed volume '{volid}'")),
            None => return Err(format!("removing archive {path} failed: No such file or directory")),
        }
        Ok(())
    });
    Ok(worker.start(world))
}

/// `…/vzdump-lxc-101-2026…` names its guest even where the file is gone.
fn vmid_in_name(volid: &str) -> Option<u32> {
    volid.split("vzdump-").nth(1)?.split('-').nth(1)?.parse().ok()
}
