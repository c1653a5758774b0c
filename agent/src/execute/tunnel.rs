//! The tunnel's steps: journal, request, outcome. None of them needs Proxmox, so they are run also while that cannot be
//! reached, and each leaves the box with a tunnel that is whole, wherever it is cut short.

use std::path::Path;

use felhom_shared::desired::DesiredState;
use felhom_shared::report::{StepOutcome, StepReport};
use felhom_shared::secret::SecretValue;
use jiff::Timestamp;

use super::not_attempted;
use crate::host::tunnel::slots::Slots;
use crate::item::Item;
use crate::observe::Reading;
use crate::resources::tunnel::Secrets;
use crate::resources::tunnel::apply::apply;
use crate::resources::tunnel::plan::TunnelPlan;
use crate::resources::tunnel::step::TunnelStep;
use crate::state::{Boundary, JournalEntry, State, StateError};
use crate::step::Step;

/// What the tunnel's steps of one cycle run with.
pub struct TunnelExecution<'a> {
    /// Journal and outbox.
    pub state: &'a State,
    /// The document, which names the token.
    pub desired: &'a DesiredState,
    /// What came beside it.
    pub secrets: &'a Secrets,
    /// The cycle's number.
    pub cycle: u64,
    /// `/`, but in tests and beside a double.
    pub root: &'a Path,
}

impl TunnelExecution<'_> {
    /// Runs them one after the other, to the first that fails. Fails only when the journal cannot be written.
    pub async fn run(&self, tunnel: &TunnelPlan) -> Result<Vec<StepReport>, StateError> {
        let mut reports = Vec::with_capacity(tunnel.steps.len());
        for action in &tunnel.steps {
            let step = Step::Tunnel(action.clone());
            let mut report = not_attempted(&step);
            if reports.iter().all(|done: &StepReport| done.outcome == StepOutcome::Applied) {
                self.run_step((action, &step), &mut report).await?;
            }
            reports.push(report);
        }
        Ok(reports)
    }

    async fn run_step(
        &self,
        (action, step): (&TunnelStep, &Step),
        report: &mut StepReport,
    ) -> Result<(), StateError> {
        let now = Timestamp::now();
        // Before the effect: a change that is taken back must not be tried again at once, whatever happens now.
        if let TunnelStep::RevertTunnel(revert) = action {
            self.state.put_tunnel_attempt(revert, now)?;
        }
        let entry = self.state.begin(&JournalEntry { item: Item::Tunnel, step, cycle: self.cycle, now })?;
        tracing::info!(step = step.word(), "tunnel: step begins: {step}");
        let done = apply(self.state.folder(), action, self.token()).await;
        self.state.boundary(Boundary::AfterCall);
        (report.outcome, report.error) = match done {
            Ok(()) => (StepOutcome::Applied, None),
            Err(failure) => (StepOutcome::Failed, Some(failure)),
        };
        if let Some(error) = &report.error {
            tracing::warn!(step = step.word(), code = error.code, "tunnel: step failed: {}", error.text);
        }
        self.state.end((entry, step), report.outcome, report.error.as_ref(), Timestamp::now())
    }

    /// The token that the document names: as the hub delivered it, or as it is installed.
    fn token(&self) -> Option<SecretValue> {
        let named = self.desired.tunnel.as_ref()?.token.as_ref()?;
        if let Some(value) = self.secrets.get(named) {
            return Some(value.clone());
        }
        match Slots::below(self.root).token() {
            Reading::Present(token) if token.sha256() == named.sha256 => Some(token),
            _ => None,
        }
    }
}
