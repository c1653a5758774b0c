//! What to do about a drive that is mounted where it belongs. Pure.
//!
//! Its marker says whether it is the one that was taken; only then PVE is told to use it, with the settings that keep PVE from
//! writing where it is not mounted.

use std::collections::{BTreeMap, BTreeSet};

use felhom_shared::desired::StorageSpec;
use felhom_shared::ordered;
use felhom_shared::report::{NoteKind, Readiness};

use super::mark::DriveMark;
use super::observe::SeenStorages;
use super::plan::{StoragePlan, path_of};
use super::plan_assign::plan_assign;
use super::resolve::Target;
use super::step::{ChangeStorage, StorageStep};
use crate::host::command::MarkDrive;
use crate::host::marker::Marker;
use crate::observe::Reading;
use crate::ops::Grant;
use crate::pve::StorageDefinition;

/// Mounted where it belongs. Whether it is the drive that was taken, its marker says.
pub(super) fn plan_mounted(
    spec: &StorageSpec,
    seen: &SeenStorages,
    (marker, target): (&Reading<Marker>, &Target),
    (ours, grant): (Option<&StorageDefinition>, Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let remembered = seen.marks.of(&spec.storage, &spec.durable_id);
    match marker {
        Reading::Unreadable(failure) => {
            plan.unreadable(failure);
            plan.stand_back(ours);
        }
        Reading::Absent
            if remembered.is_some_and(|mark| !mark.made.is_some_and(|made| target.was_made_as(made))) =>
        {
            let text = format!(
                "{} says what the drive of {} said, and does not carry its marker: it is a copy, or was emptied. If it is \
                 the one that is meant, name it anew in the document, by the file system on it",
                target.name(),
                spec.storage
            );
            plan.note(NoteKind::Refused, "marker_gone", text);
            plan.stand_back(ours);
        }
        Reading::Absent => {
            let marker = Marker {
                version: 1,
                drive_id: remembered.map_or(seen.fresh, |mark| mark.drive_id),
                host_id: seen.host_id,
                storage: spec.storage.clone(),
                role: spec.role,
            };
            plan.steps.push(StorageStep::MarkDrive(MarkDrive { id: target.id.clone(), marker }));
        }
        Reading::Present(marker) => {
            match objection(
                spec,
                seen,
                marker,
                remembered.is_some_and(|mark| mark.drive_id != marker.drive_id),
            ) {
                Some((code, text)) => {
                    plan.note(NoteKind::Refused, code, format!("{}: {text}", target.name()));
                    plan.stand_back(ours);
                }
                None => {
                    plan.proven = Some(DriveMark {
                        durable_id: spec.durable_id.clone(),
                        drive_id: marker.drive_id,
                        made: None,
                        pool: target.pool().map(str::to_owned),
                    });
                    plan_definition(spec, (marker, target), (ours, grant), plan);
                }
            }
        }
    }
}

/// Why a marker is not this storage's.
fn objection(
    spec: &StorageSpec,
    seen: &SeenStorages,
    marker: &Marker,
    is_other: bool,
) -> Option<(&'static str, String)> {
    if marker.version != 1 {
        return Some(("marker_unknown", "a newer agent has taken this drive: update this one".to_owned()));
    }
    if marker.host_id != seen.host_id {
        let text = format!(
            "it belongs to another box ({}): its marker must be removed by a person first",
            marker.host_id
        );
        return Some(("drive_of_another_host", text));
    }
    if marker.storage != spec.storage {
        let text = format!(
            "it was taken for the storage {}: give it that name, or have its marker removed by a person",
            marker.storage
        );
        return Some(("drive_of_another_storage", text));
    }
    is_other.then(|| {
        let text = "it says what the drive that was taken said, and carries another marker: it is a copy. Unplug one of them";
        ("marker_differs", text.to_owned())
    })
}

fn plan_definition(
    spec: &StorageSpec,
    (marker, target): (&Marker, &Target),
    (ours, grant): (Option<&StorageDefinition>, Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let wanted = ordered::set(spec.content.iter().map(|content| content.word().to_owned()));
    let Some(ours) = ours else {
        if marker.role == spec.role {
            plan.steps.push(StorageStep::DefineStorage(definition(spec, target, &wanted)));
        } else {
            let text = format!(
                "the drive was taken for {} and is not in use: say that role first",
                marker.role.word()
            );
            plan.note(NoteKind::Refused, "drive_of_another_role", text);
        }
        return;
    };
    if !ours.disable {
        plan.readiness = Readiness::Ready;
    }
    let less = !ours.content.is_subset(&wanted);
    if marker.role != spec.role || less {
        plan_assign(spec, (marker, &target.id), (ours, grant), plan);
    }
    let mut change = ChangeStorage { set: BTreeMap::new(), delete: Vec::new(), digest: ours.digest.clone() };
    if marker.role == spec.role && !wanted.is_subset(&ours.content) {
        let all: Vec<&str> = wanted.union(&ours.content).map(String::as_str).collect();
        change.set.insert("content".to_owned(), all.join(","));
    }
    for (key, is, value) in
        [("is_mountpoint", ours.is_mountpoint, "1"), ("create-base-path", !ours.create_base_path, "0")]
    {
        if !is && target.pool().is_none() {
            change.set.insert(key.to_owned(), value.to_owned());
        }
    }
    if ours.disable {
        change.delete.push("disable".to_owned());
    }
    if plan.steps.is_empty() && (!change.set.is_empty() || !change.delete.is_empty()) {
        plan.steps.push(StorageStep::ChangeStorage(change));
    }
}

fn definition(spec: &StorageSpec, target: &Target, content: &BTreeSet<String>) -> BTreeMap<String, String> {
    let content: Vec<&str> = content.iter().map(String::as_str).collect();
    let both = [("storage", spec.storage.to_string()), ("content", content.join(","))];
    let own = match target.pool() {
        Some(pool) => vec![("type", "zfspool".to_owned()), ("pool", pool.to_owned())],
        None => vec![
            ("type", "dir".to_owned()),
            ("path", path_of(&spec.storage)),
            // Without it PVE fills the root disk when the drive is not there.
            ("is_mountpoint", "1".to_owned()),
            ("create-base-path", "0".to_owned()),
        ],
    };
    ordered::map(both.into_iter().chain(own).map(|(key, value)| (key.to_owned(), value)))
}
