//! The calls about the whole cluster, which is one node. `/cluster/resources` repeats
//! the last broadcast and not the truth.

use serde_json::{Value, json};

use super::guests::refresh_broadcast;
use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::World;
use crate::state::guest::Guest;

pub(super) fn version(_: &mut World, _: &Call) -> Answer {
    Ok(Reply::data(json!({"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"})))
}

pub(super) fn nextid(world: &mut World, call: &Call) -> Answer {
    match call.get("vmid").and_then(|v| v.parse::<u32>().ok()) {
        Some(wanted) if world.guests.contains_key(&wanted) => {
            Err(Refusal::param("vmid", format!("VM {wanted} already exists\n")))
        }
        Some(wanted) => Ok(Reply::data(wanted.to_string())),
        None => {
            let free = (100..).find(|id| !world.guests.contains_key(id)).expect("numbers do not run out");
            Ok(Reply::data(free.to_string()))
        }
    }
}

pub(super) fn status(world: &mut World, call: &Call) -> Answer {
    if !call.caller.may("/", "Sys.Audit") {
        return Err(Refusal::forbidden(" (/, Sys.Audit)"));
    }
    let name = &world.node.name;
    Ok(Reply::data(json!([{"type": "node", "name": name, "id": format!("node/{name}"), "nodeid": 0,
        "ip": "127.0.0.1", "level": "", "local": 1, "online": 1}])))
}

pub(super) fn resources(world: &mut World, call: &Call) -> Answer {
    if world.broadcast.period.is_zero() || world.broadcast.at.is_none() {
        refresh_broadcast(world);
    }
    let wanted = |kind: &str| call.get("type").is_none_or(|t| t == kind);
    let mut out = Vec::new();
    if wanted("vm") {
        let visible =
            world.guests.values().filter(|g| call.caller.may(&format!("/vms/{}", g.vmid), "VM.Audit"));
        out.extend(visible.map(|guest| guest_entry(world, guest)));
    }
    if wanted("node") {
        out.push(node_entry(world, call));
    }
    if wanted("sdn") && call.caller.may("/sdn/zones/localnetwork", "SDN.Audit") {
        let node = &world.node.name;
        out.push(json!({"id": format!("network/{node}/zone/localnetwork"), "type": "network", "node": node,
            "network": "localnetwork", "network-type": "zone", "status": "ok"}));
    }
    if wanted("storage") {
        out.extend(world.storages.keys().filter_map(|id| storage_entry(world, call, id)));
    }
    Ok(Reply::data(out))
}

/// Number, kind, node, lock and tags come from the configuration, the rest from the broadcast.
fn guest_entry(world: &World, guest: &Guest) -> Value {
    let kind = guest.kind.name();
    let mut entry = json!({"id": format!("{kind}/{}", guest.vmid), "type": kind, "vmid": guest.vmid,
        "node": world.node.name, "status": "unknown"});
    let map = entry.as_object_mut().expect("written as an object");
    if let Some(Value::Object(told)) = world.broadcast.guests.get(&guest.vmid) {
        map.extend(told.clone());
    }
    for key in ["lock", "tags"] {
        if let Some(value) = guest.config.get(key) {
            map.insert(key.to_owned(), value.as_str().into());
        }
    }
    entry
}

fn node_entry(world: &World, call: &Call) -> Value {
    let mut entry = super::node::entry(world, &call.caller);
    if let Some(map) = entry.as_object_mut() {
        map.remove("ssl_fingerprint");
        if map.contains_key("maxcpu") {
            map.insert("cgroup-mode".to_owned(), 2.into());
        }
    }
    entry
}

fn storage_entry(world: &World, call: &Call, id: &str) -> Option<Value> {
    let storage = &world.storages[id];
    if !storage.enabled()
        || !call.caller.may_any(&format!("/storage/{id}"), &["Datastore.Audit", "Datastore.AllocateSpace"])
    {
        return None;
    }
    let node = &world.node.name;
    let status = if world.answers(storage) { "available" } else { "unknown" };
    Some(json!({"id": format!("storage/{node}/{id}"), "type": "storage", "storage": id, "node": node,
        "status": status, "plugintype": storage.kind, "content": storage.options.get("content"), "shared": 0,
        "disk": world.used_bytes(id), "maxdisk": storage.total_bytes}))
}
