//! What to do about one storage. Pure: entry and readings go in, steps and reasons come out.
//!
//! Adopts what is there and makes nothing new of it. A drive that is gone, that cannot be told from another or that does not
//! carry its marker is switched off in PVE, so that nothing is written where it should be. Refuses to conclude anything
//! from what could not be read, and to touch a storage of that name that is not ours.

use std::collections::{BTreeMap, BTreeSet};

use felhom_shared::desired::{StorageAction, StorageRole, StorageSpec};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{Failure, Note, NoteKind, Outcome, Readiness};
use felhom_shared::signed::{OpId, Rejection, Request};
use uuid::Uuid;

use super::mark::DriveMark;
use super::observe::{SeenStorage, SeenStorages};
use super::plan_assign::{is_another, plan_assign, plan_ignored, plan_replace};
use super::plan_format::{is_made, plan_format};
use super::resolve::{Found, Target, resolve};
use super::step::{ChangeStorage, StorageStep};
use crate::host::command::{MarkDrive, MountDrive, UnmountDrive};
use crate::host::marker::Marker;
use crate::observe::Reading;
use crate::ops::Grant;
use crate::plan::concluded;
use crate::pve::StorageDefinition;

/// One storage's part of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoragePlan {
    /// Its name in PVE.
    pub storage: StorageId,
    /// The drive the document names.
    pub durable_id: DurableId,
    /// What it is for.
    pub role: StorageRole,
    /// Where it stands before the steps.
    pub outcome: Outcome,
    /// How far the drive has come.
    pub readiness: Readiness,
    /// Where the drive is today.
    pub name: Option<String>,
    /// To be done in this order.
    pub steps: Vec<StorageStep>,
    /// What is not done, and why.
    pub notes: Vec<Note>,
    /// The drive carries this marker, and it is accepted.
    pub proven: Option<DriveMark>,
    /// The operation that would release what is held.
    pub pending: Option<Request>,
    /// A grant that does not fit the drive any more: its operation is over.
    pub void: Option<(OpId, Rejection)>,
}

/// Decides about one storage.
#[must_use]
pub fn plan_storage(spec: &StorageSpec, seen: &SeenStorages, grant: Option<&Grant>) -> StoragePlan {
    let mut plan = StoragePlan::new(spec);
    let Some(storage) = seen.storages.get(&spec.storage) else {
        plan.unreadable(&Failure {
            code: "not_looked_for".to_owned(),
            text: "it was not part of the reading".to_owned(),
        });
        return plan;
    };
    let ours = match &storage.definition {
        Reading::Unreadable(failure) => {
            plan.unreadable(failure);
            return plan;
        }
        Reading::Absent => None,
        Reading::Present(definition) => Some(definition),
    };
    if spec.action == StorageAction::Ignore {
        plan_ignored(spec, (storage, ours), grant, &mut plan);
    } else if let Some(foreign) = ours.filter(|definition| !is_ours(spec, definition)) {
        let text = format!(
            "PVE has a storage {} already, of type {} at {:?}, and it is not ours: give this one another name",
            spec.storage, foreign.kind, foreign.path
        );
        plan.note(NoteKind::Refused, "storage_taken", text);
    } else {
        plan_wanted(spec, seen, (storage, ours, grant), &mut plan);
    }
    plan.outcome = concluded(plan.outcome, !plan.steps.is_empty(), &plan.notes);
    plan
}

