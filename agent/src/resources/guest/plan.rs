//! What to do about one guest. Pure: spec, reading and the time go in, steps and reasons come out.
//!
//! Refuses to conclude anything from what could not be read, to touch what is not ours, and to ask for
//! anything irreversible without a grant: such a wish becomes a held note, and the draft of the operation that
//! would release it.

use felhom_shared::desired::{GuestKind, GuestSpec, MountSource, Power, Presence, Source, Window};
use felhom_shared::id::Label;
use felhom_shared::report::{Note, NoteKind, Observed, Outcome};
use felhom_shared::signed::{ConfigDigest, Expect, Expected, Request};
use jiff::Timestamp;

use super::diff::{Difference, PRIVILEGED_DIFFERS, difference};
use super::key::is_ours;
use super::params::create_steps;
use crate::observe::{Reading, SeenGuest};
use crate::ops::Grant;
use crate::ops::expect::{Match, compare};
use crate::plan::GuestPlan;
use crate::step::{DestroyGuest, RestoreGuest, RollbackGuest, Step};

/// How long a guest gets to go down before PVE's task fails. Nothing is killed.
const SHUTDOWN_TIMEOUT_S: u32 = 180;

/// Decides about one guest.
#[must_use]
pub fn plan_guest(
    spec: &GuestSpec,
    seen: &Reading<SeenGuest>,
    grant: Option<&Grant>,
    (window, now): (Option<&Window>, Timestamp),
) -> GuestPlan {
    let mut plan = GuestPlan::new(spec);
    match seen {
        Reading::Unreadable(failure) => {
            plan.outcome = Outcome::Unreadable;
            plan.observed = Observed::Unreadable;
            plan.note(NoteKind::Refused, &failure.code, failure.text.clone());
        }
        Reading::Absent => {
            plan.observed = Observed::Absent;
            plan_absent(spec, grant, &mut plan);
        }
        Reading::Present(guest) => {
            plan.observed = guest.observed();
            let compared = plan_present(spec, guest, grant, &mut plan);
            if compared && plan.steps.is_empty() {
                plan_pending(guest, window.is_some_and(|window| window.is_open(now)), &mut plan);
            }
        }
    }
    plan.conclude();
    plan
}

fn plan_absent(spec: &GuestSpec, grant: Option<&Grant>, plan: &mut GuestPlan) {
    if spec.presence == Presence::Absent {
        return;
    }
    let mut released = None;
    if !spec.unprivileged {
        let expect = Expect { vmid: spec.vmid, name: spec.name.clone(), config_digest: None };
        released = grant.filter(|grant| matches!(grant.request(), Request::CreatePrivileged(_)));
        if released.is_none() {
            let text =
                "a privileged container can become root on the host: creating it waits for a signature";
            plan.note(NoteKind::Held, "privileged_needs_signature", text.to_owned());
            plan.pending = Some(Request::CreatePrivileged(Expected { expect }));
            return;
        }
    }
    plan.steps = create_steps(spec, released.map(Grant::op_id));
    // A clone or an imported disk shows its size only once it exists; the next pass goes on from what it reads.
    let complete = matches!(spec.source, Source::Template(_));
    if complete && spec.power == Power::Running {
        plan.steps.push(Step::StartGuest);
    }
    hold_bind_mounts(spec, plan);
}

/// Returns whether the guest is ours, free and was compared key by key.
fn plan_present(spec: &GuestSpec, guest: &SeenGuest, grant: Option<&Grant>, plan: &mut GuestPlan) -> bool {
    let config = match &guest.config {
        Reading::Present(config) => Some(config),
        Reading::Absent | Reading::Unreadable(_) => None,
    };
    if !is_ours(spec.guest_id, &guest.entry, config) {
        if spec.presence == Presence::Present {
            let text = format!(
                "vmid {} holds {:?}, which does not carry the tag {}; it is left alone. Choose another vmid, or give \
                 the guest that tag if it is the one that is meant",
                spec.vmid,
                guest.entry.name,
                spec.guest_id.mark()
            );
            plan.note(NoteKind::Refused, "vmid_taken", text);
        }
        return false;
    }
    if let Some(grant) = grant {
        plan_granted(spec, guest, grant, plan);
        return false;
    }
    if spec.presence == Presence::Absent {
        hold_destroy(spec, guest, plan);
        return false;
    }
    if guest.kind != spec.kind {
        let text = format!(
            "vmid {} is a {} guest; the kind of a guest cannot change",
            spec.vmid,
            guest.kind.as_str()
        );
        plan.note(NoteKind::Refused, "kind_cannot_change", text);
        return false;
    }
    if let Some(lock) = &guest.entry.lock {
        plan.note(NoteKind::Waiting, "guest_locked", lock_text(spec, lock));
        return false;
    }
    match &guest.config {
        Reading::Present(config) => {
            let Difference { steps, notes } = difference(spec, config);
            plan.steps = steps;
            plan.notes = notes;
            hold_bind_mounts(spec, plan);
            plan.steps.extend(power_step(spec, guest));
            // A copy of a privileged container is one too, whatever the document says of it: it is left as it is,
            // and so it does not run.
            if plan.notes.iter().any(|note| note.code == PRIVILEGED_DIFFERS) {
                plan.steps.clear();
            }
            true
        }
        Reading::Absent => {
            plan.outcome = Outcome::Unreadable;
            false
        }
        Reading::Unreadable(failure) => {
            plan.outcome = Outcome::Unreadable;
            plan.note(NoteKind::Refused, &failure.code, failure.text.clone());
            false
        }
    }
}

