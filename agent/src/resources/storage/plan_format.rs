//! What to do about a drive that is to be made new. Pure.
//!
//! Until somebody has signed for this very drive, in the state it is in, nothing. A drive that was made new already is used
//! as any other: it is never formatted twice because something on it is missing.

use felhom_shared::desired::{Filesystem, StorageSpec};
use felhom_shared::drive::DriveReport;
use felhom_shared::report::{NoteKind, Readiness};
use felhom_shared::signed::{ExpectDrive, FormatDrive, Rejection, Request};

use super::observe::SeenStorages;
use super::plan::StoragePlan;
use super::resolve::{Found, drive_of, other_class, was_made_as};
use super::step::{FormatStep, StorageStep};
use crate::host::format::objection;
use crate::observe::Reading;
use crate::ops::Grant;

/// Nobody has yet looked at what stands on the drive.
pub const NOT_READ: &str = "drive_not_read";

/// Whether the drive of this entry was made new for it, here. What was only about to be made counts when it is there.
pub(super) fn is_made(spec: &StorageSpec, seen: &SeenStorages) -> bool {
    let Some(mark) = seen.marks.of(&spec.storage, &spec.durable_id) else { return false };
    let Some(made) = mark.made else { return true };
    let drive = seen.drives.present().and_then(|drives| drive_of(spec, drives).ok());
    drive.is_some_and(|drive| drive.contents.iter().any(|content| was_made_as(content, made)))
}

pub(super) fn plan_format(
    spec: &StorageSpec,
    seen: &SeenStorages,
    (drives, grant): (&[DriveReport], Option<&Grant>),
    plan: &mut StoragePlan,
) {
    let drive = match drive_of(spec, drives) {
        Ok(drive) => drive,
        Err(Found::Unfit(failure)) => return plan.note(NoteKind::Refused, &failure.code, failure.text),
        Err(_) => {
            plan.readiness = Readiness::Unplugged;
            let text = format!("the drive that is to be formatted for {} is not attached", spec.storage);
            return plan.note(NoteKind::Waiting, "drive_unplugged", text);
        }
    };
    plan.name = Some(drive.name.clone());
    if let Some(failure) = other_class(drive, spec).or_else(|| objection(drive)) {
        return plan.note(NoteKind::Refused, &failure.code, failure.text);
    }
    if !seen.served {
        let text = "nobody formats drives for the agent: is felhom-host.path installed and the agent started by systemd?";
        return plan.note(NoteKind::Refused, "host_helper_missing", text.to_owned());
    }
    let (Some(now), Some(filesystem)) = (expect_now(spec, seen, drive, plan), spec.filesystem) else {
        return;
    };
    match grant {
        Some(grant) => plan_granted(grant, &now, plan),
        None => hold(spec, filesystem, now, plan),
    }
}

/// The drive as a signature would have to describe it.
fn expect_now(
    spec: &StorageSpec,
    seen: &SeenStorages,
    drive: &DriveReport,
    plan: &mut StoragePlan,
) -> Option<ExpectDrive> {
    match seen.heads.get(&spec.storage) {
        Some(Reading::Present(head)) => {
            let expect = ExpectDrive::of(drive, head.sha256.clone(), head.blank);
            if expect.is_none() {
                let text =
                    format!("{} says something of itself that nobody could read before signing", drive.name);
                plan.note(NoteKind::Refused, "drive_undescribable", text);
            }
            expect
        }
        Some(Reading::Unreadable(failure)) => {
            plan.unreadable(failure);
            None
        }
        Some(Reading::Absent) | None => {
            let text = format!("what stands on {} is read first", drive.name);
            plan.note(NoteKind::Waiting, NOT_READ, text);
            None
        }
    }
}

fn hold(spec: &StorageSpec, filesystem: Filesystem, expect: ExpectDrive, plan: &mut StoragePlan) {
    let text = format!(
        "formatting {} for {} waits for a signature; {}. If what is on it is to be kept, say adopt",
        expect.words(),
        spec.storage,
        expect.held_words()
    );
    plan.note(NoteKind::Held, "format_needs_signature", text);
    plan.pending =
        Some(Request::FormatDrive(FormatDrive { storage: spec.storage.clone(), filesystem, expect }));
}

fn plan_granted(grant: &Grant, now: &ExpectDrive, plan: &mut StoragePlan) {
    let Request::FormatDrive(order) = grant.request() else { return };
    if let Some(what) = order.expect.differs_from(now) {
        let rejection = Rejection::ExpectMismatch(what);
        plan.note(NoteKind::Refused, rejection.code(), rejection.to_string());
        plan.void = Some((grant.op_id().clone(), rejection));
        return;
    }
    let (grant, filesystem) = (grant.op_id().clone(), order.filesystem);
    plan.steps.push(StorageStep::FormatDrive(FormatStep { grant, filesystem, drive: now.words() }));
}
