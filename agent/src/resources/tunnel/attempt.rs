//! A change of the tunnel that was taken back, remembered on the box: each try interrupts what works, so the next one comes
//! later each time, and at once only when the document says something else of the tunnel.

use felhom_shared::desired::TunnelSpec;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::{RevertTunnel, Wanted};
use crate::state::{State, StateError};

/// After a change that did not connect while the hub was heard: most likely it is wrong.
const FIRST_WAIT_H: i64 = 1;
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);
/// After one while the hub was not heard either: most likely the line was down.
const OUTAGE_WAIT_MIN: i64 = 10;

/// The last change that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What the document said of the tunnel then.
    pub section: Option<TunnelSpec>,
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
        (section, now): (Option<TunnelSpec>, Timestamp),
    ) -> Self {
        let same = before.filter(|before| before.tried == revert.tried && before.section == section);
        let failures = same.map_or(0, |before| before.failures).saturating_add(1);
        let first = if revert.hub_heard { FIRST_WAIT_H * 60 } else { OUTAGE_WAIT_MIN };
        let wait = SignedDuration::from_mins(first << (failures - 1).min(8)).min(LONGEST_WAIT);
        let next_try = now.saturating_add(wait).unwrap_or(now);
        Self { section, tried: revert.tried.clone(), failures, next_try, why: revert.why.clone() }
    }

    /// Whether it may be tried again. A time further away than any wait was reckoned by a wrong clock.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.next_try || self.next_try.duration_since(now) > LONGEST_WAIT
    }
}

const TUNNEL_ATTEMPT: &str = "tunnel_attempt";

impl State {
    /// The last change of the tunnel that was taken back, while the document says the same of it.
    pub fn tunnel_attempt(&self) -> Result<Option<Attempt>, StateError> {
        let attempt: Option<Attempt> = self.get(TUNNEL_ATTEMPT)?;
        let section = self.tunnel_section()?;
        Ok(attempt.filter(|attempt| attempt.section == section))
    }

    fn tunnel_section(&self) -> Result<Option<TunnelSpec>, StateError> {
        Ok(self.accepted()?.and_then(|accepted| accepted.desired.tunnel.clone()))
    }

    /// Remembers that a change is taken back.
    pub fn put_tunnel_attempt(&self, revert: &RevertTunnel, now: Timestamp) -> Result<(), StateError> {
        let known = (self.tunnel_section()?, now);
        let attempt = Attempt::after(self.tunnel_attempt()?.as_ref(), revert, known);
        self.put(TUNNEL_ATTEMPT, &attempt)
    }
}
