//! Reading and changing a guest's configuration. Order matters here: lock, digest,
//! contradictions, rights, then effect, as the real code has it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::auth::Caller;
use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::World;
use crate::state::config::{self, Change};
use crate::state::guest::{Config, Guest, Kind, is_disk_key, is_net_key};
use crate::state::task::Worker;

pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    let digest = guest.digest();
    let shown = match call.get("snapshot") {
        Some(name) => {
            let missing = || Refusal::die(format!("snapshot '{name}' does not exist"));
            let snapshot = guest.snapshots.get(name).ok_or_else(missing)?;
            let mut config = snapshot.config.clone();
            config.insert("snaptime".to_owned(), snapshot.snaptime.to_string());
            config
        }
        None if call.flag("current") => guest.config.clone(),
        None => guest.merged(),
    };
    let mut out = config::render(world, call.kind, &shown);
    out.insert("digest".to_owned(), digest.into());
    Ok(Reply::data(out))
}

pub(super) fn pending(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    let keys: BTreeSet<&String> = guest.config.keys().chain(guest.pending.keys()).collect();
    let show = |key: &str, value: &String| config::render_value(world, call.kind, key, value);
    let mut out: Vec<Value> = keys
        .into_iter()
        .map(|key| {
            let mut item = Map::from_iter([("key".to_owned(), Value::from(key.as_str()))]);
            if let Some(value) = guest.config.get(key) {
                item.insert("value".to_owned(), show(key, value));
            }
            if let Some(value) = guest.pending.get(key) {
                item.insert("pending".to_owned(), show(key, value));
            }
            if guest.pending_delete.contains(key) {
                item.insert("delete".to_owned(), 1.into());
            }
            Value::Object(item)
        })
        .collect();
    out.push(json!({"key": "digest", "value": guest.digest()}));
    Ok(Reply::data(out))
}

pub(super) fn put_lxc(world: &mut World, call: &Call) -> Answer {
    let vmid = call.vmid();
    let change = prepare(world, call)?;
    let before = world.guest(Kind::Lxc, vmid)?.clone();
    if change.set.contains_key("unprivileged") {
        return Err(Refusal::die("unable to modify read-only option: 'unprivileged'"));
    }
    check_root_only(&call.caller, &before.config, &change.set, Kind::Lxc)?;
    for (key, value) in change.set.iter().filter(|(k, _)| is_disk_key(Kind::Lxc, k)) {
        if let Some((storage, _)) = config::new_volume(config::volume_of(value)) {
            world.disk_storage(storage, Kind::Lxc)?;
        } else if !value.starts_with('/') && !world.volumes.contains_key(config::volume_of(value)) {
            return Err(Refusal::die(format!(
                "volume '{}' does not exist (disk key {key})",
                config::volume_of(value)
            )));
        }
    }
    if let Err(text) = config::apply(world, vmid, change) {
        // The file stays as it was; volumes made on the way stay too.
        world.guests.insert(vmid, before);
        return Err(Refusal::die(text));
    }
    missing_bridge(world, vmid)?;
    Ok(Reply::null())
}

pub(super) fn put_qemu(world: &mut World, call: &Call) -> Answer {
    let change = prepare(world, call)?;
    check_qemu_storages(world, &change)?;
    // Unlike a container's, keys written before the failing one stay written.
    config::apply(world, call.vmid(), change).map_err(Refusal::die)?;
    Ok(Reply::null())
}

pub(super) fn post_qemu(world: &mut World, call: &Call) -> Answer {
    let vmid = call.vmid();
    let change = prepare(world, call)?;
    check_qemu_storages(world, &change)?;
    let given: Vec<String> = change.set.iter().map(|(k, v)| format!("-{k} {}", v.trim_end())).collect();
    let worker = Worker::fork(world, "qmconfig", &vmid.to_string(), &call.caller.id).locking(vmid).finish(
        move |world, log| {
            log.line(format!("update VM {vmid}: {}", given.join(" ")));
            config::apply(world, vmid, change)
        },
    );
    Ok(worker.start(world))
}

fn check_qemu_storages(world: &World, change: &Change) -> Result<(), Refusal> {
    let disks = change.set.iter().filter(|(k, _)| is_disk_key(Kind::Qemu, k));
    for (_, value) in disks {
        if let Some((storage, _)) = config::new_volume(config::volume_of(value)) {
            world.disk_storage(storage, Kind::Qemu)?;
        }
    }
    Ok(())
}

