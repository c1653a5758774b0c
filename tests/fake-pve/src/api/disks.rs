//! Drives of the node, as the control set them: two with one serial, if that is the test.

use serde_json::Value;

use crate::call::{Answer, Call, Reply};
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
