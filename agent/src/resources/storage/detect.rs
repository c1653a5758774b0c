//! From block devices to drives with an identity. Pure.
//!
//! Whatever two drives say of themselves alike identifies neither: bridges give one serial number to all their bays, and a
//! cloned drive carries the same UUIDs as its original. Such a drive is shown with the reason, and can be taken for
//! nothing.

use std::collections::BTreeMap;

use felhom_shared::drive::{
    Content, DriveReport, DurableId, Hardware, WITHOUT_IDENTITY, ZFS_MEMBER, is_identity,
};
use felhom_shared::report::Failure;

use crate::host::block::BlockDevice;

/// Mount points of the box itself.
const SYSTEM_POINTS: [&str; 5] = ["/", "/boot", "/boot/efi", "/usr", "/var"];

/// All drives of a box; identities that several claim are taken from all of them.
#[must_use]
pub fn detect(devices: &[BlockDevice]) -> Vec<DriveReport> {
    let mut drives: Vec<DriveReport> = devices.iter().map(drive).collect();
    let mut claims: BTreeMap<DurableId, Vec<String>> = BTreeMap::new();
    for drive in &drives {
        for content in &drive.contents {
            let pool = content.pool_id();
            for id in content.known_by.iter().filter(|id| Some(*id) != pool.as_ref()) {
                claims.entry(id.clone()).or_default().push(content.name.clone());
            }
        }
        if let Some(id) = &drive.durable_id {
            claims.entry(id.clone()).or_default().push(drive.name.clone());
        }
    }
    claims.retain(|_, names| names.len() > 1);
    drives.iter_mut().for_each(|drive| withdraw(drive, &claims));
    drives
}

fn withdraw(drive: &mut DriveReport, claims: &BTreeMap<DurableId, Vec<String>>) {
    let mut problems = Vec::new();
    let mut shared = |name: &str, id: &DurableId| {
        let Some(names) = claims.get(id) else { return false };
        let others: Vec<&str> = names.iter().map(String::as_str).filter(|other| *other != name).collect();
        let text = format!(
            "{name} and {} are both known by {id}: unplug the copy, or give one of them a new identity",
            others.join(", ")
        );
        problems.push(Failure { code: "drive_identity_shared".to_owned(), text });
        true
    };
    if drive.durable_id.as_ref().is_some_and(|id| shared(&drive.name, id)) {
        drive.durable_id = None;
    }
    for content in &mut drive.contents {
        content.known_by.retain(|id| !shared(&content.name, id));
    }
    drive.problems.extend(problems);
}

fn drive(device: &BlockDevice) -> DriveReport {
    let property =
        |key: &str| device.properties.get(key).map(|word| word.trim()).filter(|word| !word.is_empty());
    let kernel = |key: &str| device.kernel_words.get(key).map(String::as_str);
    let real = |word: Option<&str>| word.filter(|word| is_identity(word)).map(str::to_owned);
    let model = property("ID_MODEL").or_else(|| kernel("model")).map(|model| model.replace('_', " "));
    let serial = real(property("ID_SERIAL_SHORT").or_else(|| kernel("serial")));
    let wwn =
        real(property("ID_WWN_WITH_EXTENSION").or_else(|| property("ID_WWN")).or_else(|| kernel("wwid")));
    let hardware = Hardware {
        wwn: wwn.as_deref(),
        serial: serial.as_deref(),
        model: model.as_deref().unwrap_or_default(),
        size_bytes: device.size_bytes,
    };
    let durable_id = DurableId::of_hardware(&hardware);
    let mut problems = Vec::new();
    if durable_id.is_none() {
        problems.push(Failure {
            code: WITHOUT_IDENTITY.to_owned(),
            text: format!(
                "{} has neither a serial number nor a world-wide name of its own: it can be adopted by what is on it, and \
                 not be formatted",
                device.name
            ),
        });
    }
    let parts = device.partitions.iter().map(content);
    let contents: Vec<Content> = whole(device).into_iter().chain(parts).collect();
    let points = || contents.iter().flat_map(|content| &content.mounted_at);
    let swapped = || contents.iter().any(|content| content.held_by.iter().any(|holder| holder == "swap"));
    DriveReport {
        name: device.name.clone(),
        durable_id,
        kind: kind(device).to_owned(),
        size_bytes: device.size_bytes,
        system: points().any(|point| SYSTEM_POINTS.contains(&point.as_str())) || swapped(),
        model,
        serial,
        wwn,
        health: None,
        life_left_percent: None,
        read_only: device.read_only,
        contents,
        problems,
    }
}

/// The drive itself, where it carries something without partitions.
fn whole(device: &BlockDevice) -> Option<Content> {
    let content = content(device);
    let carries = content.format.is_some() || !content.mounted_at.is_empty() || !content.held_by.is_empty();
    (carries && device.partitions.is_empty()).then_some(content)
}

fn content(device: &BlockDevice) -> Content {
    let property = |key: &str| device.properties.get(key).map(String::as_str);
    let uuid = property("ID_FS_UUID");
    let filesystem = uuid.and_then(|uuid| DurableId::of_contents(uuid, property("ID_FS_UUID_SUB")));
    // A pool goes on without some of its members: the whole of it is known too.
    let is_member = property("ID_FS_TYPE") == Some(ZFS_MEMBER) && property("ID_FS_UUID_SUB").is_some();
    let pool = uuid.filter(|_| is_member).and_then(DurableId::of_pool);
    // The drive's own record has its table's number there, which every copy of the table has too.
    let is_partition = property("DEVTYPE") == Some("partition") || property("ID_PART_ENTRY_NUMBER").is_some();
    let partition = property("ID_PART_ENTRY_UUID").filter(|_| is_partition).and_then(DurableId::of_partition);
    Content {
        name: device.name.clone(),
        known_by: pool.into_iter().chain(filesystem).chain(partition).collect(),
        size_bytes: device.size_bytes,
        format: property("ID_FS_TYPE").map(str::to_owned),
        label: property("ID_FS_LABEL").map(str::to_owned),
        mounted_at: device.mounted_at.clone(),
        held_by: device.held_by.clone(),
    }
}

fn kind(device: &BlockDevice) -> &'static str {
    let bus = device.properties.get("ID_BUS").map(String::as_str);
    if bus == Some("usb") {
        return "usb";
    }
    if device.name.starts_with("nvme") {
        return "nvme";
    }
    if device.name.starts_with("vd") || device.name.starts_with("loop") || device.name.starts_with("xvd") {
        return "virtual";
    }
    match device.rotational {
        Some(true) => "hdd",
        Some(false) => "ssd",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests;
