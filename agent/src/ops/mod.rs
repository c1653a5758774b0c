//! Signed operations on the box: taken in, kept, granted, and told.
//!
//! ```text
//! envelope → judge → reserve (nonce on disk) → grant → plan → looked at again → begun (on disk) → effect → ended
//! ```
//!
//! The hub only carries envelopes. What it says of them counts for nothing: neither their order, nor how often
//! they come, nor what they are called.

pub mod clock;
pub mod expect;
mod grants;
mod intake;
mod judge;
mod permit;

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use felhom_shared::id::HostId;
use felhom_shared::report::{LedgerHead, OpsState, PendingOp, Receipt};
use felhom_shared::signed::{Rejection, Trusted};
use jiff::Timestamp;

use crate::state::{State, StateError};

pub use grants::{Cleared, Grant, Grants};
pub use intake::Told;
pub use judge::Judge;
pub use permit::{No, Permit, Scene};

/// Newest receipts in a report.
const RECEIPTS_TOLD: usize = 20;

/// The box's side of signed operations. Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    host_id: HostId,
    genesis_sha256: Option<String>,
    state: State,
    trusted: Rc<RefCell<Option<Trusted>>>,
    seen_by_hub: Rc<RefCell<Option<LedgerHead>>>,
    heard: Rc<Cell<bool>>,
    rejected: Rc<RefCell<VecDeque<Receipt>>>,
    noted_ms: Rc<Cell<u64>>,
    told_lately: Rc<Cell<(u64, usize)>>,
}

impl Ops {
    /// Makes trust anew from the configured digest and the keysets on disk. A chain that does not hold is no trust.
    #[must_use]
    pub fn new(host_id: HostId, genesis_sha256: Option<String>, state: State) -> Self {
        let stored = genesis_sha256.as_ref().map(|digest| state.trusted(digest));
        let trusted = match stored {
            None => None,
            Some(Ok(trusted)) => trusted,
            Some(Err(error)) => {
                tracing::error!(
                    "the keysets on disk do not follow from trust.genesis_sha256, no operation is accepted: {error}. \
                     If the digest was changed on purpose: felhom-agent trust reset"
                );
                None
            }
        };
        if state.book().is_damaged() {
            tracing::error!("{}", Rejection::LedgerDamaged);
        }
        Self {
            host_id,
            genesis_sha256,
            state,
            trusted: Rc::new(RefCell::new(trusted)),
            seen_by_hub: Rc::default(),
            heard: Rc::default(),
            rejected: Rc::default(),
            noted_ms: Rc::default(),
            told_lately: Rc::default(),
        }
    }

    /// This box.
    #[must_use]
    pub fn host_id(&self) -> HostId {
        self.host_id
    }

    /// The version of the keyset in force: what the next poll says.
    #[must_use]
    pub fn keyset_version(&self) -> Option<u64> {
        self.trusted().as_ref().map(|trusted| trusted.keyset().version)
    }

    /// Whether something is reserved and the hub has not yet said how far it has seen this box's ledger.
    #[must_use]
    pub fn must_hear(&self) -> bool {
        !self.heard.get() && self.state.book().standings().any(crate::state::Standing::is_waiting)
    }

    /// Notes the time, once an hour; says whether the hour has come.
    pub fn note_time(&self, now: Timestamp) -> Result<bool, StateError> {
        let now_ms = clock::millis(now);
        if now_ms >= self.noted_ms.get().saturating_add(clock::NOTED_EVERY_MS) {
            clock::note(&self.state, now)?;
            self.noted_ms.set(now_ms);
            return Ok(true);
        }
        Ok(false)
    }

    fn trusted(&self) -> Ref<'_, Option<Trusted>> {
        self.trusted.borrow()
    }

    /// Whether the hub has seen more of this box's ledger than is here, or another one.
    fn rolled_back(&self) -> bool {
        self.seen_by_hub.borrow().as_ref().is_some_and(|seen| !self.state.book().contains(seen))
    }

    /// For the report.
    #[must_use]
    pub fn report(&self, pending: Vec<PendingOp>) -> OpsState {
        let trusted = self.trusted();
        let keyset = trusted.as_ref().map(Trusted::keyset);
        let mut receipts = self.state.book().receipts(RECEIPTS_TOLD);
        receipts.extend(self.rejected.borrow().iter().cloned());
        OpsState {
            keyset_version: keyset.map(|keyset| keyset.version),
            keyset_digest: keyset.map(felhom_shared::signed::Keyset::digest),
            pending,
            receipts,
            ledger: self.state.ledger_head(),
        }
    }
}
