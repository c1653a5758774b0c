//! One pass of the loop after another until nothing is left to do. Makes no decisions of its own.
//!
//! adopt → (observe → plan → execute)* → report. What the cycle did and could not do is report content; only a
//! state file that cannot be written is an error.

mod look;

use std::path::PathBuf;
use std::time::Instant;

use felhom_shared::desired::DesiredState;
use felhom_shared::drive::DriveReport;
use felhom_shared::event::Severity;
use felhom_shared::id::{Generation, HostId};
use felhom_shared::report::{CycleCost, GenerationState, HostState, NodeState, Outcome, StepOutcome};
use felhom_shared::wire::PollAnswer;
use jiff::Timestamp;

use crate::accept::Accepted;
use crate::backoff::Backoff;
use crate::execute::tunnel::TunnelExecution;
use crate::execute::{Executed, Execution};
use crate::item::ItemId;
use crate::observe::Observer;
use crate::ops::{Ops, Scene};
use crate::plan::Plan;
use crate::pve::Pve;
use crate::report::{guest_reports, pending_ops, storage_reports, tellings, tunnel_report};
use crate::resources::guest::uplink::Uplinks;
use crate::resources::storage::{Attached, Heads};
use crate::resources::tunnel::{Secrets, Watch};
use crate::state::{State, StateError, Telling};

/// A drive is mounted, marked and defined in three passes, and a guest on it created, grown and started in three more;
/// more than this many means going round in circles.
const PASSES_MAX: usize = 12;

/// What runs cycles.
pub struct Cycle {
    host_id: HostId,
    pve: Pve,
    state: State,
    observer: Observer,
    backoff: Backoff,
    budget_per_hour: u32,
    ops: Ops,
    drives: Attached,
    root: PathBuf,
    heads: Heads,
    tunnel: Option<Watch>,
    uplinks: Uplinks,
    secrets: Secrets,
    lacks_secret: bool,
    last: Option<HostState>,
}

/// What a cycle came to.
#[derive(Debug, Clone, PartialEq)]
pub struct CycleEnd {
    /// What the box is now.
    pub state: HostState,
    /// What it cost.
    pub cost: CycleCost,
    /// The tunnel's connections when last looked.
    pub tunnel_connections: Option<u32>,
}

impl Cycle {
    /// A loop over `pve` with its memory in `state`.
    #[must_use]
    pub fn new(pve: Pve, state: State, ops: Ops, observer: Observer, budget_per_hour: u32) -> Self {
        let last = state.last_report().ok().flatten();
        let host_id = ops.host_id();
        Self {
            host_id,
            pve,
            state,
            observer,
            backoff: Backoff::default(),
            budget_per_hour,
            ops,
            drives: Attached::none(),
            root: PathBuf::from("/"),
            heads: Heads::default(),
            tunnel: None,
            uplinks: Uplinks::default(),
            secrets: Secrets::default(),
            lacks_secret: false,
            last,
        }
    }

    /// The same loop, which also tells of these drives and makes storages of them. They are mounted below `root`.
    #[must_use]
    pub fn with_drives(mut self, drives: Attached, root: PathBuf) -> Self {
        (self.drives, self.root) = (drives, root);
        self
    }

    /// The same loop, which also looks after the host's tunnel.
    #[must_use]
    pub fn with_tunnel(mut self, watch: Watch) -> Self {
        self.tunnel = Some(watch);
        self
    }

    /// The hub has answered: some changes prove themselves by that.
    pub fn hub_heard(&mut self) {
        self.uplinks.hub_heard();
        if let Some(watch) = &mut self.tunnel {
            watch.hub_heard();
        }
    }

    /// Takes the secrets that came with the document in force.
    pub fn take_secrets(&mut self, answer: &PollAnswer) -> Result<(), StateError> {
        if let Some(accepted) = self.state.accepted()? {
            self.secrets.take(&accepted.desired, &answer.secrets);
        }
        Ok(())
    }

