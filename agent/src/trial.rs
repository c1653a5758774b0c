//! Commit or revert: a change that can cut the box off from the hub, or its customer from the box, is tried, and what was
//! there before comes back where the change does not prove itself in time. Pure.
//!
//! Time is measured by the clock that only goes forward, from when this agent first saw the change: an agent that was started
//! anew gives it its whole time again, and a wall clock that jumps ends no trial.

use std::time::Duration;

/// What becomes of a change that is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has more time.
    Wait,
    /// It works.
    Keep,
    /// It does not: what was there before comes back.
    Revert,
}

/// Judges a change that has been tried for so long.
#[must_use]
pub fn judge(lasts: Duration, window: Duration, proven: bool) -> Verdict {
    if proven {
        Verdict::Keep
    } else if lasts < window {
        Verdict::Wait
    } else {
        Verdict::Revert
    }
}
