//! The whole plan of a cycle: every guest's steps and reasons, and what is not ours. Pure.
//!
//! The order of the input does not matter: guests come out by VMID. The plan says what would be done; whether
//! a step may be done now (budget, back-off) is decided here too, so that what is printed is what happens.

mod dependants;

use std::collections::BTreeMap;

use felhom_shared::desired::{DesiredState, GuestKind, GuestSpec, StorageSpec};
use felhom_shared::id::{GuestId, Vmid};
use felhom_shared::ordered;
use felhom_shared::report::{Class, Note, NoteKind, Observed, Outcome, UnmanagedGuest};
use felhom_shared::signed::{OpId, Rejection, Request};
use jiff::Timestamp;

use crate::backoff::{Backoff, Wait};
use crate::class::class_of;
use crate::item::ItemId;
use crate::observe::{ObservedHost, Reading, SeenGuest};
use crate::ops::Grants;
use crate::resources::guest::is_ours;
use crate::resources::guest::plan::plan_guest;
use crate::resources::guest::unfinished;
use crate::resources::storage::plan::{StoragePlan, plan_storage};
use crate::resources::tunnel::plan::{TunnelPlan, plan_tunnel};
use crate::state::LostCreation;
use crate::step::Step;

/// What to do, why not, and what is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By name.
    pub storage: Vec<StoragePlan>,
    /// None where there is no tunnel, and none is meant to be.
    pub tunnel: Option<TunnelPlan>,
    /// By VMID.
    pub guests: Vec<GuestPlan>,
    /// By VMID.
    pub unmanaged: Vec<UnmanagedGuest>,
}

impl Plan {
    /// Whether there is nothing to do now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.storage.iter().all(|storage| storage.steps.is_empty())
            && self.tunnel.iter().all(|tunnel| tunnel.steps.is_empty())
            && self.guests.iter().all(|guest| guest.steps.is_empty())
    }

    /// Where each item stands.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + '_ {
        let storage = self.storage.iter().map(|storage| storage.outcome);
        let tunnel = self.tunnel.iter().filter(|tunnel| tunnel.desired).map(|tunnel| tunnel.outcome);
        storage.chain(tunnel).chain(self.guests.iter().map(|guest| guest.outcome))
    }
}

/// One guest's part of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPlan {
    /// Identity.
    pub guest_id: GuestId,
    /// Number on the node.
    pub vmid: Vmid,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Name in the document.
    pub name: String,
    /// Where it stands before the steps.
    pub outcome: Outcome,
    /// What was seen.
    pub observed: Observed,
    /// To be done in this order; a failed one ends the row.
    pub steps: Vec<Step>,
    /// What is not done, and why.
    pub notes: Vec<Note>,
    /// The operation that would release what is held.
    pub pending: Option<Request>,
    /// A grant that does not fit the guest any more: its operation is over.
    pub void: Option<(OpId, Rejection)>,
}

/// What a plan depends on besides the document and the readings.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// The time.
    pub now: Timestamp,
    /// How many more guests may be changed within the hour.
    pub budget_left: u32,
    /// Guests whose last step failed.
    pub backoff: &'a Backoff,
    /// What signed operations release.
    pub grants: &'a Grants,
    /// Creations that came to no good end, where somebody can clear them.
    pub lost: &'a BTreeMap<GuestId, LostCreation>,
    /// The operator has paused the host.
    pub blocked: bool,
    /// Guests that wait for nothing: the hub is not heard because of a change of theirs.
    pub at_once: &'a dyn Fn(GuestId) -> bool,
}

