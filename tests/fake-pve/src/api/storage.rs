//! Storage definitions and their state on the node. Deleting one removes the definition
//! and leaves its data.

use serde_json::{Map, Value, json};

use crate::auth::Caller;
use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::World;
use crate::state::storage::Storage;

/// Options a `dir`-like storage needs at its making.
fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "dir" | "btrfs" => &["path"],
        "lvm" => &["vgname"],
        "lvmthin" => &["thinpool", "vgname"],
        "nfs" => &["export", "server"],
        "pbs" => &["datastore", "server"],
        "zfspool" => &["pool"],
        _ => &[],
    }
}

/// Parameters that are no options, and secrets, which live in files of their own.
const NOT_STORED: &[&str] =
    &["storage", "type", "delete", "digest", "password", "encryption-key", "master-pubkey"];

fn visible(caller: &Caller, id: &str) -> bool {
    caller.may_any(&format!("/storage/{id}"), &["Datastore.Audit", "Datastore.AllocateSpace"])
}

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let wanted = |s: &Storage| call.get("type").is_none_or(|t| t == s.kind);
    let shown = world.storages.iter().filter(|(id, s)| visible(&call.caller, id) && wanted(s));
    let ids: Vec<String> = shown.map(|(id, _)| id.clone()).collect();
    let out: Vec<Value> = ids.iter().map(|id| definition(world, id)).collect();
    Ok(Reply::data(out))
}

pub(super) fn get(world: &mut World, call: &Call) -> Answer {
    let id = call.must("storage");
    if !world.storages.contains_key(id) {
        return Err(missing(id));
    }
    Ok(Reply::data(definition(world, id)))
}

fn missing(id: &str) -> Refusal {
    Refusal::die(format!("storage '{id}' does not exist"))
}

fn definition(world: &mut World, id: &str) -> Value {
    let storage = world.storages[id].clone();
    let mut out = Map::new();
    for (key, value) in &storage.options {
        let value = match key.as_str() {
            "content" | "nodes" => shuffled_list(world, value),
            _ => value.parse::<i64>().map_or_else(|_| Value::from(value.as_str()), Value::from),
        };
        out.insert(key.clone(), value);
    }
    out.insert("storage".to_owned(), id.into());
    out.insert("type".to_owned(), storage.kind.into());
    out.insert("digest".to_owned(), world.storage_digest().into());
    out.into()
}

/// `content` and `nodes` are sets to PVE and come back in any order.
fn shuffled_list(world: &mut World, text: &str) -> Value {
    let mut items: Vec<&str> = text.split(',').collect();
    world.rng.shuffle(&mut items);
    items.join(",").into()
}

pub(super) fn create(world: &mut World, call: &Call) -> Answer {
    let (id, kind) = (call.must("storage").to_owned(), call.must("type").to_owned());
    if let Some(option) = required(&kind).iter().find(|o| call.get(o).is_none()) {
        return Err(Refusal::die(format!("missing value for required option '{option}'")));
    }
    if world.storages.contains_key(&id) {
        return Err(Refusal::die(format!("create storage failed: storage ID '{id}' already defined")));
    }
    let path = call.get("path").unwrap_or_default();
    if call.flag("is_mountpoint") && !path.is_empty() && !world.mounted(path) {
        return Err(Refusal::die(format!(
            "create storage failed: unable to activate storage '{id}' - directory is expected to be a mount point but is not mounted: '{path}'"
        )));
    }
    if let Some(pool) = call.get("pool").filter(|_| kind == "zfspool")
        && let Err(text) = world.activate_pool(pool)
    {
        return Err(Refusal::die(format!(
            "create storage failed: could not activate storage '{id}', {text}"
        )));
    }
    let mut storage =
        Storage::new(&kind, call.get("content").unwrap_or("images,rootdir"), world.node.disk_bytes);
    for (key, value) in call.params.iter().filter(|(k, _)| !NOT_STORED.contains(&k.as_str())) {
        storage.options.insert(key.clone(), value.clone());
    }
    world.storages.insert(id.clone(), storage);
    Ok(Reply::data(json!({"storage": id, "type": kind})))
}

pub(super) fn update(world: &mut World, call: &Call) -> Answer {
    let id = call.must("storage").to_owned();
    let digest = world.storage_digest();
    let failed = |text: String| Refusal::die(format!("update storage failed: {text}"));
    let storage =
        world.storages.get_mut(&id).ok_or_else(|| failed(format!("storage '{id}' does not exist")))?;
    if call.get("digest").is_some_and(|d| d != digest) {
        return Err(failed(
            "detected modified configuration - file changed by other user? Try again.".to_owned(),
        ));
    }
    for key in call.get("delete").into_iter().flat_map(|d| d.split([',', ' ', ';'])).filter(|k| !k.is_empty())
    {
        if call.params.contains_key(key) {
            return Err(failed(format!("duplicate key in delete: {key}")));
        }
        storage.options.remove(key);
    }
    for (key, value) in call.params.iter().filter(|(k, _)| !NOT_STORED.contains(&k.as_str())) {
        if value.is_empty() || (key == "disable" && value == "0") {
            storage.options.remove(key);
        } else {
            storage.options.insert(key.clone(), value.clone());
        }
    }
    Ok(Reply::data(json!({"storage": id, "type": storage.kind})))
}

pub(super) fn delete(world: &mut World, call: &Call) -> Answer {
    let id = call.must("storage");
    let gone = world.storages.remove(id);
    gone.map(|_| Reply::null())
        .ok_or_else(|| Refusal::die(format!("delete storage failed: storage '{id}' does not exist")))
}

pub(super) fn node_list(world: &mut World, call: &Call) -> Answer {
    let ids: Vec<String> = world.storages.keys().filter(|id| visible(&call.caller, id)).cloned().collect();
    let mut out = Vec::new();
    for id in ids {
        let storage = &world.storages[&id];
        let wrong_content = call.get("content").is_some_and(|c| !c.split(',').any(|c| storage.holds(c)));
        let wrong_name = call.get("storage").is_some_and(|s| s != id);
        if wrong_content || wrong_name || (call.flag("enabled") && !storage.enabled()) {
            continue;
        }
        let mut item = state(world, &id);
        item.insert("storage".to_owned(), id.into());
        out.push(Value::Object(item));
    }
    Ok(Reply::data(out))
}

pub(super) fn node_status(world: &mut World, call: &Call) -> Answer {
    let id = call.must("storage").to_owned();
    if !world.storages.contains_key(&id) {
        return Err(Refusal::param("storage", "No such storage."));
    }
    let mut item = state(world, &id);
    item.remove("used_fraction");
    Ok(Reply::data(item))
}

fn state(world: &mut World, id: &str) -> Map<String, Value> {
    let storage = world.storages[id].clone();
    let content = storage.options.get("content").cloned().unwrap_or_default();
    let active = storage.enabled() && world.answers(&storage);
    let (total, used) = if active { (storage.total_bytes, world.used_bytes(id)) } else { (0, 0) };
    let mut out = json!({"type": storage.kind, "content": shuffled_list(world, &content), "shared": 0,
        "enabled": u8::from(storage.enabled()), "active": u8::from(active),
        "total": total, "used": used, "avail": total.saturating_sub(used)});
    if let Some(map) = out.as_object_mut().filter(|_| total > 0) {
        #[expect(clippy::cast_precision_loss, reason = "a fraction for show")]
        map.insert("used_fraction".to_owned(), (used as f64 / total as f64).into());
    }
    out.as_object().cloned().unwrap_or_default()
}
