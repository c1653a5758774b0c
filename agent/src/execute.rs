//! Runs a plan: journal, request, task, outcome. One step at a time on each guest, one allocation at a time on
//! each storage, independent guests side by side.
//!
//! A failed step ends its guest's row and no other's (`one_bad_item_blocks_only_its_dependants`). After any error
//! the guest is read again: the plan made from that reading says whether the step took effect all the same.

mod storage;
pub mod tunnel;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use felhom_shared::desired::{DesiredState, GuestSpec};
use felhom_shared::id::{NodeName, StorageId};
use felhom_shared::limits::cut_text;
use felhom_shared::ordered;
use felhom_shared::report::{Failure, StepOutcome, StepReport};
use felhom_shared::signed::Rejection;
use futures_util::StreamExt;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use uuid::Uuid;

use crate::adopt::task_outcome;
use crate::class::class_of;
use crate::host::unfinished;
use crate::item::{Item, ItemId};
use crate::observe::{Observer, Reading, failure};
use crate::ops::{Cleared, Ops, Permit, Scene};
use crate::plan::{GuestPlan, Plan};
use crate::pve::{GuestAt, Pve, PveError, TaskStatus, Upid};
use crate::resources::guest::apply::{apply, is_already_true, is_still_wanted};
use crate::resources::guest::observe::{Sought, find_task};
use crate::resources::guest::plan::plan_guest;
use crate::state::{Boundary, EntryId, JournalEntry, State, StateError};
use crate::step::Step;

/// Guests changed side by side: what pveproxy's three workers can carry with one left for people.
const GUESTS_AT_ONCE: usize = 4;
/// How long a cycle waits for a task. A longer one stays open in the journal, and the next cycle goes on with
/// everything else: one slow or stuck guest keeps nobody waiting, neither the others nor the report.
const TASK_PATIENCE: Duration = Duration::from_secs(30);
/// Pauses between looks at a guest of which PVE has not said whether the change took effect.
const SETTLE_PAUSES_MS: [u64; 4] = [0, 500, 2000, 4000];

/// What a cycle did to each item.
pub type Executed = BTreeMap<ItemId, Vec<StepReport>>;

/// A step that PVE has heard of.
struct InFlight<'a> {
    guest: &'a GuestPlan,
    step: &'a Step,
    entry: EntryId,
    begun_at: Timestamp,
}

/// How a step ended; `None` leaves its journal entry open for the next cycle to adopt.
type End = Option<(StepOutcome, Option<Failure>)>;

/// What is said of a step before it is begun.
fn not_attempted(step: &Step) -> StepReport {
    StepReport {
        step: step.word().to_owned(),
        detail: cut_text(&step.to_string()),
        class: class_of(step),
        outcome: StepOutcome::NotAttempted,
        upid: None,
        error: None,
    }
}

/// What the steps of one cycle run with.
pub struct Execution<'a> {
    /// The API.
    pub pve: &'a Pve,
    /// The node.
    pub node: &'a NodeName,
    /// Journal and outbox.
    pub state: &'a State,
    /// Signed operations.
    pub ops: &'a Ops,
    /// The document, for reading a guest again after an error.
    pub desired: &'a DesiredState,
    /// The cycle's number.
    pub cycle: u64,
    /// Where drives are mounted below: `/`, but in tests and beside a double.
    pub root: &'a Path,
    /// Drives whose markers were accepted when this was planned.
    proven: BTreeMap<StorageId, Uuid>,
    storages: BTreeMap<StorageId, Mutex<()>>,
}

