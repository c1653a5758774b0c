//! From plan and outcomes to what is told: the host's state, and the events that the change makes. Pure.
//!
//! The same state gives the same bytes, so the hub can see that nothing has changed. Nothing here carries a
//! secret: steps show keys and sizes, errors show PVE's words.

mod tellings;

use felhom_shared::id::HostId;
use felhom_shared::report::{
    GuestReport, Note, NoteKind, Outcome, PendingOp, StepOutcome, StepReport, StorageReport, TunnelReport,
};
use felhom_shared::signed::{Draft, Request, Target};

use crate::execute::Executed;
use crate::item::ItemId;
use crate::plan::{GuestPlan, Plan};
use crate::resources::storage::plan::StoragePlan;

pub use tellings::tellings;

/// The guests' part of the report.
#[must_use]
pub fn guest_reports(plan: &Plan, executed: &Executed) -> Vec<GuestReport> {
    plan.guests.iter().map(|guest| guest_report(guest, executed.get(&guest.guest_id.into()))).collect()
}

/// The storages' part of the report.
#[must_use]
pub fn storage_reports(plan: &Plan, executed: &Executed) -> Vec<StorageReport> {
    let report = |storage: &StoragePlan| {
        let steps = executed.get(&ItemId::Storage(storage.storage.clone())).cloned().unwrap_or_default();
        StorageReport {
            storage: storage.storage.clone(),
            durable_id: storage.durable_id.clone(),
            role: storage.role,
            outcome: after_steps(storage.outcome, &steps),
            readiness: storage.readiness,
            name: storage.name.clone(),
            steps,
            notes: storage.notes.clone(),
        }
    };
    plan.storage.iter().map(report).collect()
}

/// The tunnel's part of the report.
#[must_use]
pub fn tunnel_report(plan: &Plan, executed: &Executed) -> Option<TunnelReport> {
    let tunnel = plan.tunnel.as_ref()?;
    let steps = executed.get(&ItemId::Tunnel).cloned().unwrap_or_default();
    Some(TunnelReport {
        outcome: tunnel.desired.then(|| after_steps(tunnel.outcome, &steps)),
        readiness: tunnel.readiness,
        token_sha256: tunnel.installed.as_ref().map(|installed| installed.token_sha256.clone()),
        program_sha256: tunnel.installed.as_ref().map(|installed| installed.program_sha256.clone()),
        version: tunnel.version.clone(),
        on_trial: tunnel.on_trial,
        steps,
        notes: tunnel.notes.clone(),
        foreign: tunnel.foreign.clone(),
    })
}

/// A plan made after a failed step still says what it said before.
fn after_steps(planned: Outcome, steps: &[StepReport]) -> Outcome {
    let interrupted = steps.iter().any(|step| step.outcome == StepOutcome::Interrupted);
    let failed = steps.last().is_some_and(|step| step.outcome == StepOutcome::Failed);
    match planned {
        Outcome::Converged | Outcome::Converging | Outcome::Waiting if interrupted => Outcome::Interrupted,
        Outcome::Converging if failed => Outcome::Failed,
        other => other,
    }
}

fn guest_report(guest: &GuestPlan, steps: Option<&Vec<StepReport>>) -> GuestReport {
    let steps = steps.cloned().unwrap_or_default();
    let outcome = after_steps(guest.outcome, &steps);
    GuestReport {
        guest_id: guest.guest_id,
        vmid: guest.vmid,
        kind: guest.kind,
        name: guest.name.clone(),
        outcome,
        observed: guest.observed.clone(),
        steps,
        notes: guest.notes.clone(),
    }
}

/// Held steps as the operations that would release them.
#[must_use]
pub fn pending_ops(host_id: HostId, plan: &Plan) -> Vec<PendingOp> {
    let guests = plan.guests.iter().filter_map(|guest| {
        let target = Target { host_id, guest_id: Some(guest.guest_id) };
        pending_op(guest.pending.clone()?, target, &guest.notes)
    });
    let storages = plan.storage.iter().filter_map(|storage| {
        pending_op(storage.pending.clone()?, Target { host_id, guest_id: None }, &storage.notes)
    });
    guests.chain(storages).collect()
}

fn pending_op(request: Request, target: Target, notes: &[Note]) -> Option<PendingOp> {
    let held = notes.iter().find(|note| note.kind == NoteKind::Held)?;
    let op = request.word().to_owned();
    let text = request.consequence();
    let draft = serde_json::from_str::<DraftJson>(&Draft { request, target }.to_json()).ok()?;
    Some(PendingOp { op, target: draft.target, params: draft.params, code: held.code.clone(), text })
}

/// A draft's parts as they travel in a report.
#[derive(serde::Deserialize)]
struct DraftJson {
    target: serde_json::Value,
    params: serde_json::Value,
}