/// What a signature releases. Only that: everything else waits for the next pass.
fn plan_granted(spec: &GuestSpec, guest: &SeenGuest, grant: &Grant, plan: &mut GuestPlan) {
    let Some(expect) = grant.request().expect() else { return };
    match compare(spec.guest_id, expect, &Reading::Present(guest.clone())) {
        Match::Same => {}
        Match::Other(rejection) => {
            plan.note(NoteKind::Refused, rejection.code(), rejection.to_string());
            plan.void = Some((grant.op_id().clone(), rejection));
            return;
        }
        Match::Unreadable(failure) => {
            plan.outcome = Outcome::Unreadable;
            plan.note(NoteKind::Refused, &failure.code, failure.text);
            return;
        }
    }
    if let Some(lock) = &guest.entry.lock {
        plan.note(NoteKind::Waiting, "guest_locked", lock_text(spec, lock));
        return;
    }
    let op_id = grant.op_id().clone();
    let (step, stopped_first) = match grant.request() {
        Request::DestroyGuest(_) => (Step::DestroyGuest(DestroyGuest { grant: op_id }), true),
        Request::RestoreGuest(of) => {
            let volid = of.volid.as_str().to_owned();
            (Step::RestoreGuest(RestoreGuest { grant: op_id, volid }), true)
        }
        Request::RollbackGuest(of) => {
            let snapshot = of.snapshot.as_str().to_owned();
            (Step::RollbackGuest(RollbackGuest { grant: op_id, snapshot }), false)
        }
        Request::CreatePrivileged(_)
        | Request::FormatDrive(_)
        | Request::AssignStorage(_)
        | Request::DetachStorage(_)
        | Request::ReplaceDrive(_)
        | Request::ClockReset(_)
        | Request::VoidBefore(_)
        | Request::LedgerRebase(_)
        | Request::ResetGeneration(_) => return,
    };
    if stopped_first && guest.is_running() != Some(false) {
        plan.steps.push(Step::ShutdownGuest { timeout_s: SHUTDOWN_TIMEOUT_S });
    }
    plan.steps.push(step);
}

/// Destruction is asked for and not signed: what would be signed is drafted, as far as it can be read.
fn hold_destroy(spec: &GuestSpec, guest: &SeenGuest, plan: &mut GuestPlan) {
    let text = format!("destroying {} (vmid {}) waits for a signature", spec.name, spec.vmid);
    plan.note(NoteKind::Held, "destroy_needs_signature", text);
    let name = Label::new(guest.entry.name.clone()).ok();
    let digest = guest.config.present().and_then(|config| ConfigDigest::try_from(config.digest.clone()).ok());
    if let (Some(name), Some(digest)) = (name, digest) {
        let expect = Expect { vmid: spec.vmid, name, config_digest: Some(digest) };
        plan.pending = Some(Request::DestroyGuest(Expected { expect }));
    }
}

fn lock_text(spec: &GuestSpec, lock: &str) -> String {
    format!(
        "PVE holds the lock {lock:?} on vmid {}. A running task releases it; a lock left by a crash is cleared by a \
         person with `{} unlock {}`, once no task of the guest runs",
        spec.vmid,
        match spec.kind {
            GuestKind::Lxc => "pct",
            GuestKind::Qemu => "qm",
        },
        spec.vmid
    )
}

fn power_step(spec: &GuestSpec, guest: &SeenGuest) -> Option<Step> {
    match (spec.power, guest.is_running()) {
        (Power::Running, Some(false)) => Some(Step::StartGuest),
        (Power::Stopped, Some(true)) => Some(Step::ShutdownGuest { timeout_s: SHUTDOWN_TIMEOUT_S }),
        (_, None) | (Power::Running, Some(true)) | (Power::Stopped, Some(false)) => None,
    }
}

/// Values that wait for a restart: applied in the window, told otherwise. Only when nothing else is to be done,
/// so that one restart covers all.
fn plan_pending(guest: &SeenGuest, window_open: bool, plan: &mut GuestPlan) {
    let keys = guest.pending_keys();
    if keys.is_empty() || guest.is_running() != Some(true) {
        return;
    }
    if window_open {
        plan.steps.push(Step::RebootGuest { timeout_s: SHUTDOWN_TIMEOUT_S });
    } else {
        let text = format!(
            "{} take effect at the next restart, which the maintenance window allows (none is open now)",
            keys.join(", ")
        );
        plan.note(NoteKind::Waiting, "restart_pending", text);
    }
}

fn hold_bind_mounts(spec: &GuestSpec, plan: &mut GuestPlan) {
    for (slot, mount) in &spec.mounts {
        if let MountSource::Bind(path) = &mount.source {
            let text =
                format!("{slot} shows the host's folder {path} to the guest: that waits for a signature");
            plan.notes.push(Note {
                kind: NoteKind::Held,
                code: "bind_mount_needs_signature".to_owned(),
                text,
            });
        }
    }
}
