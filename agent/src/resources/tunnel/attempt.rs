//! A change of the tunnel that was taken back, remembered on the box: each try interrupts what works, so the next one comes
//! later each time, and at once only under a new document.

use felhom_shared::id::Generation;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::{RevertTunnel, Wanted};
use crate::state::{State, StateError};

/// After a change that did not connect while the hub was heard: most likely it is wrong.
const FIRST_WAIT_H: i64 = 1;
const LONGEST_WAIT_H: i64 = 24;
/// After one while the hub was not heard either: most likely the line was down.
const OUTAGE_WAIT_MIN: i64 = 10;

/// The last change that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Under which document.
    pub generation: Option<Generation>,
    /// What was tried; none where the tunnel was to be stopped.
    pub tried: Option<Wanted>,
    /// How often.
    pub failures: u32,
    /// Not again before this time.
    pub next_try: Timestamp,
    /// In what way it did not prove itself.
    pub why: String,
}

impl Attempt {
    /// This one, after those before it.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        revert: &RevertTunnel,
        (generation, now): (Option<Generation>, Timestamp),
    ) -> Self {
        let same = before.filter(|before| before.tried == revert.tried && before.generation == generation);
        let failures = same.map_or(0, |before| before.failures).saturating_add(1);
        let wait = if revert.hub_heard {
            SignedDuration::from_hours((FIRST_WAIT_H << (failures - 1).min(8)).min(LONGEST_WAIT_H))
        } else {
            SignedDuration::from_mins(OUTAGE_WAIT_MIN)
        };
        let next_try = now.saturating_add(wait).unwrap_or(now);
        Self { generation, tried: revert.tried.clone(), failures, next_try, why: revert.why.clone() }
    }
}

const TUNNEL_ATTEMPT: &str = "tunnel_attempt";

impl State {
    /// The last change of the tunnel that was taken back under the document in force.
    pub fn tunnel_attempt(&self) -> Result<Option<Attempt>, StateError> {
        let attempt: Option<Attempt> = self.get(TUNNEL_ATTEMPT)?;
        let generation = self.accepted()?.map(|accepted| accepted.generation);
        Ok(attempt.filter(|attempt| attempt.generation == generation))
    }

    /// Remembers that a change is taken back.
    pub fn put_tunnel_attempt(&self, revert: &RevertTunnel, now: Timestamp) -> Result<(), StateError> {
        let generation = self.accepted()?.map(|accepted| accepted.generation);
        let attempt = Attempt::after(self.tunnel_attempt()?.as_ref(), revert, (generation, now));
        self.put(TUNNEL_ATTEMPT, &attempt)
    }
}
