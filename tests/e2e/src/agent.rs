//! The agent, cycle by cycle, in the test's own thread: documents are put in force directly, and a cycle runs when
//! the test says so. The same state, plan and execution as in the program; only hub and clock are left out.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use felhom_agent::accept::Accepted;
use felhom_agent::cycle::{Cycle, CycleEnd};
use felhom_agent::host::block::BlockDevices;
use felhom_agent::ops::Ops;
use felhom_agent::resources::storage::Attached;
use felhom_agent::resources::tunnel::Watch;
use felhom_agent::state::{Boundary, State};
use felhom_shared::desired::{DesiredState, digest};
use felhom_shared::id::Generation;
use felhom_shared::report::{GuestReport, Outcome};
use felhom_shared::secret::{SecretName, SecretValue};
use felhom_shared::signed::OpId;
use felhom_shared::wire::{OpReceipt, PollAnswer, QueueState, QueuedOp};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::document::host_id;
use crate::house::House;

/// More cycles than anything needs that comes to rest.
const CYCLES_MAX: usize = 40;

/// What a probe unwinds with to stop the agent dead: no message, no cleanup of its own.
#[derive(Debug)]
pub struct Killed;

impl Killed {
    /// Stops the agent here.
    pub fn now() -> ! {
        resume_unwind(Box::new(Self))
    }
}

/// An agent at work. Dropping it is what a kill does: connections break, what is on disk stays.
pub struct Agent {
    runtime: Runtime,
    cycle: Cycle,
    state: State,
}

impl Agent {
    pub(crate) fn start(house: &House, probe: Option<Rc<dyn Fn(Boundary)>>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime on this thread");
        let state = State::open(&house.state_dir()).expect("the state opens");
        let state = match probe {
            Some(probe) => state.with_probe(probe),
            None => state,
        };
        let pve = house.pve();
        let observer = House::observer(&pve);
        let ops = house.ops(host_id(), &state);
        let now = Timestamp::now();
        if let (Some((_, keyset)), None) = (&house.genesis, ops.keyset_version()) {
            ops.take_keysets(std::slice::from_ref(keyset), now).expect("the state writes");
        }
        // No hub, so there is nothing that it could have seen.
        ops.take_seen(None, now).expect("the state writes");
        let cycle = Cycle::new(pve, state.clone(), ops, observer, house.budget_per_hour);
        let root = house.control().host_root();
        let drives = {
            // What hears udev belongs to a runtime.
            let _inside = runtime.enter();
            Attached::of(BlockDevices::new(&root))
        };
        let tunnel = Watch::of(&root, house.tunnel_metrics());
        let cycle = cycle.with_drives(drives, root).with_tunnel(tunnel);
        Self { runtime, cycle, state }
    }

    /// Puts a document in force under the next generation.
    pub fn desire(&mut self, desired: &DesiredState) {
        desired.check().expect("a test's document is a good one");
        let bytes = serde_json::to_vec(desired).expect("a document is plain data");
        let last = self.state.accepted().expect("the state reads");
        let generation = last.map_or(Generation(1), |last| last.generation.next());
        let accepted = Accepted { generation, digest: digest(&bytes), desired: desired.clone() };
        self.state.put_accepted(&accepted, &bytes).expect("the state writes");
        self.cycle.document_changed();
    }

    /// Hands an envelope in, as the hub would carry it; what the hub's queue would be told of it.
    pub fn hand_in(&mut self, envelope: &str) -> OpReceipt {
        let queued = QueuedOp { op_id: OpId::of(envelope.as_bytes()), blob: envelope.to_owned() };
        let accepted = self.state.accepted().expect("the state reads");
        let desired = accepted.as_ref().map(|accepted| &accepted.desired);
        let told = self.cycle.ops().take_ops(&[queued], desired, Timestamp::now());
        let mut told = told.expect("the state writes");
        told.pop().map_or(OpReceipt { state: QueueState::Queued, code: None, text: None }, |(_, told)| told)
    }

