//! Making a guest from a backup. A container's passed keys lose against `unique`, a
//! machine's always win; volumes are always made anew.

use super::create_lxc::{lock, log_volume, or_destroy};
use super::power;
use crate::call::{Answer, Call, Refusal};
use crate::state::config::{config_keys, destroy, realise, volume_of, with_new_mac};
use crate::state::guest::{Config, Guest, Kind, is_disk_key, is_net_key};
use crate::state::task::{TaskLog, Worker};
use crate::state::{World, now};

pub(super) fn lxc(world: &mut World, call: &Call) -> Answer {
    restore(world, call, call.must("ostemplate").to_owned())
}

pub(super) fn qemu(world: &mut World, call: &Call) -> Answer {
    restore(world, call, call.must("archive").to_owned())
}

/// All a restore needs once its worker runs.
struct Plan {
    kind: Kind,
    vmid: u32,
    archive: String,
    storage: Option<String>,
    passed: Config,
    unique: bool,
}

fn restore(world: &mut World, call: &Call, archive: String) -> Answer {
    let (kind, vmid) = (call.kind, call.vmid());
    match world.guests.get(&vmid) {
        Some(old) if old.running.is_some() && call.flag("force") => {
            let what = if kind == Kind::Lxc { "container" } else { "VM" };
            return Err(Refusal::die(format!("can't overwrite running {what}")));
        }
        Some(old) if call.flag("force") && old.config.get("protection").is_some_and(|p| p == "1") => {
            let label = kind.label();
            return Err(Refusal::die(format!("can't overwrite {label} {vmid} - protection mode enabled")));
        }
        Some(_) if !call.flag("force") => world.vmid_free(vmid)?,
        _ => {}
    }
    let storage = call.get("storage").map(str::to_owned);
    if let Some(storage) = &storage {
        world.disk_storage(storage, kind)?;
    }
    let mut passed = config_keys(world, kind, &call.params);
    passed.retain(|k, _| call.params.contains_key(k));
    let plan = Plan { kind, vmid, archive, storage, passed, unique: call.flag("unique") };
    destroy(world, vmid);
    world.guests.insert(vmid, Guest::new(vmid, kind, lock("create")));
    let start = call.flag("start");
    let task = if kind == Kind::Lxc { "vzrestore" } else { "qmrestore" };
    let worker = Worker::fork(world, task, &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin(move |world, log| match kind {
            Kind::Lxc => or_destroy(world, vmid, |world| unpack(world, &plan, log)),
            // A failed restore of a machine leaves its stub behind.
            Kind::Qemu => unpack(world, &plan, log),
        })
        .finish(move |world, log| {
            world.guests.get_mut(&vmid).ok_or("guest is gone")?.config.remove("lock");
            if start { power::power_on(world, vmid, log) } else { Ok(()) }
        });
    let worker = if kind == Kind::Lxc { worker.undo(move |world| destroy(world, vmid)) } else { worker };
    Ok(worker.start(world))
}

fn unpack(world: &mut World, plan: &Plan, log: &mut TaskLog) -> Result<(), String> {
    let Plan { kind, vmid, archive, storage, passed, unique } = plan;
    let missing = || format!("unable to restore {} {vmid} - volume '{archive}' does not exist", kind.label());
    let (_, saved) = world.volumes.get(archive).and_then(|v| v.backup_of.clone()).ok_or_else(missing)?;
    log.line(format!("recovering backed-up configuration from '{archive}'"));
    let mut config = saved;
    let own_disks = passed.keys().any(|k| is_disk_key(*kind, k));
    if own_disks {
        config.retain(|k, _| !is_disk_key(*kind, k));
    }
    for (key, value) in config.iter_mut() {
        if is_net_key(key) && *unique {
            *value = with_new_mac(world, *kind, value);
        }
    }
    let wins = |key: &str| *kind == Kind::Qemu || !(*unique && is_net_key(key) && config.contains_key(key));
    let passed: Config =
        passed.iter().filter(|(k, _)| wins(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
    config.extend(passed);
    let disks: Vec<String> = config.keys().filter(|k| is_disk_key(*kind, k)).cloned().collect();
    for key in disks.into_iter().rev() {
        let value = remake(&config[&key], storage.as_deref());
        let value = realise(world, *kind, *vmid, (&key, &value))?;
        log_volume(world, volume_of(&value), log);
        config.insert(key, value);
    }
    if *kind == Kind::Qemu {
        config.insert("vmgenid".to_owned(), world.rng.uuid());
        if *unique {
            config.insert("smbios1".to_owned(), format!("uuid={}", world.rng.uuid()));
            config.insert("meta".to_owned(), format!("creation-qemu=10.0.13,ctime={}", now()));
        }
    }
    log.line(format!("restoring '{archive}' now.."));
    log.line(format!("extracting archive '{}'", world.volume_path(archive)));
    log.line("merging backed-up and given configuration..");
    world.guests.get_mut(vmid).ok_or("guest is gone")?.config.extend(config);
    Ok(())
}

/// A recorded disk asks for a new volume of its size; a passed one already does.
fn remake(value: &str, storage: Option<&str>) -> String {
    let Some(size) = value.split(',').find_map(|p| p.strip_prefix("size=")) else { return value.to_owned() };
    let old = volume_of(value);
    let storage = storage.unwrap_or_else(|| old.split(':').next().unwrap_or_default());
    let gib = crate::size::parse(size, 1).unwrap_or_default() / (1 << 20);
    #[expect(clippy::cast_precision_loss, reason = "MiB counts stay far below 2^52")]
    let gib = gib as f64 / 1024.0;
    let rest: Vec<&str> = value.split(',').skip(1).filter(|p| !p.starts_with("size=")).collect();
    [&[format!("{storage}:{gib}").as_str()], rest.as_slice()].concat().join(",")
}