impl<'a> Execution<'a> {
    /// Prepares one cycle's execution.
    #[must_use]
    pub fn new(scene: Scene<'a>, (state, ops): (&'a State, &'a Ops), (cycle, root): (u64, &'a Path)) -> Self {
        let Scene { pve, node, desired } = scene;
        let (proven, storages) = (BTreeMap::new(), BTreeMap::new());
        Self { pve, node, state, ops, desired, cycle, root, proven, storages }
    }

    /// Runs the steps of storages and guests. Fails only when the journal cannot be written: then nothing more is begun.
    pub async fn run(mut self, plan: &Plan) -> Result<Executed, StateError> {
        let steps = plan.guests.iter().flat_map(|guest| &guest.steps);
        for storage in steps.flat_map(Step::allocates_on) {
            self.storages.entry(storage.clone()).or_default();
        }
        let proven = plan
            .storage
            .iter()
            .filter_map(|storage| Some((storage.storage.clone(), storage.proven.as_ref()?.drive_id)));
        self.proven = ordered::map(proven);
        let mut executed = Executed::new();
        // One after the other: what is done to drives is quick, and easier to follow in a journal.
        for storage in plan.storage.iter().filter(|storage| !storage.steps.is_empty()) {
            executed.insert(ItemId::Storage(storage.storage.clone()), self.run_storage(storage).await?);
        }
        let due = plan.guests.iter().filter(|guest| !guest.steps.is_empty());
        let this = &self;
        let rows = due.map(|guest| async move { Ok((guest.guest_id.into(), this.run_guest(guest).await?)) });
        let rows: Vec<Result<_, StateError>> =
            futures_util::stream::iter(rows).buffer_unordered(GUESTS_AT_ONCE).collect().await;
        rows.into_iter().try_for_each(|row| row.map(|(item, steps)| drop(executed.insert(item, steps))))?;
        Ok(executed)
    }

    async fn run_guest(&self, guest: &GuestPlan) -> Result<Vec<StepReport>, StateError> {
        let mut reports: Vec<StepReport> = Vec::with_capacity(guest.steps.len());
        let mut stopped = false;
        for step in &guest.steps {
            let mut report = not_attempted(step);
            if !stopped {
                let _storages = self.lock_storages(step).await;
                self.run_step(guest, step, &mut report).await?;
                stopped = !matches!(report.outcome, StepOutcome::Applied | StepOutcome::AlreadyTrue);
            }
            reports.push(report);
        }
        Ok(reports)
    }

    /// In the order of their ids, so that two guests never wait for each other.
    async fn lock_storages(&self, step: &Step) -> Vec<MutexGuard<'_, ()>> {
        let locks = step.allocates_on().iter().filter_map(|storage| self.storages.get(storage));
        join_all(locks.map(Mutex::lock)).await
    }

    async fn run_step(
        &self,
        guest: &GuestPlan,
        step: &Step,
        report: &mut StepReport,
    ) -> Result<(), StateError> {
        let Some(cleared) = self.clear(guest, step, report).await? else { return Ok(()) };
        if let Some(failure) = self.dead_drive(step) {
            tracing::warn!(
                guest.vmid = guest.vmid.get(),
                step = step.word(),
                code = failure.code,
                "not begun: {}",
                failure.text
            );
            (report.outcome, report.error) = (StepOutcome::Failed, Some(failure));
            return Ok(());
        }
        let begun_at = Timestamp::now();
        let entry = self.state.begin(&JournalEntry {
            item: Item::Guest { guest_id: guest.guest_id, vmid: guest.vmid, kind: guest.kind },
            step,
            cycle: self.cycle,
            now: begun_at,
        })?;
        tracing::info!(guest.vmid = guest.vmid.get(), guest.name = %guest.name, step = step.word(), "step begins: {step}");
        let at = GuestAt { node: self.node, kind: guest.kind, vmid: guest.vmid };
        if let Step::ClearUnfinished(_) = step {
            return self.clear_unfinished((entry, step), at, report).await;
        }
        let answer = apply(self.pve, at, cleared).await;
        self.state.boundary(Boundary::AfterCall);
        let (outcome, error) = match answer {
            Ok(None) => (StepOutcome::Applied, None),
            Ok(Some(upid)) => match self.follow(entry, &upid, report).await? {
                Some(end) => end,
                None => return Ok(()),
            },
            Err(error) if is_already_true(step, &error) => (StepOutcome::AlreadyTrue, None),
            Err(error) => match self.settle(&InFlight { guest, step, entry, begun_at }, error, report).await?
            {
                Some(end) => end,
                None => return Ok(()),
            },
        };
        if let Some(error) = &error {
            tracing::warn!(
                guest.vmid = guest.vmid.get(),
                step = step.word(),
                code = error.code,
                "step failed: {}",
                error.text
            );
        }
        self.state.end((entry, step), outcome, error.as_ref(), Timestamp::now())?;
        report.outcome = outcome;
        report.error = error;
        Ok(())
    }

    /// Not PVE's API but the host does this one.
    async fn clear_unfinished(
        &self,
        (entry, step): (EntryId, &Step),
        at: GuestAt<'_>,
        report: &mut StepReport,
    ) -> Result<(), StateError> {
        let cleared = unfinished::clear(self.state.folder(), at.kind, at.vmid).await;
        (report.outcome, report.error) = match cleared {
            Ok(()) => (StepOutcome::Applied, None),
            Err(failure) => (StepOutcome::Failed, Some(failure)),
        };
        if let Some(error) = &report.error {
            tracing::warn!(guest.vmid = at.vmid.get(), code = error.code, "not cleared: {}", error.text);
        }
        self.state.end((entry, step), report.outcome, report.error.as_ref(), Timestamp::now())
    }

    /// Whether the step may run now. A guarded one is looked at for the last time; what does not pass stands in
    /// `report`, and nothing has begun.
    async fn clear<'s>(
        &self,
        guest: &GuestPlan,
        step: &'s Step,
        report: &mut StepReport,
    ) -> Result<Option<Cleared<'s>>, StateError> {
        if let Some(cleared) = Cleared::routine(step) {
            return Ok(Some(cleared));
        }
        let spec = self.desired.guests.iter().find(|spec| spec.guest_id == guest.guest_id);
        let scene = Scene { pve: self.pve, node: self.node, desired: self.desired };
        let permit = match spec {
            Some(spec) => self.ops.permit(scene, spec, step).await?,
            None => Permit::Never(Rejection::NotAskedFor),
        };
        let failure = match permit {
            Permit::Run(cleared) => return Ok(Some(cleared)),
            Permit::NotNow(failure) => failure,
            Permit::Never(rejection) => {
                if let Some(op_id) = step.grant() {
                    self.ops.end_if_waiting(op_id, &rejection, Timestamp::now())?;
                }
                Failure { code: rejection.code().to_owned(), text: rejection.to_string() }
            }
        };
        tracing::warn!(
            guest.vmid = guest.vmid.get(),
            step = step.word(),
            code = failure.code,
            "not begun: {}",
            failure.text
        );
        report.outcome = StepOutcome::Failed;
        report.error = Some(failure);
        Ok(None)
    }

    /// Waits for a task. `None` leaves the journal entry open: the next cycle adopts it.
    async fn follow(&self, entry: EntryId, upid: &Upid, report: &mut StepReport) -> Result<End, StateError> {
        self.state.task(entry, upid)?;
        self.state.boundary(Boundary::AfterTask);
        report.upid = Some(upid.to_string());
        let seen = self.pve.wait_task(self.node, upid, Instant::now() + TASK_PATIENCE).await;
        (report.outcome, report.error) = match seen {
            Ok(TaskStatus::Stopped(exit)) => return Ok(Some(task_outcome(&exit))),
            Ok(TaskStatus::Running) => (StepOutcome::Running, None),
            Err(error) => (StepOutcome::Interrupted, Some(failure(&error))),
        };
        Ok(None)
    }

    /// After an error answer: look before deciding. PVE may have done it, be doing it, or have done a part.
    async fn settle(
        &self,
        flight: &InFlight<'_>,
        error: PveError,
        report: &mut StepReport,
    ) -> Result<End, StateError> {
        let InFlight { guest, step, entry, begun_at } = *flight;
        if !error.may_have_applied() {
            return Ok(Some((StepOutcome::Failed, Some(failure(&error)))));
        }
        let (unknown, guarded) = (error.is_outcome_unknown(), step.grant().is_some());
        // A guarded step is looked for also where PVE has said no: its receipt must not be wrong.
        if unknown || guarded {
            let sought = Sought { kind: guest.kind, vmid: guest.vmid, step, since: begun_at };
            if let Ok(Some(upid)) = find_task(self.pve, self.node, self.state, sought).await {
                return self.follow(entry, &upid, report).await;
            }
        }
        let looks = if unknown || guarded { &SETTLE_PAUSES_MS[..] } else { &SETTLE_PAUSES_MS[..1] };
        for pause_ms in looks {
            tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
            if self.took_effect(guest, step).await == Some(true) {
                return Ok(Some((StepOutcome::AlreadyTrue, None)));
            }
        }
        // What a guarded request may still do cannot be taken back by asking again: a person looks.
        let outcome = if unknown && guarded { StepOutcome::Interrupted } else { StepOutcome::Failed };
        Ok(Some((outcome, Some(failure(&error)))))
    }

    /// Whether a plan made from a fresh reading no longer wants the step; `None` when it cannot be read.
    async fn took_effect(&self, guest: &GuestPlan, step: &Step) -> Option<bool> {
        let of_plan = |spec: &&GuestSpec| spec.guest_id == guest.guest_id;
        let spec = self.desired.guests.iter().find(of_plan)?;
        let seen = Observer::read_guest(self.pve, self.node, spec).await.ok()?;
        match step {
            Step::FetchFile(_)
            | Step::ClearUnfinished(_)
            | Step::Storage(_)
            | Step::Tunnel(_)
            | Step::RebootGuest { .. }
            | Step::RollbackGuest(_)
            | Step::RestoreGuest(_) => return None,
            Step::DestroyGuest(_) => return Some(seen == Reading::Absent),
            Step::CreateGuest(_)
            | Step::CloneGuest(_)
            | Step::SetConfig(_)
            | Step::GrowDisk(_)
            | Step::StartGuest
            | Step::ShutdownGuest { .. } => {}
        }
        let again = plan_guest(spec, &seen, None, (None, Timestamp::now()));
        let was_read = seen.present().is_some() && again.notes.iter().all(|note| note.code != "vmid_taken");
        Some(was_read && !is_still_wanted(step, &again.steps))
    }
}