    /// Delivers a secret with the document in force, as the hub would.
    pub fn deliver(&mut self, name: &str, value: &str) {
        let name = SecretName::new(name).expect("a secret's name");
        let value = SecretValue::new(value).expect("a secret");
        let answer = PollAnswer {
            host_id: host_id(),
            generation: None,
            desired: None,
            secrets: [(name, value)].into(),
            ops: Vec::new(),
            keysets: Vec::new(),
            ledger_seen: None,
            poll_interval_s: 60,
            blocked: false,
        };
        self.cycle.take_secrets(&answer).expect("the state reads");
    }

    /// The hub has answered something.
    pub fn hear_hub(&mut self) {
        // Time is the runtime's, which may have run ahead.
        let _inside = self.runtime.enter();
        self.cycle.hub_heard();
    }

    /// Signed operations.
    #[must_use]
    pub fn ops(&self) -> &Ops {
        self.cycle.ops()
    }

    /// Runs one cycle.
    pub fn cycle(&mut self) -> CycleEnd {
        self.runtime.block_on(self.cycle.run(false)).expect("the state works")
    }

    /// Runs one cycle while the operator has paused the host.
    pub fn paused_cycle(&mut self) -> CycleEnd {
        self.runtime.block_on(self.cycle.run(true)).expect("the state works")
    }

    /// Runs one cycle unless the probe kills the agent in it. A killed agent must be dropped.
    pub fn cycle_or_death(&mut self) -> Option<CycleEnd> {
        match catch_unwind(AssertUnwindSafe(|| self.cycle())) {
            Ok(end) => Some(end),
            Err(cause) if cause.is::<Killed>() => None,
            Err(cause) => resume_unwind(cause),
        }
    }

    /// Lets every wait after a failure and every remembered reading be over, as time would.
    pub fn time_passes(&mut self) {
        self.cycle.document_changed();
    }

    /// Lets the clock that only goes forward go so far ahead, for this agent alone.
    pub fn clock_runs(&mut self, ahead: Duration) {
        self.runtime.block_on(async {
            tokio::time::pause();
            tokio::time::advance(ahead).await;
            tokio::time::resume();
        });
    }

    /// Runs cycles until every guest, every storage and the tunnel are converged; panics with what is in the way.
    #[track_caller]
    pub fn settle(&mut self) -> CycleEnd {
        self.settle_to(|end| {
            let storages = end.state.storage.iter().map(|storage| storage.outcome);
            let tunnel = end.state.tunnel.iter().filter_map(|tunnel| tunnel.outcome);
            let guests = end.state.guests.iter().map(|guest| guest.outcome);
            let mut outcomes = guests.chain(storages).chain(tunnel);
            outcomes.all(|outcome| outcome == Outcome::Converged)
        })
    }

    /// Runs cycles until `holds`; panics with the last state.
    #[track_caller]
    pub fn settle_to(&mut self, holds: impl Fn(&CycleEnd) -> bool) -> CycleEnd {
        let mut end = self.cycle();
        for _ in 1..CYCLES_MAX {
            if holds(&end) {
                return end;
            }
            std::thread::sleep(Duration::from_millis(20));
            self.time_passes();
            end = self.cycle();
        }
        let state = &end.state;
        let items =
            serde_json::to_string_pretty(&(&state.tunnel, &state.storage, &state.guests)).unwrap_or_default();
        panic!("{CYCLES_MAX} cycles were not enough: {items}");
    }

    /// The agent's memory.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// Looking at a cycle's end.
pub trait Told {
    /// What is said of a guest.
    fn guest(&self, vmid: u32) -> &GuestReport;

    /// Its outcome.
    fn outcome(&self, vmid: u32) -> Outcome {
        self.guest(vmid).outcome
    }

    /// Whether a note or failed step with this code is told of it.
    fn tells(&self, vmid: u32, code: &str) -> bool {
        let guest = self.guest(vmid);
        let failed = guest.steps.iter().filter_map(|step| step.error.as_ref());
        guest.notes.iter().any(|note| note.code == code) || failed.into_iter().any(|error| error.code == code)
    }
}

impl Told for CycleEnd {
    #[track_caller]
    fn guest(&self, vmid: u32) -> &GuestReport {
        let found = self.state.guests.iter().find(|guest| guest.vmid.get() == vmid);
        found.unwrap_or_else(|| panic!("nothing is told of vmid {vmid}"))
    }
}