/// Everything both kinds check before the first effect.
fn prepare(world: &mut World, call: &Call) -> Result<Change, Refusal> {
    let guest = world.guest(call.kind, call.vmid())?;
    guest.check_digest(call.get("digest"))?;
    let list = |name: &str| -> Vec<String> {
        call.get(name)
            .into_iter()
            .flat_map(|t| t.split([',', ';', ' ']))
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (delete, revert) = (list("delete"), list("revert"));
    contradictions(world, call, &delete, &revert)?;
    let set = config::config_keys(world, call.kind, &call.params);
    if set.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(Refusal::die("no options specified"));
    }
    Ok(Change { set, delete, revert })
}

fn contradictions(world: &World, call: &Call, delete: &[String], revert: &[String]) -> Result<(), Refusal> {
    for (name, keys) in [("delete", delete), ("revert", revert)] {
        for key in keys {
            if call.params.contains_key(key) {
                return Err(Refusal::param(
                    name,
                    format!("you can't use '-{key}' and -{name} {key}' at the same time"),
                ));
            }
            if name == "delete" && revert.contains(key) {
                return Err(Refusal::param(
                    name,
                    format!("you can't use '-delete {key}' and '-revert {key}' at the same time"),
                ));
            }
            if !key.starts_with("unused") && world.schema.config_key(call.kind.name(), key).is_none() {
                return Err(Refusal::param(name, format!("unknown option '{key}'")));
            }
        }
    }
    let guest = world.guest(call.kind, call.vmid())?;
    guest.check_lock().map_err(Refusal::die)?;
    let fixed =
        delete.iter().find(|k| *k == "unprivileged" || *k == "rootfs").filter(|_| call.kind == Kind::Lxc);
    match fixed {
        Some(key) => Err(Refusal::die(format!("unable to delete required option '{key}'"))),
        None => Ok(()),
    }
}

/// What no token may do, however many privileges it has.
pub(super) fn check_root_only(
    caller: &Caller,
    old: &Config,
    set: &Config,
    kind: Kind,
) -> Result<(), Refusal> {
    if caller.id == "root@pam" {
        return Ok(());
    }
    if let Some(features) = set.get("features").filter(|_| kind == Kind::Lxc) {
        let old = old.get("features").map_or("", String::as_str);
        let unprivileged = set.get("unprivileged").map_or("1", String::as_str) == "1";
        let only = "is only allowed for root@pam";
        if !unprivileged {
            return Err(Refusal::forbidden(&format!(
                " (changing feature flags for privileged container {only})"
            )));
        }
        if without_nesting(features) != without_nesting(old) {
            return Err(Refusal::forbidden(&format!(" (changing feature flags (except nesting) {only})")));
        }
    }
    if let Some(key) = set.keys().find(|k| *k == "hookscript") {
        return Err(Refusal::forbidden(&format!(" (changing {key} is only allowed for root@pam)")));
    }
    let path = |(key, value): (&String, &String)| {
        (kind == Kind::Lxc && is_disk_key(kind, key) && config::volume_of(value).starts_with('/'))
            .then(|| if config::volume_of(value).starts_with("/dev/") { "device" } else { "bind" })
    };
    match set.iter().find_map(path) {
        Some(kind) => {
            Err(Refusal::forbidden(&format!(" (mount point type {kind} is only supported for root@pam)")))
        }
        None => Ok(()),
    }
}

fn without_nesting(features: &str) -> BTreeSet<&str> {
    features
        .split(',')
        .filter(|f| !f.is_empty() && !f.starts_with("nesting=") && !f.ends_with("=0"))
        .collect()
}

/// A stopped container's update ends here when a bridge is missing, with the change already written.
fn missing_bridge(world: &World, vmid: u32) -> Result<(), Refusal> {
    let Some(guest) = world.guests.get(&vmid).filter(|g: &&Guest| g.running.is_none()) else { return Ok(()) };
    let nets = guest.config.iter().filter(|(k, _)| is_net_key(k));
    let mut bridges = nets.filter_map(|(_, v)| v.split(',').find_map(|p| p.strip_prefix("bridge=")));
    match bridges.find(|b| !world.node.bridges.contains(*b)) {
        Some(bridge) => Err(Refusal::die(format!("bridge '{bridge}' does not exist"))),
        None => Ok(()),
    }
}