/// Plans the whole host.
#[must_use]
pub fn plan(desired: &DesiredState, observed: &ObservedHost, limits: Limits<'_>) -> Plan {
    let storage = plan_storages(desired, observed, limits);
    let mut specs: Vec<&GuestSpec> = desired.guests.iter().collect();
    specs.sort_unstable_by_key(|spec| spec.vmid);
    let mut budget_left = limits.budget_left;
    let guests = specs.into_iter().map(|spec| {
        let window = spec.maintenance_window.as_ref().or(desired.maintenance_window.as_ref());
        let grant = limits.grants.of(&spec.guest_id.into());
        let seen = observed.guest(spec);
        let mut guest = plan_guest(spec, &seen, grant, (window, limits.now));
        if let (Some(lost), Reading::Present(seen)) = (limits.lost.get(&spec.guest_id), &seen) {
            unfinished::clear(spec, seen, lost, &mut guest);
        }
        dependants::wait(spec, &storage, &mut guest);
        hold_guarded(&mut guest);
        withhold(&mut guest, limits, &mut budget_left);
        guest
    });
    let guests: Vec<_> = guests.collect();
    let mut tunnel = plan_the_tunnel(desired, observed, limits);
    let busy = guests.iter().any(|guest| !guest.steps.is_empty())
        || storage.iter().any(|storage| !storage.steps.is_empty());
    if let Some(tunnel) = tunnel.as_mut().filter(|tunnel| busy && tunnel.interrupts()) {
        let text = "a change of the tunnel is tried when nothing else is being done: it has to be looked at often then";
        tunnel.wait("tunnel_after_others", text.to_owned(), Outcome::Converging);
    }
    Plan { storage, tunnel, guests, unmanaged: unmanaged(desired, observed) }
}

const PAUSED: &str = "the operator has paused this host: nothing is changed";

fn next_try(wait: &Wait) -> String {
    format!("{}; next try at {}", wait.failure.text, wait.next_try)
}

/// Drives cost no change budget: there are few, and nothing is lost by any routine step on one.
fn plan_storages(desired: &DesiredState, observed: &ObservedHost, limits: Limits<'_>) -> Vec<StoragePlan> {
    let Some(seen) = &observed.storages else { return Vec::new() };
    let mut specs: Vec<&StorageSpec> = desired.storage.iter().collect();
    specs.sort_unstable_by_key(|spec| &spec.storage);
    let planned = specs.into_iter().map(|spec| {
        let item = ItemId::Storage(spec.storage.clone());
        let mut storage = plan_storage(spec, seen, limits.grants.of(&item));
        if storage.steps.is_empty() {
        } else if limits.blocked {
            storage.wait("host_paused", PAUSED.to_owned(), Outcome::Waiting);
        } else if let Some(wait) = limits.backoff.waits(&item, limits.now) {
            storage.wait(&wait.failure.code, next_try(wait), Outcome::Failed);
        }
        storage
    });
    planned.collect()
}

/// A change that is being tried is kept or taken back also while the operator has paused the host.
fn plan_the_tunnel(
    desired: &DesiredState,
    observed: &ObservedHost,
    limits: Limits<'_>,
) -> Option<TunnelPlan> {
    let mut tunnel = plan_tunnel(desired.tunnel.as_ref(), observed.tunnel.as_ref()?, limits.now);
    if tunnel.steps.is_empty() {
    } else if limits.blocked && !tunnel.ends_trial() {
        tunnel.wait("host_paused", PAUSED.to_owned(), Outcome::Waiting);
    } else if let Some(wait) =
        limits.backoff.waits(&ItemId::Tunnel, limits.now).filter(|_| !tunnel.ends_trial())
    {
        tunnel.wait(&wait.failure.code, next_try(wait), Outcome::Failed);
    }
    Some(tunnel)
}

/// Takes back the first guarded step that nothing has released, and all after it. The planner does not plan one;
/// that it cannot is decided here.
fn hold_guarded(guest: &mut GuestPlan) {
    let unreleased = |step: &Step| class_of(step) == Class::Guarded && step.grant().is_none();
    let Some(first) = guest.steps.iter().position(unreleased) else { return };
    let text = format!("{} needs a signature: {}", guest.steps[first].word(), guest.steps[first]);
    guest.steps.truncate(first);
    guest.note(NoteKind::Held, "step_needs_signature", text);
    guest.outcome = guest.outcome.max(Outcome::Held);
}