    /// The document in force names a secret that has not come, or has been forgotten.
    #[must_use]
    pub fn lacks_secret(&self) -> bool {
        self.lacks_secret
    }

    /// Something is being tried and has to be looked at again soon.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.uplinks.on_trial() || self.tunnel.as_ref().is_some_and(Watch::on_trial)
    }

    /// Waits until other drives are attached.
    pub async fn drives_changed(&mut self) {
        self.drives.changed().await;
    }

    /// Signed operations, for what comes and goes between box and hub.
    #[must_use]
    pub fn ops(&self) -> &Ops {
        &self.ops
    }

    /// The observer, for reading metrics of the same node.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// A new document is in force: what failed under the old one may be tried again.
    pub fn document_changed(&mut self) {
        self.backoff.clear();
        self.observer.forget_configs();
    }

    /// When a guest that failed may be tried again.
    #[must_use]
    pub fn next_try(&self) -> Option<Timestamp> {
        self.backoff.next_try()
    }

    /// Runs one cycle. Without a document the node is observed and nothing is done.
    pub async fn run(&mut self, blocked: bool) -> Result<CycleEnd, StateError> {
        self.run_telling(blocked, |_| ()).await
    }

    /// Runs one cycle and shows `progress` the state before each round of steps.
    pub async fn run_telling(
        &mut self,
        blocked: bool,
        mut progress: impl FnMut(HostState),
    ) -> Result<CycleEnd, StateError> {
        let begun = Instant::now();
        let (requests, changing) = (self.pve.requests(), self.pve.changing_requests());
        let accepted = self.state.accepted()?;
        let nothing = nothing_desired();
        let desired = accepted.as_ref().map_or(&nothing, |accepted| &accepted.desired);
        let instead = self.uplinks.effective(desired, &self.state, Timestamp::now())?;
        let desired = instead.as_ref().unwrap_or(desired);
        let cycle = self.state.next_cycle()?;
        let mut executed = Executed::new();
        let mut pass = 0;
        let state = loop {
            pass += 1;
            let (observed, plan) = self.look(desired, blocked).await?;
            let seen = (observed.node, self.drives.known().to_vec());
            let state = self.host_state(accepted.as_deref(), seen, &plan, &executed)?;
            let node = self.observer.node().cloned();
            let tunnel = plan.tunnel.as_ref().filter(|tunnel| !tunnel.steps.is_empty());
            if plan.is_idle() || pass > PASSES_MAX || (node.is_none() && tunnel.is_none()) {
                break state;
            }
            self.state.put_last_report(&state)?;
            progress(state);
            for guest in plan.guests.iter().filter(|guest| !guest.steps.is_empty()) {
                self.observer.forget(guest.vmid);
            }
            let mut done = Executed::new();
            if let Some(tunnel) = tunnel {
                let (state, secrets, root) = (&self.state, &self.secrets, &*self.root);
                let execution = TunnelExecution { state, desired, secrets, cycle, root };
                done.insert(ItemId::Tunnel, execution.run(tunnel).await?);
            }
            if let Some(node) = &node {
                let scene = Scene { pve: &self.pve, node, desired };
                let run = Execution::new(scene, (&self.state, &self.ops), (cycle, &self.root)).run(&plan);
                done.extend(run.await?);
            }
            self.tunnel_changed(&plan, &done);
            self.uplinks.saw(&plan.guests, |guest_id| done.contains_key(&ItemId::Guest(guest_id)));
            self.learn(done, &mut executed);
        };
        self.keep(&state)?;
        let tunnel_connections = self.tunnel.as_ref().and_then(Watch::connections);
        let cost = CycleCost {
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            requests: self.pve.requests() - requests,
            changing_requests: self.pve.changing_requests() - changing,
        };
        Ok(CycleEnd { state, cost, tunnel_connections })
    }

    fn host_state(
        &self,
        accepted: Option<&Accepted>,
        (node, drives): (NodeState, Vec<DriveReport>),
        plan: &Plan,
        executed: &Executed,
    ) -> Result<HostState, StateError> {
        let generation = GenerationState {
            received: accepted.map(|accepted| accepted.generation),
            received_digest: accepted.map(|accepted| accepted.digest.clone()),
            reached: self.reached(accepted, &node, plan)?,
            refused: self.state.refused()?,
        };
        Ok(HostState {
            host_id: self.host_id,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            generation,
            node,
            guests: guest_reports(plan, executed),
            unmanaged: plan.unmanaged.clone(),
            storage: storage_reports(plan, executed),
            drives,
            tunnel: tunnel_report(plan, executed),
            journal_open: self.state.open_count()?,
            ops: self.ops.report(pending_ops(self.host_id, plan)),
        })
    }

    /// What was remembered of the tunnel may not be true any more.
    fn tunnel_changed(&mut self, plan: &Plan, done: &Executed) {
        let (Some(watch), Some(tunnel)) = (&mut self.tunnel, &plan.tunnel) else { return };
        let applied = done.get(&ItemId::Tunnel).into_iter().flatten();
        let applied = applied.filter(|step| step.outcome == StepOutcome::Applied).count();
        tunnel.steps.iter().take(applied).for_each(|step| watch.done(step));
    }

    /// Remembers failures for the back-off and steps for the report.
    fn learn(&mut self, done: Executed, executed: &mut Executed) {
        let now = Timestamp::now();
        for (item, steps) in done {
            let failed = steps
                .iter()
                .find(|step| matches!(step.outcome, StepOutcome::Failed | StepOutcome::Interrupted));
            match failed.and_then(|step| step.error.clone()) {
                Some(failure) => {
                    self.backoff.failed(item.clone(), failure, now);
                }
                None => self.backoff.succeeded(&item),
            }
            executed.entry(item).or_default().extend(steps);
        }
    }

    fn reached(
        &self,
        accepted: Option<&Accepted>,
        node: &NodeState,
        plan: &Plan,
    ) -> Result<Option<Generation>, StateError> {
        let before = self.state.reached()?;
        let Some(accepted) = accepted else { return Ok(before) };
        let readable = matches!(node, NodeState::Present { .. });
        let all = plan.outcomes().all(|outcome| outcome == Outcome::Converged);
        if readable && all && before != Some(accepted.generation) {
            self.state.put_reached(accepted.generation)?;
            return Ok(Some(accepted.generation));
        }
        Ok(before)
    }

    /// Tells what has changed and keeps the state for `status`; an unchanged state writes nothing.
    fn keep(&mut self, state: &HostState) -> Result<(), StateError> {
        if self.last.as_ref() == Some(state) {
            return Ok(());
        }
        let now = Timestamp::now();
        for telling in tellings(self.last.as_ref(), state) {
            log(&telling);
            self.state.tell(&telling, now)?;
        }
        self.state.put_outcomes(state, now)?;
        self.state.put_last_report(state)?;
        self.last = Some(state.clone());
        Ok(())
    }
}

/// The box's own log says what the hub is told: a hub that keeps it to itself hides nothing from a person at the box.
fn log(telling: &Telling) {
    match telling.severity {
        Severity::Info => tracing::info!(kind = telling.kind, "{}", telling.text),
        Severity::Warning => tracing::warn!(kind = telling.kind, "{}", telling.text),
        Severity::Error => tracing::error!(kind = telling.kind, "{}", telling.text),
    }
}

fn nothing_desired() -> DesiredState {
    DesiredState {
        version: felhom_shared::desired::DESIRED_VERSION,
        identity: felhom_shared::desired::Identity {
            name: felhom_shared::id::Label::new("unassigned").expect("a plain word is a valid label"),
            customer: None,
        },
        maintenance_window: None,
        guests: Vec::new(),
        storage: Vec::new(),
        tunnel: None,
    }
}
