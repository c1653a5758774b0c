//! A guest through which the box reaches its hub, as through a router: a change of it is tried. As it was desired when the hub
//! was last heard is remembered, and planned for again where the hub stays silent after the change. Pure, but for its
//! memory.
//!
//! Going back is planning for another entry, so whatever a plan can do can be taken back: settings, cards, power. What was
//! destroyed cannot, and needs a signature anyway.

use std::time::Duration;

use felhom_shared::desired::{DesiredState, GuestSpec, Uplink, Window};
use felhom_shared::id::GuestId;
use felhom_shared::report::{Note, NoteKind, Outcome};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::plan::{GuestPlan, Plan};
use crate::state::{State, StateError};
use crate::trial::{Again, Verdict, judge};

/// So long after the last change a hub that is heard proves it: a connection that was open may outlive what carried it.
const SETTLES: Duration = Duration::from_secs(20);

const ON_TRIAL: &str = "uplink_on_trial";

/// What is remembered of one such guest, on the box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// As it was desired when the hub was heard.
    pub proven: Option<GuestSpec>,
    /// As it was desired when that was taken back.
    pub tried: Option<GuestSpec>,
    /// How often that was, and when it is tried again.
    pub again: Option<Again>,
}

impl Known {
    /// When an entry that was taken back is tried again.
    fn again(&self, spec: &GuestSpec) -> Option<Again> {
        self.again.filter(|_| self.tried.as_ref() == Some(spec))
    }

    /// It was taken back, and it is too early to try it again.
    fn waits(&self, spec: &GuestSpec, now: Timestamp) -> bool {
        self.again(spec).is_some_and(|again| !again.is_over(now))
    }
}

/// A guest that is being changed, as this agent has seen it. An agent that was started anew gives it its whole time again.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// Its last step.
    since: Instant,
    /// Nothing is left to be done.
    settled: bool,
}

/// Which entry is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The document's, and it is known to work, or has its time.
    On,
    /// The document's, which is tried.
    Tried,
    /// The one before.
    Back,
}

/// One such guest.
#[derive(Debug)]
struct Row {
    guest_id: GuestId,
    known: Known,
    trial: Option<Trial>,
    way: Way,
}

/// What looks after them. There are one or two.
#[derive(Debug, Default)]
pub struct Uplinks {
    heard_at: Option<Instant>,
    rows: Vec<Row>,
    /// The rows are as they lie in the state.
    is_read: bool,
}

impl Uplinks {
    /// The hub has answered.
    pub fn hub_heard(&mut self) {
        self.heard_at = Some(Instant::now());
    }

