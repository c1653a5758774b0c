//! Making a virtual machine from parameters, or from an archive.

use super::create_lxc::{lock, or_destroy};
use super::restore;
use crate::call::{Answer, Call, Refusal};
use crate::state::config::{config_keys, destroy, new_volume, realise, volume_of};
use crate::state::guest::{Config, Guest, Kind, is_disk_key};
use crate::state::task::{TaskLog, Worker};
use crate::state::{World, now};

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let vmid = call.vmid();
    if !call.caller.may(&format!("/vms/{vmid}"), "VM.Allocate") {
        return Err(Refusal::new(403, "Permission check failed\n"));
    }
    if call.get("archive").is_some() {
        return restore::qemu(world, call);
    }
    let keys = config_keys(world, Kind::Qemu, &call.params);
    for (_, value) in keys.iter().filter(|(k, _)| is_disk_key(Kind::Qemu, k)) {
        if let Some((storage, _)) = new_volume(volume_of(value)) {
            world.disk_storage(storage, Kind::Qemu)?;
        }
    }
    world
        .vmid_free(vmid)
        .map_err(|e| Refusal::new(500, format!("unable to create VM {vmid} - {}", e.message)))?;
    world.guests.insert(vmid, Guest::new(vmid, Kind::Qemu, lock("create")));
    let start = call.flag("start");
    let worker = Worker::fork(world, "qmcreate", &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin({
            let keys = keys.clone();
            move |world, log| or_destroy(world, vmid, |world| make_disks(world, vmid, &keys, log))
        })
        .finish(move |world, _| {
            complete(world, vmid, keys);
            if start { super::power::power_on(world, vmid, &mut TaskLog::default()) } else { Ok(()) }
        })
        .undo(move |world| destroy(world, vmid));
    Ok(worker.start(world))
}

fn make_disks(world: &mut World, vmid: u32, keys: &Config, log: &mut TaskLog) -> Result<(), String> {
    for (key, value) in keys.iter().filter(|(k, _)| is_disk_key(Kind::Qemu, k)) {
        let value = realise(world, Kind::Qemu, vmid, (key, value))
            .map_err(|e| format!("unable to create VM {vmid} - {e}"))?;
        log.line(format!("{key}: successfully created disk '{value}'"));
        if let Some(guest) = world.guests.get_mut(&vmid) {
            guest.config.insert(key.clone(), value);
        }
    }
    Ok(())
}

fn complete(world: &mut World, vmid: u32, keys: Config) {
    let (smbios, generation) = (world.rng.uuid(), world.rng.uuid());
    let Some(guest) = world.guests.get_mut(&vmid) else { return };
    guest.config.remove("lock");
    guest.config.extend(keys.into_iter().filter(|(k, _)| !is_disk_key(Kind::Qemu, k)));
    let first = guest.config.keys().find(|k| is_disk_key(Kind::Qemu, k)).cloned();
    let defaults = [
        ("boot", first.map(|d| format!("order={d}"))),
        ("meta", Some(format!("creation-qemu=10.0.13,ctime={}", now()))),
        ("smbios1", Some(format!("uuid={smbios}"))),
        ("vmgenid", Some(generation)),
    ];
    for (key, value) in defaults.into_iter().filter_map(|(k, v)| Some((k, v?))) {
        guest.config.entry(key.to_owned()).or_insert(value);
    }
}
