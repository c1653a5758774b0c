//! When an operation may be taken and begun. Pure: the time is an argument.
//!
//! A box's clock can be wrong in both directions. `floor` is the latest time the box has reason to believe in
//! (its build, what it accepted, what it noted while running); a clock behind it is not believed.

use super::authority::authority_of;
use super::op::Op;
use super::rejection::Rejection;
use super::request::Request;
use crate::limits::CLOCK_SKEW_MS;

/// What a box knows of the time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What the system says.
    pub system_ms: u64,
    /// The latest time known to have passed.
    pub floor_ms: u64,
}

impl Clock {
    /// The time that counts.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.system_ms.max(self.floor_ms)
    }

    fn is_behind(&self) -> bool {
        self.system_ms.saturating_add(CLOCK_SKEW_MS) < self.floor_ms
    }
}

/// Checks an operation's window. `clock.reset` is exempt from what a wrong clock could make of it (it is there to
/// mend one), and from nothing else: its life is bounded, and the replay floor stops a second use.
pub fn check_window(op: &Op, clock: Clock) -> Result<(), Rejection> {
    if op.expires_at <= op.issued_at {
        return Err(Rejection::WindowEmpty);
    }
    if op.expires_at - op.issued_at > authority_of(&op.request).life_ms_max {
        return Err(Rejection::LifeTooLong);
    }
    if matches!(op.request, Request::ClockReset(_)) {
        return Ok(());
    }
    if op.expires_at <= clock.now_ms() {
        return Err(Rejection::Expired);
    }
    if clock.is_behind() {
        return Err(Rejection::ClockBehind);
    }
    if op.issued_at > clock.now_ms().saturating_add(CLOCK_SKEW_MS) {
        return Err(Rejection::NotYet);
    }
    Ok(())
}