    /// A change has not proven itself yet.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.rows.iter().any(|row| row.way == Way::Tried)
    }

    /// Whether a guest is being brought back to what it was.
    #[must_use]
    pub fn goes_back(&self, guest_id: GuestId) -> bool {
        self.way(guest_id) == Way::Back
    }

    fn way(&self, guest_id: GuestId) -> Way {
        self.rows.iter().find(|row| row.guest_id == guest_id).map_or(Way::On, |row| row.way)
    }

    /// The document to be planned for, where it is not the one in force: a change has cut the hub off.
    pub fn effective(
        &mut self,
        desired: &DesiredState,
        state: &State,
        now: Timestamp,
    ) -> Result<Option<DesiredState>, StateError> {
        self.read(desired, state)?;
        for row in &mut self.rows {
            let spec = desired.guests.iter().find(|spec| spec.guest_id == row.guest_id);
            let Some((spec, uplink)) = spec.and_then(|spec| Some((spec, spec.uplink.as_ref()?))) else {
                continue;
            };
            self.is_read &= !row.judge((spec, uplink), (state, self.heard_at), now)?;
        }
        if self.rows.iter().all(|row| row.way != Way::Back) {
            return Ok(None);
        }
        self.put_back(state)
    }

    /// A row for each of them, with what is remembered. What the hub is not reached through any more is forgotten.
    fn read(&mut self, desired: &DesiredState, state: &State) -> Result<(), StateError> {
        let is_one =
            |guest_id| desired.guests.iter().any(|spec| spec.guest_id == guest_id && spec.uplink.is_some());
        if !self.is_read {
            for row in &mut self.rows {
                row.known = Known::default();
            }
            for (guest_id, known) in state.uplinks()? {
                self.row(guest_id).known = known;
            }
            self.is_read = true;
        }
        for spec in desired.guests.iter().filter(|spec| spec.uplink.is_some()) {
            self.row(spec.guest_id);
        }
        for row in self.rows.iter().filter(|row| !is_one(row.guest_id)) {
            state.forget_uplink(row.guest_id)?;
        }
        self.rows.retain(|row| is_one(row.guest_id));
        Ok(())
    }

    fn row(&mut self, guest_id: GuestId) -> &mut Row {
        let at = self.rows.iter().position(|row| row.guest_id == guest_id).unwrap_or_else(|| {
            self.rows.push(Row { guest_id, known: Known::default(), trial: None, way: Way::On });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// For somebody who only looks: a change that was taken back is not planned yet, and nothing is judged.
    pub fn keep_back(
        desired: &DesiredState,
        state: &State,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let mut uplinks = Self::default();
        for (guest_id, known) in state.uplinks()? {
            let waits = desired.guests.iter().any(|spec| spec.guest_id == guest_id && known.waits(spec, now));
            uplinks.row(guest_id).way = if waits { Way::Back } else { Way::On };
        }
        for guest in plan.guests.iter_mut().filter(|guest| uplinks.goes_back(guest.guest_id)) {
            guest.steps.clear();
        }
        uplinks.annotate(plan);
        Ok(())
    }

    /// The document in force, with what it was before in the places that go back; at once, because a line that is down waits
    /// for no hour.
    fn put_back(&self, state: &State) -> Result<Option<DesiredState>, StateError> {
        let Some(mut effective) = state.document_anew()? else { return Ok(None) };
        for (guest_id, known) in state.uplinks()? {
            let guest = effective.guests.iter_mut().find(|guest| guest.guest_id == guest_id);
            if let (Some(guest), Some(proven), true) = (guest, known.proven, self.goes_back(guest_id)) {
                *guest = proven;
                guest.maintenance_window = Some(Window::always());
            }
        }
        Ok(Some(effective))
    }

    /// Says of each guest what the plan does not know.
    pub fn annotate(&self, plan: &mut Plan) {
        for guest in &mut plan.guests {
            match self.way(guest.guest_id) {
                Way::Back => {
                    let text = "the hub was not heard after the change that the document wants, so the guest is kept as it was \
                                before; it is tried again later, and at once when its entry says something else";
                    guest.note(NoteKind::Refused, "uplink_reverted", text.to_owned());
                    guest.outcome = guest.outcome.max(Outcome::Refused);
                }
                Way::Tried if guest.steps.is_empty() && guest.outcome == Outcome::Converged => {
                    let text = "the box reaches its hub through this guest: the change is kept once the hub is heard";
                    guest.note(NoteKind::Waiting, ON_TRIAL, text.to_owned());
                    guest.outcome = Outcome::Converging;
                }
                Way::Tried | Way::On => {}
            }
        }
    }

    /// What the plan has left to do, and what was done.
    pub fn saw(&mut self, guests: &[GuestPlan], worked: impl Fn(GuestId) -> bool) {
        for row in &mut self.rows {
            let guest = guests.iter().find(|guest| guest.guest_id == row.guest_id);
            let (Some(trial), Some(guest)) = (&mut row.trial, guest) else { continue };
            if worked(row.guest_id) {
                trial.since = Instant::now();
            }
            let waits = |note: &Note| note.kind == NoteKind::Waiting && note.code != ON_TRIAL;
            let unclear =
                matches!(guest.outcome, Outcome::Failed | Outcome::Unreadable | Outcome::Interrupted);
            trial.settled = guest.steps.is_empty() && !unclear && !guest.notes.iter().any(waits);
        }
    }
}

impl Row {
    /// Which way it goes. Whether something new was written down.
    fn judge(
        &mut self,
        (spec, uplink): (&GuestSpec, &Uplink),
        (state, heard_at): (&State, Option<Instant>),
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let waits = self.known.waits(spec, now);
        self.way = if waits { Way::Back } else { Way::On };
        if waits || self.known.proven.as_ref() == Some(spec) {
            self.trial = None;
            return Ok(false);
        }
        let trial = *self.trial.get_or_insert_with(|| Trial { since: Instant::now(), settled: false });
        let heard = heard_at.is_some_and(|at| at.saturating_duration_since(trial.since) >= SETTLES);
        // What can be heard is not taken back, whatever else stands in its way.
        let lasts = if heard { Duration::ZERO } else { trial.since.elapsed() };
        let window = Duration::from_secs(uplink.revert_after_s.into());
        match judge(lasts, window, heard && trial.settled) {
            Verdict::Keep => state.uplink_proven(self.guest_id)?,
            Verdict::Revert if self.known.proven.is_some() => {
                tracing::warn!(guest = %self.guest_id, "the hub is not heard since it was changed: it becomes what it was");
                let again = Again::after(self.known.again(spec), false, now);
                state.uplink_taken_back(self.guest_id, &again)?;
                self.way = Way::Back;
            }
            Verdict::Wait | Verdict::Revert => {
                // What waits for its hour while the hub is heard is in no hurry.
                self.way = if heard { Way::On } else { Way::Tried };
                return Ok(false);
            }
        }
        self.trial = None;
        Ok(true)
    }
}
