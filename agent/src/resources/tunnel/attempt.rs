//! A change of the tunnel that was taken back, remembered on the box. It is tried again later each time, and at once only when
//! the document says something else of the tunnel.

use felhom_shared::desired::TunnelSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::step::{RevertTunnel, Wanted};
use crate::state::{State, StateError};
use crate::trial::Again;

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
        let Again { failures, next_try } = Again::after(same.map(Self::again), revert.hub_heard, now);
        Self { section, tried: revert.tried.clone(), failures, next_try, why: revert.why.clone() }
    }

    /// When it is tried again.
    #[must_use]
    pub fn again(&self) -> Again {
        Again { failures: self.failures, next_try: self.next_try }
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
