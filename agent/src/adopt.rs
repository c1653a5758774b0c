//! What became of steps that a cycle did not see end: the agent was stopped, or the task took longer than a cycle
//! waits. Runs before anything else: nothing is replayed, PVE's own task is found and looked at, and where there is
//! none the guest's state speaks for itself. Waits for nothing: a task that runs is looked at again next time.

use std::collections::BTreeMap;

use felhom_shared::desired::GuestKind;
use felhom_shared::event::Severity;
use felhom_shared::id::{GuestId, NodeName, Vmid};
use felhom_shared::report::{Failure, StepOutcome};
use jiff::Timestamp;

use crate::item::Item;
use crate::observe::{Observer, Reading};
use crate::pve::{Pve, TaskExit, TaskStatus};
use crate::resources::guest::observe::{Sought, find_task};
use crate::state::{OpenEntry, State, StateError, Telling};
use crate::step::Step;

/// Why a step's entry stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// Its task runs.
    Running,
    /// PVE cannot be read.
    Unknown,
}

/// Settles every open entry. Returns the guests whose entry is still open: nothing may happen to them yet.
pub async fn adopt(
    pve: &Pve,
    node: &NodeName,
    state: &State,
) -> Result<BTreeMap<GuestId, Unsettled>, StateError> {
    let mut unsettled = BTreeMap::new();
    for entry in state.open_entries()? {
        let now = Timestamp::now();
        let Item::Guest { guest_id, vmid, kind } = entry.item else {
            adopt_repeatable(state, &entry, now)?;
            continue;
        };
        let fate = fate(pve, node, state, (&entry, vmid, kind)).await?;
        let (outcome, failure, told) = match fate {
            Fate::Settled(settled) => settled,
            Fate::Unsettled(why) => {
                unsettled.insert(guest_id, why);
                continue;
            }
        };
        state.end((entry.id, &entry.step), outcome, failure.as_ref(), now)?;
        let text = format!("{} on vmid {vmid} was found again: {told}", entry.step.word());
        state.tell(&Telling::of_guest("step_adopted", Severity::Warning, guest_id, text), now)?;
    }
    Ok(unsettled)
}

/// What became of one step.
enum Fate {
    /// Outcome, failure, and how it is told.
    Settled((StepOutcome, Option<Failure>, String)),
    /// It cannot be said yet.
    Unsettled(Unsettled),
}

async fn fate(
    pve: &Pve,
    node: &NodeName,
    state: &State,
    (entry, vmid, kind): (&OpenEntry, Vmid, GuestKind),
) -> Result<Fate, StateError> {
    let sought = Sought { kind, vmid, step: &entry.step, since: entry.began_at };
    let upid = match &entry.upid {
        Some(upid) => Some(upid.clone()),
        None => match find_task(pve, node, state, sought).await {
            Ok(upid) => upid,
            Err(_) => return Ok(Fate::Unsettled(Unsettled::Unknown)),
        },
    };
    let Some(upid) = upid else {
        if let Step::DestroyGuest(_) = entry.step {
            return Ok(fate_of_destroy(pve, node, vmid, kind).await);
        }
        let failure = Failure {
            code: "interrupted".to_owned(),
            text: "the agent was stopped before PVE began a task for this; the guest's state decides what is left to do"
                .to_owned(),
        };
        let told = "PVE has no task of it, so the guest's state decides".to_owned();
        return Ok(Fate::Settled((StepOutcome::Interrupted, Some(failure), told)));
    };
    state.task(entry.id, &upid)?;
    let exit = match pve.task_status(node, &upid).await {
        Ok(TaskStatus::Stopped(exit)) => exit,
        Ok(TaskStatus::Running) => return Ok(Fate::Unsettled(Unsettled::Running)),
        Err(error) if error.is_transient() => return Ok(Fate::Unsettled(Unsettled::Unknown)),
        Err(error) => TaskExit::Unknown(error.to_string()),
    };
    let (outcome, failure) = task_outcome(&exit);
    Ok(Fate::Settled((outcome, failure, format!("its task {upid} ended with {}", exit_text(&exit)))))
}

/// A destruction without a task: whether the guest is still there says whether it happened. It is not begun again.
async fn fate_of_destroy(pve: &Pve, node: &NodeName, vmid: Vmid, kind: GuestKind) -> Fate {
    match Observer::list_row(pve, node, kind, vmid).await {
        Ok(Reading::Absent) => Fate::Settled((
            StepOutcome::AlreadyTrue,
            None,
            "PVE has no task of it, and the guest is gone".to_owned(),
        )),
        Ok(Reading::Present(_)) => {
            let text = format!(
                "the agent was stopped after it had begun; vmid {vmid} is still there. It is not tried again: look, and \
                 sign anew if it is still wanted"
            );
            let failure = Failure { code: "interrupted".to_owned(), text };
            let told = "PVE has no task of it, and the guest is still there".to_owned();
            Fate::Settled((StepOutcome::Interrupted, Some(failure), told))
        }
        Ok(Reading::Unreadable(_)) | Err(_) => Fate::Unsettled(Unsettled::Unknown),
    }
}

/// Every step on a storage or on the tunnel may be done twice: what is there says what is left to do.
fn adopt_repeatable(state: &State, entry: &OpenEntry, now: Timestamp) -> Result<(), StateError> {
    let text = "the agent was stopped in the middle of it; what the host and PVE show now decides what is left to do";
    let failure = Failure { code: "interrupted".to_owned(), text: text.to_owned() };
    state.end((entry.id, &entry.step), StepOutcome::Interrupted, Some(&failure), now)?;
    let text = format!("{} on {} was found again: what is there decides", entry.step.word(), entry.item.id());
    state.tell(&Telling::of_host("step_adopted", Severity::Warning, text), now)
}

/// A task's end as a step's outcome.
#[must_use]
pub fn task_outcome(exit: &TaskExit) -> (StepOutcome, Option<Failure>) {
    match exit {
        TaskExit::Ok | TaskExit::Warnings(_) => (StepOutcome::Applied, None),
        TaskExit::Failed(text) => {
            let failure = Failure {
                code: "pve_task_failed".to_owned(),
                text: format!("PVE's task failed: {text}. Its log on the node says more"),
            };
            (StepOutcome::Failed, Some(failure))
        }
        TaskExit::Unknown(text) => {
            let failure = Failure {
                code: "pve_task_lost".to_owned(),
                text: format!(
                    "how PVE's task ended is not known ({text}); the guest is read again before anything else"
                ),
            };
            (StepOutcome::Interrupted, Some(failure))
        }
    }
}

fn exit_text(exit: &TaskExit) -> String {
    match exit {
        TaskExit::Ok => "OK".to_owned(),
        TaskExit::Warnings(count) => format!("{count} warnings"),
        TaskExit::Failed(text) | TaskExit::Unknown(text) => text.clone(),
    }
}
