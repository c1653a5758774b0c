//! Commit or revert: a change that can cut the box off from the hub, or its customer from the box, is tried, and what was
//! there before comes back where the change does not prove itself in time. Pure.
//!
//! Time is measured by the clock that only goes forward, from when this agent first saw the change: an agent that was started
//! anew gives it its whole time again, and a wall clock that jumps ends no trial. Each try interrupts what works, so the next
//! one comes later each time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// After a change that did not prove itself while the hub was heard: most likely it is wrong.
const FIRST_WAIT_H: i64 = 1;
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);
/// After one while the hub was not heard either: most likely the line was down.
const OUTAGE_WAIT_MIN: i64 = 10;

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

/// When a change that was taken back is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// How often it was taken back.
    pub failures: u32,
    /// Not before this time.
    pub next_try: Timestamp,
}

impl Again {
    /// After it was taken back once more.
    #[must_use]
    pub fn after(before: Option<Self>, hub_heard: bool, now: Timestamp) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let first = if hub_heard { FIRST_WAIT_H * 60 } else { OUTAGE_WAIT_MIN };
        let wait = SignedDuration::from_mins(first << (failures - 1).min(8)).min(LONGEST_WAIT);
        Self { failures, next_try: now.saturating_add(wait).unwrap_or(now) }
    }

    /// Whether it may be tried. A time further away than any wait was reckoned by a wrong clock.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        now >= self.next_try || self.next_try.duration_since(now) > LONGEST_WAIT
    }
}
