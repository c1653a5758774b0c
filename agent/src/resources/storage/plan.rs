//! What to do about one storage. Pure: entry and readings go in, steps and reasons come out.
//!
//! Adopts what is there and makes nothing new of it. A drive that is gone, that cannot be told from another or that does not
//! carry its marker is switched off in PVE, so that nothing is written where it should be. Refuses to conclude anything
//! from what could not be read, and to touch a storage of that name that is not ours.

use std::collections::BTreeMap;

use felhom_shared::desired::{StorageAction, StorageRole, StorageSpec};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{Failure, Note, NoteKind, Outcome, Readiness};
use felhom_shared::signed::{OpId, Rejection, Request};

use super::mark::DriveMark;
use super::observe::{SeenStorage, SeenStorages};
use super::plan_assign::{is_another, plan_ignored, plan_replace};
use super::plan_format::{is_made, plan_format};
use super::plan_mounted::plan_mounted;
use super::resolve::{Found, Target, resolve};
use super::step::{ChangeStorage, StorageStep};
use crate::host::block::Pool;
use crate::host::command::{MountDrive, UnmountDrive};
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
    let (ours, foreign) = if ours.is_some_and(|definition| is_ours(spec, seen, definition)) {
        (ours, None)
    } else {
        (None, ours)
    };
    if spec.action == StorageAction::Ignore {
        plan_ignored(spec, (storage, ours), grant, &mut plan);
    } else if let Some(foreign) = foreign {
        let text = format!(
            "PVE has a storage {} already, of type {} at {:?}, and it is not ours: give this one another name",
            spec.storage,
            foreign.kind,
            if foreign.pool.is_empty() { &foreign.path } else { &foreign.pool }
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
            // What is still mounted belongs to a drive that does not answer any more. A pool keeps what it has not written
            // yet until its drives are back, and cannot be unmounted before.
            let is_pool = seen.marks.taken(&spec.storage).is_some_and(|mark| mark.pool.is_some());
            if storage.mounted && seen.served && !is_pool {
                plan.unmount();
            }
        }
        Found::Unfit(failure) => {
            plan.note(NoteKind::Refused, &failure.code, failure.text);
            plan.stand_back(ours);
        }
        Found::One(target) => {
            plan.name = Some(target.name().to_owned());
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
    let mounted_at = &target.content.mounted_at;
    // A pool has its guests' volumes mounted where it wants; only our own part of it belongs here.
    let elsewhere = mounted_at.iter().find(|point| **point != at && target.pool().is_none());
    if let Some(elsewhere) = elsewhere {
        let text = format!(
            "{} is mounted at {elsewhere}, by /etc/fstab or by hand: unmount it and take it out there first, and it comes \
             back at {at}",
            target.name()
        );
        plan.note(NoteKind::Refused, "drive_mounted_elsewhere", text);
        plan.stand_back(ours);
        return;
    }
    let is_there = mounted_at.contains(&at);
    let is_taken = is_there && matches!(storage.marker, Reading::Present(_));
    if !seen.served && !is_taken {
        let text = "nobody mounts drives for the agent: is felhom-host.path installed and the agent started by systemd?";
        plan.note(NoteKind::Refused, "host_helper_missing", text.to_owned());
        plan.stand_back(ours);
    } else if !is_there && storage.mounted {
        plan.stand_back(ours);
        plan.unmount();
    } else if !is_there || storage.pool.as_ref().is_some_and(Pool::is_suspended) {
        plan.steps.push(mount(spec, target));
    } else {
        plan.readiness = Readiness::Mounted;
        plan_mounted(spec, seen, (&storage.marker, target), (ours, grant), plan);
        revive(spec, target, plan);
        if let Some(pool) = storage.pool.as_ref().filter(|pool| pool.is_degraded()) {
            let text = format!(
                "the pool {} goes on without one of its drives and waits for it: `zpool status {}` says which",
                pool.name, pool.name
            );
            plan.note(NoteKind::Waiting, "pool_degraded", text);
        }
    }
}

fn mount(spec: &StorageSpec, target: &Target) -> StorageStep {
    let (storage, id, filesystem) = (spec.storage.clone(), target.id.clone(), target.filesystem);
    StorageStep::MountDrive(MountDrive { storage, id, filesystem })
}

/// A pool that was switched off had lost its drives, and may still be using what is no longer there: it is made to look
/// again before PVE uses it.
fn revive(spec: &StorageSpec, target: &Target, plan: &mut StoragePlan) {
    let switches_on = |step: &StorageStep| matches!(step, StorageStep::ChangeStorage(change) if change.delete.iter().any(|key| key == "disable"));
    if target.pool().is_some() && plan.steps.first().is_some_and(switches_on) {
        plan.steps.insert(0, mount(spec, target));
    }
}

pub(super) fn path_of(storage: &StorageId) -> String {
    format!("/mnt/felhom/{storage}")
}

/// A pool's definition does not say where our part of it is mounted: it is the pool that was taken, or the one that is meant.
fn is_ours(spec: &StorageSpec, seen: &SeenStorages, definition: &StorageDefinition) -> bool {
    match definition.kind.as_str() {
        "dir" => definition.path == path_of(&spec.storage),
        "zfspool" => {
            let taken = seen.marks.taken(&spec.storage).and_then(|mark| mark.pool.as_deref());
            let is = |pool: Option<&str>| pool == Some(definition.pool.as_str());
            let meant = || match seen.drives.present().map(|drives| resolve(spec, drives)) {
                Some(Found::One(target)) => is(target.pool()),
                _ => false,
            };
            is(taken) || meant()
        }
        _ => false,
    }
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
