//! What became of steps that were cut off. Runs before anything else: nothing is replayed, PVE's own task is
//! found and waited for, and where there is none the guest's state speaks for itself.

use std::collections::BTreeSet;
use std::time::Duration;

use felhom_shared::event::Severity;
use felhom_shared::id::{GuestId, NodeName};
use felhom_shared::report::{Failure, StepOutcome};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::pve::{Pve, TaskExit, TaskStatus};
use crate::resources::guest::observe::{Sought, find_task};
use crate::state::{OpenEntry, State, StateError, Telling};

/// How long one pass waits for a task that it found running; the next cycle goes on waiting.
const PATIENCE: Duration = Duration::from_secs(600);

/// Settles every open entry. Returns the guests whose entry is still open: nothing may happen to them yet.
pub async fn adopt(pve: &Pve, node: &NodeName, state: &State) -> Result<BTreeSet<GuestId>, StateError> {
    let mut unsettled = BTreeSet::new();
    for entry in state.open_entries()? {
        let fate = fate(pve, node, state, &entry).await?;
        let now = Timestamp::now();
        let Some((outcome, failure, told)) = fate else {
            unsettled.insert(entry.guest_id);
            continue;
        };
        state.end(entry.id, outcome, failure.as_ref(), now)?;
        let text = format!("{} on vmid {} was cut off: {told}", entry.step.word(), entry.vmid);
        state.tell(&Telling::of_guest("step_adopted", Severity::Warning, entry.guest_id, text), now)?;
    }
    Ok(unsettled)
}

type Fate = (StepOutcome, Option<Failure>, String);

/// What became of one step; `None` while it cannot be said.
async fn fate(
    pve: &Pve,
    node: &NodeName,
    state: &State,
    entry: &OpenEntry,
) -> Result<Option<Fate>, StateError> {
    let upid = match &entry.upid {
        Some(upid) => Some(upid.clone()),
        None => match find_task(pve, node, state, sought(entry)).await {
            Ok(upid) => upid,
            Err(_) => return Ok(None),
        },
    };
    let Some(upid) = upid else {
        let failure = Failure {
            code: "interrupted".to_owned(),
            text: "the agent was stopped before PVE began a task for this; the guest's state decides what is left to do"
                .to_owned(),
        };
        let told = "PVE has no task of it, so the guest's state decides".to_owned();
        return Ok(Some((StepOutcome::Interrupted, Some(failure), told)));
    };
    state.task(entry.id, &upid)?;
    let exit = match pve.wait_task(node, &upid, Instant::now() + PATIENCE).await {
        Ok(TaskStatus::Stopped(exit)) => exit,
        Ok(TaskStatus::Running) => return Ok(None),
        Err(error) if error.is_transient() => return Ok(None),
        Err(error) => TaskExit::Unknown(error.to_string()),
    };
    let (outcome, failure) = task_outcome(&exit);
    Ok(Some((outcome, failure, format!("its task {upid} ended with {}", exit_text(&exit)))))
}

fn sought(entry: &OpenEntry) -> Sought<'_> {
    Sought { kind: entry.kind, vmid: entry.vmid, step: &entry.step, since: entry.began_at }
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
