//! What to do about a storage that is to be used otherwise, or no more. Pure.
//!
//! Until somebody has signed for it, it stays in use as it is: backups that silently find no room any more are lost as much as
//! those that are deleted.

use std::collections::BTreeSet;

use felhom_shared::desired::{ContentType, StorageSpec};
use felhom_shared::drive::{DriveReport, DurableId};
use felhom_shared::ordered;
use felhom_shared::report::{NoteKind, Readiness};
use felhom_shared::signed::{
    AssignStorage, DetachStorage, ExpectStorage, Rejection, ReplaceDrive, Request, content_words,
};

use super::observe::{SeenStorage, SeenStorages};
use super::plan::{StoragePlan, path_of};
use super::resolve::{Found, resolve};
use super::step::{AssignStep, DetachStep, ReplaceStep, StorageStep};
use crate::host::marker::Marker;
use crate::ops::Grant;
use crate::pve::StorageDefinition;

/// Another role, or less content.
pub(super) fn plan_assign(
    spec: &StorageSpec,
    (marker, id): (&Marker, &DurableId),
    (ours, grant): (&StorageDefinition, Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let expect = ExpectStorage {
        durable_id: spec.durable_id.clone(),
        drive_id: Some(marker.drive_id),
        content: content_of(ours),
    };
    let order = AssignStorage {
        storage: spec.storage.clone(),
        role: spec.role,
        content: spec.content.clone(),
        expect: expect.clone(),
    };
    match grant.map(|grant| (grant, grant.request())) {
        Some((grant, Request::AssignStorage(signed))) => match signed.expect.differs_from(&expect) {
            Some(what) => void(grant, what, plan),
            None => plan.steps.push(StorageStep::AssignStorage(AssignStep {
                grant: grant.op_id().clone(),
                id: id.clone(),
                marker: Marker { role: signed.role, ..marker.clone() },
                content: signed.content.clone(),
                digest: ours.digest.clone(),
            })),
        },
        _ => {
            let text = format!(
                "{} is used for {} and holds {}; using it for {} with {} waits for a signature, and until then it stays as it is",
                spec.storage,
                marker.role.word(),
                content_words(&content_of(ours)),
                spec.role.word(),
                content_words(&spec.content)
            );
            plan.note(NoteKind::Held, "assign_needs_signature", text);
            plan.pending = Some(Request::AssignStorage(order));
        }
    }
}

/// The document says that the drive is to be left alone. A storage of ours is in use until somebody signs for its end.
pub(super) fn plan_ignored(
    spec: &StorageSpec,
    (storage, ours): (&SeenStorage, Option<&StorageDefinition>),
    grant: Option<&Grant>,
    plan: &mut StoragePlan,
) {
    plan.readiness = Readiness::Unknown;
    let Some(ours) = ours else { return };
    let expect = ExpectStorage {
        durable_id: spec.durable_id.clone(),
        drive_id: storage.marker.present().map(|marker| marker.drive_id),
        content: content_of(ours),
    };
    match grant.map(|grant| (grant, grant.request())) {
        Some((grant, Request::DetachStorage(signed))) => match signed.expect.differs_from(&expect) {
            Some(what) => void(grant, what, plan),
            None => plan.steps.push(StorageStep::DetachStorage(DetachStep { grant: grant.op_id().clone() })),
        },
        _ => {
            let text = format!("taking {} out of PVE waits for a signature; it stays in use", plan.storage);
            plan.note(NoteKind::Held, "detach_needs_signature", text);
            plan.pending =
                Some(Request::DetachStorage(DetachStorage { storage: spec.storage.clone(), expect }));
        }
    }
}

/// Whether the document puts another drive behind a storage that has one. The same drive by another of its names is none:
/// it is mounted there, and carries the marker.
pub(super) fn is_another(
    spec: &StorageSpec,
    seen: &SeenStorages,
    (storage, drives): (&SeenStorage, &[DriveReport]),
) -> bool {
    let Some(taken) = seen.marks.taken(&spec.storage) else { return false };
    if taken.durable_id == spec.durable_id {
        return false;
    }
    let carries = storage.marker.present().is_some_and(|marker| marker.drive_id == taken.drive_id);
    let at = path_of(&spec.storage);
    let is_there =
        matches!(resolve(spec, drives), Found::One(target) if target.content.mounted_at.contains(&at));
    !(carries && is_there)
}

/// Another drive behind a storage: what lies on the old one is no longer found, as much as if it were detached.
pub(super) fn plan_replace(
    spec: &StorageSpec,
    seen: &SeenStorages,
    (storage, ours, grant): (&SeenStorage, Option<&StorageDefinition>, Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let Some(taken) = seen.marks.taken(&spec.storage) else { return };
    let proven = storage.marker.present().is_some_and(|marker| marker.drive_id == taken.drive_id);
    plan.readiness = match ours {
        Some(ours) if proven && !ours.disable => Readiness::Ready,
        _ => Readiness::Unknown,
    };
    let expect = ExpectStorage {
        durable_id: taken.durable_id.clone(),
        drive_id: Some(taken.drive_id),
        content: ours.map(content_of).unwrap_or_default(),
    };
    match grant.map(|grant| (grant, grant.request())) {
        Some((grant, Request::ReplaceDrive(signed))) => match signed.expect.differs_from(&expect) {
            Some(what) => void(grant, what, plan),
            None => plan.steps.push(StorageStep::ReplaceDrive(ReplaceStep {
                grant: grant.op_id().clone(),
                durable_id: spec.durable_id.clone(),
            })),
        },
        _ => {
            let text = format!(
                "{} lies on {}, and the document says {}: another drive behind a storage in use waits for a signature",
                spec.storage, taken.durable_id, spec.durable_id
            );
            plan.note(NoteKind::Held, "replace_needs_signature", text);
            let (storage, durable_id) = (spec.storage.clone(), spec.durable_id.clone());
            plan.pending = Some(Request::ReplaceDrive(ReplaceDrive { storage, durable_id, expect }));
            // It must not be written to where it is not the one that was taken.
            if !proven {
                plan.stand_back(ours);
            }
        }
    }
}

fn void(grant: &Grant, what: &'static str, plan: &mut StoragePlan) {
    let rejection = Rejection::ExpectMismatch(what);
    plan.note(NoteKind::Refused, rejection.code(), rejection.to_string());
    plan.void = Some((grant.op_id().clone(), rejection));
}

/// Kinds that we do not know were not put there by us, and are left out of what is signed.
fn content_of(ours: &StorageDefinition) -> BTreeSet<ContentType> {
    ordered::set(ours.content.iter().filter_map(|word| ContentType::of_word(word)))
}
