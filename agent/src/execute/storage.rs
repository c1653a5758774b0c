//! Storages' steps: journal, request, outcome, as with guests. None of them makes a task in PVE, and all can be done twice.

use felhom_shared::report::{Class, Failure, StepOutcome, StepReport};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Execution, not_attempted};
use crate::class::class_of;
use crate::host::command::{HostCommand, SignedFormat};
use crate::host::format::filesystem_uuid;
use crate::item::Item;
use crate::ops::No;
use crate::resources::storage::DriveMark;
use crate::resources::storage::apply::apply;
use crate::resources::storage::live::is_live;
use crate::resources::storage::plan::StoragePlan;
use crate::resources::storage::step::StorageStep;
use crate::state::{Boundary, JournalEntry, StateError};
use crate::step::Step;

impl Execution<'_> {
    pub(super) async fn run_storage(&self, storage: &StoragePlan) -> Result<Vec<StepReport>, StateError> {
        let mut reports: Vec<StepReport> = Vec::with_capacity(storage.steps.len());
        let mut stopped = false;
        for step in storage.steps.iter().cloned().map(Step::Storage) {
            let mut report = not_attempted(&step);
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
        let signed = match self.release(storage, step)? {
            Ok(signed) => signed,
            Err(failure) => {
                tracing::warn!(storage = %storage.storage, step = step.word(), code = failure.code, "not begun: {}", failure.text);
                (report.outcome, report.error) = (StepOutcome::Failed, Some(failure));
                return Ok(());
            }
        };
        let item = Item::Storage(storage.storage.clone());
        let entry =
            self.state.begin(&JournalEntry { item, step, cycle: self.cycle, now: Timestamp::now() })?;
        tracing::info!(storage = %storage.storage, step = step.word(), "step begins: {step}");
        let done = match signed {
            Some(signed) => HostCommand::FormatDrive(signed).ask(self.state.folder()).await.map(drop),
            None => apply(self.pve, self.state.folder(), &storage.storage, action).await,
        };
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

    /// What a step needs besides itself: nothing where it is routine; its envelope where it is guarded and still good.
    fn release(
        &self,
        storage: &StoragePlan,
        step: &Step,
    ) -> Result<Result<Option<SignedFormat>, Failure>, StateError> {
        if class_of(step) == Class::Routine {
            return Ok(Ok(None));
        }
        match self.ops.permit_storage(self.desired, &storage.storage, step)? {
            Ok(envelope) => Ok(Ok(self.bring(storage, step, envelope)?)),
            Err(No::NotNow(failure)) => Ok(Err(failure)),
            Err(No::Never(rejection)) => {
                if let Some(op_id) = step.grant() {
                    self.ops.end_if_waiting(op_id, &rejection, Timestamp::now())?;
                }
                Ok(Err(Failure { code: rejection.code().to_owned(), text: rejection.to_string() }))
            }
        }
    }

    /// What is formatted is brought to the host with its envelope, and what will be made is noted before: whoever finds it
    /// there later knows whose it is.
    fn bring(
        &self,
        storage: &StoragePlan,
        step: &Step,
        envelope: String,
    ) -> Result<Option<SignedFormat>, StateError> {
        let mut marks = self.state.drive_marks()?;
        let format = match step {
            Step::Storage(StorageStep::FormatDrive(format)) => format,
            Step::Storage(StorageStep::ReplaceDrive(_)) => {
                marks.forget(&storage.storage);
                self.state.put_drive_marks(&marks)?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        let made = Some(filesystem_uuid(&format.grant));
        let durable_id = storage.durable_id.clone();
        let mark = DriveMark { durable_id, drive_id: Uuid::new_v4(), made, pool: None };
        marks.making(storage.storage.clone(), mark);
        self.state.put_drive_marks(&marks)?;
        let keysets = self.state.keyset_blobs()?;
        Ok(Some(SignedFormat { storage: storage.storage.clone(), envelope, keysets }))
    }

    /// Right before something is written to a drive: is it there, and is it still the one?
    pub(super) fn dead_drive(&self, step: &Step) -> Option<Failure> {
        step.allocates_on().iter().find_map(|storage| {
            let drive_id = self.proven.get(storage)?;
            is_live(self.root, storage, *drive_id).err()
        })
    }
}
