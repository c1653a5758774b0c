//! Where a guest's task is looked for in PVE's task list, when the agent has lost sight of it.

use felhom_shared::desired::GuestKind;
use felhom_shared::id::{NodeName, Vmid};
use jiff::{SignedDuration, Timestamp};

use crate::pve::{Pve, PveError, TaskFilter, TaskSource, Upid};
use crate::state::State;
use crate::step::Step;

/// PVE stamps tasks with whole seconds and its own clock.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// A step whose task is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// The guest's kind.
    pub kind: GuestKind,
    /// Its number.
    pub vmid: Vmid,
    /// What was asked of PVE.
    pub step: &'a Step,
    /// When it began, by the agent's clock.
    pub since: Timestamp,
}

/// The task that PVE made of a step, if there is one: the newest of the right type on the right guest that the
/// journal does not know as another step's.
pub async fn find_task(
    pve: &Pve,
    node: &NodeName,
    state: &State,
    sought: Sought<'_>,
) -> Result<Option<Upid>, PveError> {
    let Some(task_type) = task_type(sought.kind, sought.step) else { return Ok(None) };
    let vmid = match sought.step {
        Step::CloneGuest(clone) => Some(clone.source),
        Step::FetchFile(_) => None,
        _ => Some(sought.vmid),
    };
    let since = sought.since.saturating_sub(SKEW).map_or(0, Timestamp::as_second).max(0).cast_unsigned();
    let filter = TaskFilter {
        vmid,
        typefilter: Some(task_type.to_owned()),
        since: Some(since),
        source: TaskSource::All,
        limit: None,
    };
    let tasks = pve.tasks(node, &filter).await?;
    let fits = |upid: &Upid| {
        upid.kind() == task_type && upid.starttime() >= since && !state.knows_task(upid).unwrap_or(false)
    };
    // Newest first, as PVE lists them: within one second its order is all there is.
    Ok(tasks.into_iter().map(|task| task.upid).find(fits))
}

/// PVE's task type for a step; a container's configuration is set without a task.
fn task_type(kind: GuestKind, step: &Step) -> Option<&'static str> {
    let lxc = kind == GuestKind::Lxc;
    Some(match step {
        Step::FetchFile(_) => "download",
        Step::CreateGuest(_) if lxc => "vzcreate",
        Step::CreateGuest(_) => "qmcreate",
        Step::CloneGuest(_) if lxc => "vzclone",
        Step::CloneGuest(_) => "qmclone",
        Step::SetConfig(_) if lxc => return None,
        Step::SetConfig(_) => "qmconfig",
        Step::GrowDisk(_) => "resize",
        Step::DestroyGuest(_) if lxc => "vzdestroy",
        Step::DestroyGuest(_) => "qmdestroy",
        Step::RollbackGuest(_) if lxc => "vzrollback",
        Step::RollbackGuest(_) => "qmrollback",
        Step::RestoreGuest(_) if lxc => "vzrestore",
        Step::RestoreGuest(_) => "qmrestore",
        Step::ClearUnfinished(_) | Step::Storage(_) | Step::Tunnel(_) => return None,
        Step::StartGuest if lxc => "vzstart",
        Step::StartGuest => "qmstart",
        Step::ShutdownGuest { .. } if lxc => "vzshutdown",
        Step::ShutdownGuest { .. } => "qmshutdown",
        Step::RebootGuest { .. } if lxc => "vzreboot",
        Step::RebootGuest { .. } => "qmreboot",
    })
}
