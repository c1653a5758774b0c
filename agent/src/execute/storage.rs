//! Storages' steps: journal, request, outcome, as with guests. None of them makes a task in PVE, and all can be done twice.

use felhom_shared::limits::cut_text;
use felhom_shared::report::{Class, Failure, StepOutcome, StepReport};
use jiff::Timestamp;

use super::Execution;
use crate::class::class_of;
use crate::item::Item;
use crate::resources::storage::apply::apply;
use crate::resources::storage::live::is_live;
use crate::resources::storage::plan::StoragePlan;
use crate::state::{Boundary, JournalEntry, StateError};
use crate::step::Step;

impl Execution<'_> {
    pub(super) async fn run_storage(&self, storage: &StoragePlan) -> Result<Vec<StepReport>, StateError> {
        let mut reports: Vec<StepReport> = Vec::with_capacity(storage.steps.len());
        let mut stopped = false;
        for step in storage.steps.iter().cloned().map(Step::Storage) {
            let mut report = StepReport {
                step: step.word().to_owned(),
                detail: cut_text(&step.to_string()),
                class: class_of(&step),
                outcome: StepOutcome::NotAttempted,
                upid: None,
                error: None,
            };
            if !stopped {
                self.run_storage_step(storage, &step, &mut report).await?;
                stopped = report.outcome != StepOutcome::Applied;
            }
            reports.push(report);
        }
        Ok(reports)
    }

    async fn run_storage_step(
        &self,
        storage: &StoragePlan,
        step: &Step,
        report: &mut StepReport,
    ) -> Result<(), StateError> {
        let Step::Storage(action) = step else { return Ok(()) };
        if report.class == Class::Guarded {
            let text = format!("{} needs a signature: {step}", step.word());
            (report.outcome, report.error) =
                (StepOutcome::Failed, Some(Failure { code: "step_needs_signature".to_owned(), text }));
            return Ok(());
        }
        let item = Item::Storage(storage.storage.clone());
        let entry =
            self.state.begin(&JournalEntry { item, step, cycle: self.cycle, now: Timestamp::now() })?;
        tracing::info!(storage = %storage.storage, step = step.word(), "step begins: {step}");
        let done = apply(self.pve, self.state.folder(), &storage.storage, action).await;
        self.state.boundary(Boundary::AfterCall);
        (report.outcome, report.error) = match done {
            Ok(()) => (StepOutcome::Applied, None),
            Err(failure) => (StepOutcome::Failed, Some(failure)),
        };
        if let Some(error) = &report.error {
            tracing::warn!(storage = %storage.storage, step = step.word(), code = error.code, "step failed: {}", error.text);
        }
        self.state.end((entry, step), report.outcome, report.error.as_ref(), Timestamp::now())
    }

    /// Right before something is written to a drive: is it there, and is it still the one?
    pub(super) fn dead_drive(&self, step: &Step) -> Option<Failure> {
        step.allocates_on().iter().find_map(|storage| {
            let drive_id = self.proven.get(storage)?;
            is_live(self.root, storage, *drive_id).err()
        })
    }
}
