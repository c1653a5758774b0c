//! The node itself: size, load and network. Figures are steady, not measured.

use serde_json::{Value, json};

use crate::auth::Caller;
use crate::call::{Answer, Call, Reply};
use crate::state::guest::Guest;
use crate::state::{World, now};

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    Ok(Reply::data(vec![entry(world, &call.caller)]))
}

/// Without Sys.Audit a caller learns that the node exists, and no more.
pub(super) fn entry(world: &World, caller: &Caller) -> Value {
    let node = &world.node;
    let mut entry = json!({"id": format!("node/{}", node.name), "node": node.name, "type": "node",
        "status": "unknown", "ssl_fingerprint": world.fingerprint});
    if caller.may(&format!("/nodes/{}", node.name), "Sys.Audit") {
        let known = json!({"status": "online", "level": "", "cpu": 0.0065, "maxcpu": node.cpus,
            "mem": used_memory(world), "maxmem": node.memory_bytes, "disk": 38_503_706_624_u64.min(node.disk_bytes / 3),
            "maxdisk": node.disk_bytes, "uptime": now().saturating_sub(node.booted)});
        if let (Some(map), Value::Object(known)) = (entry.as_object_mut(), known) {
            map.extend(known);
        }
    }
    entry
}

fn memory_mib(guest: &Guest) -> u64 {
    guest.config.get("memory").and_then(|m| m.parse().ok()).unwrap_or(512)
}

fn used_memory(world: &World) -> u64 {
    let running = world.guests.values().filter(|g| g.running.is_some());
    (2 << 30) + running.map(|g| memory_mib(g) << 19).sum::<u64>()
}

pub(super) fn status(world: &mut World, _: &Call) -> Answer {
    let node = &world.node;
    let (memory, disk) = (used_memory(world), node.disk_bytes / 3);
    Ok(Reply::data(json!({
        "uptime": now().saturating_sub(node.booted), "cpu": 0, "wait": 0, "idle": 0,
        "loadavg": ["0.10", "0.20", "0.15"],
        "kversion": "Linux 6.17.4-1-pve #1 SMP PREEMPT_DYNAMIC",
        "current-kernel": {"sysname": "Linux", "release": "6.17.4-1-pve", "machine": "x86_64",
            "version": "#1 SMP PREEMPT_DYNAMIC"},
        "boot-info": {"mode": "legacy-bios"},
        "pveversion": "pve-manager/9.2.11/14a22df35955d97d",
        "ksm": {"shared": 0},
        "cpuinfo": {"cpus": node.cpus, "cores": node.cpus / 2, "sockets": 1, "model": "AMD EPYC", "mhz": "2596.134",
            "user_hz": 100, "hvm": "1", "family": "25", "vendor": "AuthenticAMD", "flags": "fpu vme svm"},
        "memory": {"total": node.memory_bytes, "used": memory, "free": node.memory_bytes - memory.min(node.memory_bytes),
            "available": node.memory_bytes - memory.min(node.memory_bytes)},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": node.disk_bytes, "used": disk, "free": node.disk_bytes - disk, "avail": node.disk_bytes - disk},
    })))
}

pub(super) fn network(world: &mut World, _: &Call) -> Answer {
    let bridges = world.node.bridges.iter().map(|iface| {
        json!({"iface": iface, "type": "bridge", "method": "static", "method6": "manual", "active": 1,
            "autostart": 1, "priority": 4, "address": "192.0.2.10", "netmask": "24", "cidr": "192.0.2.10/24",
            "gateway": "192.0.2.1", "bridge_ports": "eno1", "bridge_stp": "off", "bridge_fd": "0",
            "families": ["inet"]})
    });
    let port = json!({"iface": "eno1", "type": "eth", "method": "manual", "method6": "manual", "active": 1,
        "priority": 3, "families": ["inet"]});
    Ok(Reply::data(bridges.chain([port]).collect::<Vec<_>>()))
}

pub(super) fn time(_: &mut World, _: &Call) -> Answer {
    Ok(Reply::data(json!({"timezone": "Etc/UTC", "time": now(), "localtime": now()})))
}
