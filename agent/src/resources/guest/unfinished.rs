//! What a lost creation left behind is cleared and made again, without a person and without a signature. Pure.
//!
//! Nothing is lost by it: the guest never was whole and never ran. That it is so takes three witnesses. The journal: the
//! last thing we did to this guest was to create it, under this number, and PVE's task of that did not end well. PVE's
//! lock: only a creation holds `create` or `clone`, until its very end. And its status: stopped. A guest that somebody
//! has made there since, or has unlocked by hand, has none of them, and is left alone.

use felhom_shared::desired::{GuestSpec, Presence};
use felhom_shared::report::Outcome;

use crate::observe::SeenGuest;
use crate::plan::GuestPlan;
use crate::state::LostCreation;
use crate::step::{ClearUnfinished, Step};

/// Whether PVE says that somebody is still making this guest, or has never finished.
#[must_use]
pub fn is_being_made(guest: &SeenGuest) -> bool {
    matches!(guest.entry.lock.as_deref(), Some("create" | "clone")) && guest.is_running() == Some(false)
}

/// Puts the clearing in place of what the plan had to say about a guest that it could not touch.
pub fn clear(spec: &GuestSpec, guest: &SeenGuest, lost: &LostCreation, plan: &mut GuestPlan) {
    let same = lost.vmid == spec.vmid && guest.kind == spec.kind;
    if spec.presence != Presence::Present || !same || !is_being_made(guest) {
        return;
    }
    plan.notes.clear();
    plan.outcome = Outcome::Converging;
    plan.steps = vec![Step::ClearUnfinished(ClearUnfinished { task: lost.task.to_string() })];
}
