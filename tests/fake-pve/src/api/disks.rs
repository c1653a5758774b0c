//! Drives of the node, as the control set them: two with one serial, if that is the test.

use serde_json::{Value, json};

use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::World;

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let partitions = call.flag("include-partitions");
    let wanted = |disk: &&Value| {
        let is_partition = disk.get("parent").is_some();
        let kind = call.get("type").is_none_or(|t| disk.get("type").and_then(Value::as_str) == Some(t));
        kind && (partitions || !is_partition)
    };
    Ok(Reply::data(world.node.disks.iter().filter(wanted).cloned().collect::<Vec<_>>()))
}

pub(super) fn smart(world: &mut World, call: &Call) -> Answer {
    let wanted = call.get("disk");
    let drive = world.node.disks.iter().find(|disk| disk.get("devpath").and_then(Value::as_str) == wanted);
    let drive = drive.ok_or_else(|| Refusal::die("not a valid block device"))?;
    Ok(Reply::data(json!({ "health": drive.get("health").cloned().unwrap_or_else(|| json!("UNKNOWN")) })))
}
