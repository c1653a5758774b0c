//! Making a container. The call answers once the VMID is taken; volumes, archive and
//! configuration are the task's business, and so are their failures.

use super::config::check_root_only;
use super::{power, restore};
use crate::call::{Answer, Call, Refusal};
use crate::state::World;
use crate::state::config::{config_keys, destroy, new_volume, realise, volume_of};
use crate::state::guest::{Config, Guest, Kind, is_disk_key};
use crate::state::task::{TaskLog, Worker};

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let vmid = call.vmid();
    if !call.caller.may(&format!("/vms/{vmid}"), "VM.Allocate") {
        return Err(Refusal::new(403, "Permission check failed\n"));
    }
    if call.flag("restore") {
        return restore::lxc(world, call);
    }
    let keys = wanted_config(world, call)?;
    let template = call.must("ostemplate").to_owned();
    let storage = template.split_once(':').map(|(s, _)| s).unwrap_or_default();
    world.vmid_free(vmid)?;
    world.usable_storage(storage).map_err(Refusal::die)?;
    check_disks(world, &keys)?;
    check_root_only(&call.caller, &Config::new(), &keys, Kind::Lxc)?;
    if keys.get("unprivileged").is_some_and(|u| u == "0") && !call.caller.may("/", "Sys.Modify") {
        return Err(Refusal::forbidden(" (/, Sys.Modify)"));
    }
    world.guests.insert(vmid, Guest::new(vmid, Kind::Lxc, lock("create")));
    let start = call.flag("start");
    let worker = Worker::fork(world, "vzcreate", &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin({
            let keys = keys.clone();
            move |world, log| or_destroy(world, vmid, |world| make_volumes(world, vmid, &keys, log))
        })
        .finish(move |world, log| {
            extract(world, vmid, &template, log)?;
            complete(world, vmid, &keys, &template);
            if let Some(guest) = world.guests.get(&vmid) {
                power::warn_nesting(guest, log);
            }
            if start { power::power_on(world, vmid, &mut TaskLog::default()) } else { Ok(()) }
        })
        .undo(move |world| destroy(world, vmid));
    Ok(worker.start(world))
}

/// What began and failed leaves no guest behind.
pub(super) fn or_destroy(
    world: &mut World,
    vmid: u32,
    step: impl FnOnce(&mut World) -> Result<(), String>,
) -> Result<(), String> {
    let result = step(world);
    if result.is_err() {
        destroy(world, vmid);
    }
    result
}

pub(super) fn lock(name: &str) -> Config {
    Config::from([("lock".to_owned(), name.to_owned())])
}

fn wanted_config(world: &mut World, call: &Call) -> Result<Config, Refusal> {
    let mut keys = config_keys(world, Kind::Lxc, &call.params);
    let storage = call.get("storage").unwrap_or("local").to_owned();
    if !keys.contains_key("rootfs") {
        if keys.keys().any(|k| is_disk_key(Kind::Lxc, k)) {
            return Err(Refusal::param("rootfs", "rootfs must be set explicitly with mount points"));
        }
        keys.insert("rootfs".to_owned(), format!("{storage}:4"));
    }
    for (_, value) in keys.iter_mut().filter(|(k, _)| is_disk_key(Kind::Lxc, k)) {
        // A bare number counts GiB on the call's storage.
        if volume_of(value).parse::<f64>().is_ok() {
            *value = format!("{storage}:{value}");
        }
    }
    for (key, default) in [("memory", "512"), ("swap", "512"), ("unprivileged", "1"), ("arch", "amd64")] {
        keys.entry(key.to_owned()).or_insert_with(|| default.to_owned());
    }
    keys.remove("lock");
    Ok(keys)
}

fn check_disks(world: &World, keys: &Config) -> Result<(), Refusal> {
    for (_, value) in keys.iter().filter(|(k, _)| is_disk_key(Kind::Lxc, k)) {
        if let Some((storage, _)) = new_volume(volume_of(value)) {
            world.disk_storage(storage, Kind::Lxc)?;
        }
    }
    Ok(())
}

pub(super) fn make_volumes(
    world: &mut World,
    vmid: u32,
    keys: &Config,
    log: &mut TaskLog,
) -> Result<(), String> {
    let disks = keys.iter().filter(|(k, _)| is_disk_key(Kind::Lxc, k)).rev();
    for (key, value) in disks {
        let value = realise(world, Kind::Lxc, vmid, (key, value))
            .map_err(|e| format!("unable to create CT {vmid} - {e}"))?;
        log_volume(world, volume_of(&value), log);
        if let Some(guest) = world.guests.get_mut(&vmid) {
            guest.config.insert(key.clone(), value);
        }
    }
    Ok(())
}

pub(super) fn log_volume(world: &World, volid: &str, log: &mut TaskLog) {
    let Some(volume) = world.volumes.get(volid) else { return };
    match volid.contains('/') {
        true if volume.format == "raw" => {
            let path = world.volume_path(volid);
            log.line(format!("Formatting '{path}', fmt=raw size={} preallocation=off", volume.size));
        }
        true => {}
        false => log
            .line(format!("  Logical volume \"{}\" created.", volid.rsplit(':').next().unwrap_or_default())),
    }
    if volume.format == "raw" {
        log.line(format!(
            "Creating filesystem with {} 4k blocks and {} inodes",
            volume.size / 4096,
            volume.size / 16384
        ));
    }
}

fn extract(world: &World, vmid: u32, template: &str, log: &mut TaskLog) -> Result<(), String> {
    if !world.volumes.contains_key(template) {
        let text = format!("volume '{template}' does not exist");
        log.line(text.clone());
        return Err(format!("unable to create CT {vmid} - {text}"));
    }
    log.line(format!("extracting archive '{}'", world.volume_path(template)));
    log.line("Total bytes read: 102072320 (98MiB, 211MiB/s)");
    log.line("Detected container architecture: amd64");
    Ok(())
}

fn complete(world: &mut World, vmid: u32, keys: &Config, template: &str) {
    let Some(guest) = world.guests.get_mut(&vmid) else { return };
    guest.config.remove("lock");
    for (key, value) in keys.iter().filter(|(k, _)| !is_disk_key(Kind::Lxc, k)) {
        guest.config.insert(key.clone(), value.clone());
    }
    if guest.config.get("unprivileged").is_some_and(|u| u == "0") {
        guest.config.remove("unprivileged");
    }
    guest.config.entry("ostype".to_owned()).or_insert_with(|| ostype(template));
    guest.systemd = systemd(template);
}

fn systemd(template: &str) -> u32 {
    match template.rsplit('/').next().unwrap_or_default() {
        file if file.starts_with("debian-13") => 257,
        file if file.starts_with("debian-12") => 252,
        _ => 0,
    }
}

fn ostype(template: &str) -> String {
    let file = template.rsplit('/').next().unwrap_or_default();
    let known =
        ["alpine", "archlinux", "centos", "debian", "devuan", "fedora", "gentoo", "opensuse", "ubuntu"];
    known.iter().find(|os| file.starts_with(**os)).unwrap_or(&"unmanaged").to_string()
}
