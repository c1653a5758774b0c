//! Lists and states of guests. A caller without VM.Audit gets an empty list and no word
//! that anything was left out.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, Refusal, Reply};
use crate::size;
use crate::state::guest::{Guest, Kind};
use crate::state::{World, now};

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let visible =
        |g: &&Guest| g.kind == call.kind && call.caller.may(&format!("/vms/{}", g.vmid), "VM.Audit");
    let entries = world.guests.values().filter(visible).map(|g| Value::Object(entry(world, g)));
    Ok(Reply::data(entries.collect::<Vec<_>>()))
}

pub(super) fn current(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    let mut entry = entry(world, guest);
    entry.insert("ha".to_owned(), json!({"managed": 0}));
    if guest.kind == Kind::Qemu {
        let running = guest.running.is_some();
        entry.insert("qmpstatus".to_owned(), if running { "running" } else { "stopped" }.into());
        if guest.config.get("agent").is_some_and(|a| a.starts_with('1') || a.contains("enabled=1")) {
            entry.insert("agent".to_owned(), 1.into());
        }
        if running {
            entry.insert("clipboard".to_owned(), Value::Null);
            let nics = guest.config.keys().filter_map(|k| k.strip_prefix("net"));
            let nics: Map<String, Value> =
                nics.map(|n| (format!("tap{}i{n}", guest.vmid), json!({"netin": 0, "netout": 0}))).collect();
            entry.insert("nics".to_owned(), nics.into());
        }
    }
    Ok(Reply::data(entry))
}

fn number(guest: &Guest, key: &str, default: u64) -> u64 {
    guest.config.get(key).and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn disk_bytes(guest: &Guest) -> u64 {
    let keys: &[&str] = match guest.kind {
        Kind::Lxc => &["rootfs"],
        Kind::Qemu => &["scsi0", "virtio0", "sata0", "ide0"],
    };
    let disk = keys.iter().find_map(|k| guest.config.get(*k));
    let size = disk.and_then(|d| d.split(',').find_map(|p| p.strip_prefix("size=")));
    size.and_then(|s| size::parse(s, 1)).unwrap_or(if guest.kind == Kind::Lxc { 4 << 30 } else { 0 })
}

fn entry(world: &World, guest: &Guest) -> Map<String, Value> {
    let status = if guest.running.is_some() { "running" } else { "stopped" };
    let uptime = guest.running.as_ref().map_or(0, |r| now().saturating_sub(r.since));
    let cpus = number(guest, "cores", if guest.kind == Kind::Lxc { world.node.cpus.into() } else { 1 })
        * if guest.kind == Kind::Qemu { number(guest, "sockets", 1) } else { 1 };
    let mut out = json!({"vmid": guest.vmid, "name": guest.name(), "status": status, "uptime": uptime,
        "cpus": cpus, "cpu": 0, "mem": 0, "maxmem": number(guest, "memory", 512) << 20,
        "disk": 0, "maxdisk": disk_bytes(guest), "netin": 0, "netout": 0});
    let map = out.as_object_mut().expect("written as an object");
    let mut put = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    let zero: Value = match guest.kind {
        Kind::Lxc => "0.00".into(),
        Kind::Qemu => 0.into(),
    };
    if guest.kind == Kind::Lxc {
        put("type", "lxc".into());
        put("swap", 0.into());
        put("diskread", 0.into());
        put("diskwrite", 0.into());
        put("maxswap", (number(guest, "swap", 0) << 20).into());
    } else {
        put("memhost", 0.into());
    }
    if let Some(running) = &guest.running {
        put("pid", running.pid.into());
        for what in ["cpusome", "cpufull", "iosome", "iofull", "memorysome", "memoryfull"] {
            put(&format!("pressure{what}"), zero.clone());
        }
        if guest.kind == Kind::Qemu && guest.config.contains_key("serial0") {
            put("serial", 1.into());
        }
    }
    for key in ["lock", "tags"] {
        if let Some(value) = guest.config.get(key) {
            put(key, value.as_str().into());
        }
    }
    if guest.is_template() {
        put("template", 1.into());
    }
    out.as_object().cloned().unwrap_or_default()
}

/// What pvestatd says of a guest in one broadcast.
pub(crate) fn broadcast_entry(world: &World, guest: &Guest) -> Value {
    let entry = entry(world, guest);
    let mut out = json!({"template": u8::from(guest.is_template()), "memhost": 0, "diskread": 0, "diskwrite": 0,
        "maxcpu": entry["cpus"]});
    let map = out.as_object_mut().expect("written as an object");
    for key in ["name", "status", "uptime", "cpu", "mem", "maxmem", "disk", "maxdisk", "netin", "netout"] {
        map.insert(key.to_owned(), entry[key].clone());
    }
    out
}

/// A new broadcast, now.
pub(crate) fn refresh_broadcast(world: &mut World) {
    let told = world.guests.iter().map(|(vmid, guest)| (*vmid, broadcast_entry(world, guest))).collect();
    world.broadcast.guests = told;
    world.broadcast.at = Some(std::time::Instant::now());
}

pub(super) fn interfaces(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(Kind::Lxc, call.vmid())?;
    if guest.running.is_none() {
        return Ok(Reply::data(Value::Null));
    }
    let mut out =
        vec![json!({"name": "lo", "hwaddr": "00:00:00:00:00:00", "hardware-address": "00:00:00:00:00:00",
        "inet": "127.0.0.1/8", "inet6": "::1/128", "ip-addresses": [
            {"ip-address": "127.0.0.1", "prefix": "8", "ip-address-type": "inet"},
            {"ip-address": "::1", "prefix": "128", "ip-address-type": "inet6"}]})];
    for (_, net) in guest.config.iter().filter(|(k, _)| k.starts_with("net")) {
        let field = |name: &str| net.split(',').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        let mac = field("hwaddr").unwrap_or_default().to_lowercase();
        let cidr = match field("ip") {
            Some("dhcp") => format!("192.0.2.{}/24", 100 + guest.vmid % 100),
            Some(fixed) if fixed.contains('/') => fixed.to_owned(),
            _ => continue,
        };
        let (ip, prefix) = cidr.split_once('/').unwrap_or((&cidr, "24"));
        out.push(json!({"name": field("name"), "hwaddr": mac, "hardware-address": mac, "inet": cidr,
            "ip-addresses": [{"ip-address": ip, "prefix": prefix, "ip-address-type": "inet"}]}));
    }
    Ok(Reply::data(out))
}

pub(super) fn agent_ping(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(Kind::Qemu, call.vmid())?;
    match guest.running {
        None => Err(Refusal::die(format!("VM {} is not running", guest.vmid))),
        Some(_) => Err(Refusal::die("QEMU guest agent is not running")),
    }
}