fn plan_wanted(
    spec: &StorageSpec,
    seen: &SeenStorages,
    (storage, ours, grant): (&SeenStorage, Option<&StorageDefinition>, Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let drives = match &seen.drives {
        Reading::Present(drives) => drives,
        Reading::Absent => &Vec::new(),
        Reading::Unreadable(failure) => return plan.unreadable(failure),
    };
    if is_another(spec, seen, (storage, drives)) {
        plan_replace(spec, seen, (storage, ours, grant), plan);
        return;
    }
    if spec.action == StorageAction::Format && !is_made(spec, seen) {
        plan_format(spec, seen, (drives, grant), plan);
        plan.stand_back(ours);
        return;
    }
    match resolve(spec, drives) {
        Found::Unplugged => {
            plan.readiness = Readiness::Unplugged;
            let name = spec.label.as_deref().map(|label| format!(" ({label})")).unwrap_or_default();
            let text = format!(
                "the drive of {}{name} is not attached: plug it in, and the box goes on by itself",
                spec.storage
            );
            plan.note(NoteKind::Waiting, "drive_unplugged", text);
            plan.stand_back(ours);
            // What is still mounted belongs to a drive that does not answer any more.
            if storage.mounted && seen.served {
                plan.unmount();
            }
        }
        Found::Unfit(failure) => {
            plan.note(NoteKind::Refused, &failure.code, failure.text);
            plan.stand_back(ours);
        }
        Found::One(target) => {
            plan.name = Some(target.name.clone());
            plan_target(spec, seen, (storage, grant), (&target, ours), plan);
        }
    }
}

fn plan_target(
    spec: &StorageSpec,
    seen: &SeenStorages,
    (storage, grant): (&SeenStorage, Option<&Grant>),
    (target, ours): (&Target, Option<&StorageDefinition>),
    plan: &mut StoragePlan,
) {
    let at = path_of(&spec.storage);
    if let Some(elsewhere) = target.mounted_at.iter().find(|point| **point != at) {
        let text = format!(
            "{} is mounted at {elsewhere}, by /etc/fstab or by hand: unmount it and take it out there first, and it comes \
             back at {at}",
            target.name
        );
        plan.note(NoteKind::Refused, "drive_mounted_elsewhere", text);
        plan.stand_back(ours);
        return;
    }
    let is_there = target.mounted_at.contains(&at);
    let is_taken = is_there && matches!(storage.marker, Reading::Present(_));
    if !seen.served && !is_taken {
        let text = "nobody mounts drives for the agent: is felhom-host.path installed and the agent started by systemd?";
        plan.note(NoteKind::Refused, "host_helper_missing", text.to_owned());
        plan.stand_back(ours);
    } else if !is_there && storage.mounted {
        plan.stand_back(ours);
        plan.unmount();
    } else if !is_there {
        let (storage, filesystem) = (spec.storage.clone(), target.filesystem);
        plan.steps.push(StorageStep::MountDrive(MountDrive { storage, uuid: target.uuid, filesystem }));
    } else {
        plan.readiness = Readiness::Mounted;
        plan_mounted(spec, seen, (&storage.marker, target), (ours, grant), plan);
    }
}

/// Mounted where it belongs. Whether it is the drive that was taken, its marker says.
fn plan_mounted(
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
        Reading::Absent if remembered.is_some_and(|mark| mark.made != Some(target.uuid)) => {
            let text = format!(
                "{} says what the drive of {} said, and does not carry its marker: it is a copy, or was emptied. If it is \
                 the one that is meant, name it anew in the document, by the file system on it",
                target.name, spec.storage
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
            plan.steps.push(StorageStep::MarkDrive(MarkDrive { uuid: target.uuid, marker }));
        }
        Reading::Present(marker) => {
            match objection(
                spec,
                seen,
                marker,
                remembered.is_some_and(|mark| mark.drive_id != marker.drive_id),
            ) {
                Some((code, text)) => {
                    plan.note(NoteKind::Refused, code, format!("{}: {text}", target.name));
                    plan.stand_back(ours);
                }
                None => {
                    plan.proven = Some(DriveMark {
                        durable_id: spec.durable_id.clone(),
                        drive_id: marker.drive_id,
                        made: None,
                    });
                    plan_definition(spec, (marker, target.uuid), (ours, grant), plan);
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
    (marker, uuid): (&Marker, Uuid),
    (ours, grant): (Option<&StorageDefinition>, Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let wanted: BTreeSet<String> = spec.content.iter().map(|content| content.word().to_owned()).collect();
    let Some(ours) = ours else {
        if marker.role == spec.role {
            plan.steps.push(StorageStep::DefineStorage(definition(spec, &wanted)));
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
        plan_assign(spec, (marker, uuid), (ours, grant), plan);
    }
    let mut change = ChangeStorage { set: BTreeMap::new(), delete: Vec::new(), digest: ours.digest.clone() };
    if marker.role == spec.role && !wanted.is_subset(&ours.content) {
        let all: Vec<&str> = wanted.union(&ours.content).map(String::as_str).collect();
        change.set.insert("content".to_owned(), all.join(","));
    }
    for (key, is, value) in
        [("is_mountpoint", ours.is_mountpoint, "1"), ("create-base-path", !ours.create_base_path, "0")]
    {
        if !is {
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

fn definition(spec: &StorageSpec, content: &BTreeSet<String>) -> BTreeMap<String, String> {
    let content: Vec<&str> = content.iter().map(String::as_str).collect();
    let pairs = [
        ("storage", spec.storage.to_string()),
        ("type", "dir".to_owned()),
        ("path", path_of(&spec.storage)),
        ("content", content.join(",")),
        // Without it PVE fills the root disk when the drive is not there.
        ("is_mountpoint", "1".to_owned()),
        ("create-base-path", "0".to_owned()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

pub(super) fn path_of(storage: &StorageId) -> String {
    format!("/mnt/felhom/{storage}")
}

fn is_ours(spec: &StorageSpec, definition: &StorageDefinition) -> bool {
    definition.kind == "dir" && definition.path == path_of(&spec.storage)
}

impl StoragePlan {
    fn new(spec: &StorageSpec) -> Self {
        Self {
            storage: spec.storage.clone(),
            durable_id: spec.durable_id.clone(),
            role: spec.role,
            outcome: Outcome::Converged,
            readiness: Readiness::Attached,
            name: None,
            steps: Vec::new(),
            notes: Vec::new(),
            proven: None,
            pending: None,
            void: None,
        }
    }

    pub(super) fn note(&mut self, kind: NoteKind, code: &str, text: String) {
        self.notes.push(Note { kind, code: code.to_owned(), text });
    }

    pub(super) fn unreadable(&mut self, failure: &Failure) {
        self.outcome = Outcome::Unreadable;
        self.readiness = Readiness::Unknown;
        self.note(NoteKind::Refused, &failure.code, failure.text.clone());
    }

    fn unmount(&mut self) {
        self.steps.push(StorageStep::UnmountDrive(UnmountDrive { storage: self.storage.clone() }));
    }

    /// Nothing is written to what is not proven: PVE no longer uses the storage until it is.
    pub(super) fn stand_back(&mut self, ours: Option<&StorageDefinition>) {
        if let Some(ours) = ours.filter(|definition| !definition.disable) {
            let set = BTreeMap::from([("disable".to_owned(), "1".to_owned())]);
            let change = ChangeStorage { set, delete: Vec::new(), digest: ours.digest.clone() };
            self.steps.push(StorageStep::ChangeStorage(change));
        }
    }

    /// Takes back steps that may not run now, and says why.
    pub fn wait(&mut self, code: &str, text: String, outcome: Outcome) {
        self.steps.clear();
        self.note(NoteKind::Waiting, code, text);
        self.outcome = outcome;
    }
}
