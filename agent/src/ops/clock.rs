//! The latest time the box has reason to believe in. A clock that was set back cannot make an expired operation
//! young again; one that was set forward is mended by `clock.reset`, signed by a root key. The hub's clock counts
//! for nothing.

use felhom_shared::signed::Clock;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::state::{State, StateError};

/// When this version was made: no box runs it earlier. Raised with the version.
const MADE_AT_MS: u64 = 1_793_491_200_000; // 2026-11-01
/// How often the time is noted: one small write an hour.
pub(super) const NOTED_EVERY_MS: u64 = 3600 * 1000;

/// Milliseconds since 1970; a time before counts as 1970.
#[must_use]
pub fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// The time as the box may believe it.
pub fn reading(state: &State, now: Timestamp) -> Result<Clock, StateError> {
    let noted = state.clock_floor()?;
    Ok(Clock { system_ms: millis(now), floor_ms: noted.unwrap_or(0).max(MADE_AT_MS) })
}

/// Notes that it is at least `now`.
pub fn note(state: &State, now: Timestamp) -> Result<(), StateError> {
    let now_ms = millis(now);
    if now_ms >= state.clock_floor()?.unwrap_or(0).max(MADE_AT_MS).saturating_add(NOTED_EVERY_MS) {
        state.put_clock_floor(now_ms)?;
    }
    Ok(())
}

/// The time of an accepted operation has passed.
pub fn seen(state: &State, sql: &Connection, issued_at: u64) -> Result<(), StateError> {
    if issued_at > state.clock_floor()?.unwrap_or(0).max(MADE_AT_MS) {
        State::put_clock_floor_in(sql, issued_at)?;
    }
    Ok(())
}