/// Takes back steps that may not run now, and says why.
fn withhold(guest: &mut GuestPlan, limits: Limits<'_>, budget_left: &mut u32) {
    if guest.steps.is_empty() || (limits.at_once)(guest.guest_id) {
        return;
    }
    if limits.blocked {
        guest.wait("host_paused", PAUSED.to_owned(), Outcome::Waiting);
    } else if let Some(wait) = limits.backoff.waits(&guest.guest_id.into(), limits.now) {
        guest.wait(&wait.failure.code, next_try(wait), Outcome::Failed);
    } else if *budget_left == 0 {
        let text =
            "more guests are to be changed than the box allows in an hour (change_budget_per_hour in its \
                    configuration); the rest follows"
                .to_owned();
        guest.wait("change_budget_spent", text, Outcome::Waiting);
    } else {
        *budget_left -= 1;
    }
}

fn unmanaged(desired: &DesiredState, observed: &ObservedHost) -> Vec<UnmanagedGuest> {
    let specs = ordered::map(desired.guests.iter().map(|spec| (spec.vmid, spec)));
    let ours = |guest: &SeenGuest| {
        let config = guest.config.present();
        specs.get(&guest.entry.vmid).is_some_and(|spec| is_ours(spec.guest_id, &guest.entry, config))
    };
    let foreign = observed.guests.values().filter(|guest| !ours(guest));
    let rows = foreign.map(|guest| UnmanagedGuest {
        vmid: guest.entry.vmid,
        kind: guest.kind,
        name: guest.entry.name.clone(),
        status: guest.status_word().to_owned(),
        marked: guest.entry.tags.iter().any(|tag| tag.starts_with("fh-")),
    });
    rows.collect()
}

/// The outcome word from steps and notes, unless it is already a graver one.
#[must_use]
pub fn concluded(outcome: Outcome, has_steps: bool, notes: &[Note]) -> Outcome {
    let from_notes = notes.iter().map(|note| match note.kind {
        NoteKind::Held => Outcome::Held,
        NoteKind::Refused => Outcome::Refused,
        NoteKind::Waiting => Outcome::Waiting,
    });
    let from_steps = has_steps.then_some(Outcome::Converging);
    from_notes.chain(from_steps).fold(outcome, Outcome::max)
}

impl GuestPlan {
    /// An empty plan for a guest: converged until something is found.
    #[must_use]
    pub fn new(spec: &GuestSpec) -> Self {
        Self {
            guest_id: spec.guest_id,
            vmid: spec.vmid,
            kind: spec.kind,
            name: spec.name.to_string(),
            outcome: Outcome::Converged,
            observed: Observed::Unreadable,
            steps: Vec::new(),
            notes: Vec::new(),
            pending: None,
            void: None,
        }
    }

    /// Adds a reason.
    pub fn note(&mut self, kind: NoteKind, code: &str, text: String) {
        self.notes.push(Note { kind, code: code.to_owned(), text });
    }

    /// Derives the outcome word from steps and notes, unless it is already a graver one.
    pub fn conclude(&mut self) {
        self.outcome = concluded(self.outcome, !self.steps.is_empty(), &self.notes);
    }

    fn wait(&mut self, code: &str, text: String, outcome: Outcome) {
        self.steps.clear();
        self.note(NoteKind::Waiting, code, text);
        self.outcome = outcome;
    }
}

impl Reading<SeenGuest> {
    /// The reading as the report tells it.
    #[must_use]
    pub fn observed(&self) -> Observed {
        match self {
            Self::Present(guest) => guest.observed(),
            Self::Absent => Observed::Absent,
            Self::Unreadable(_) => Observed::Unreadable,
        }
    }
}
