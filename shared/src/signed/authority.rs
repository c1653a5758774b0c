//! What an operation needs to be obeyed. One table for the box, which decides by it, and for the signing tool,
//! which shows it; what a hub says of an operation's class is not asked.
//!
//! Exhaustive on purpose: a new operation does not compile until somebody has decided its authority here.

use super::keyset::{Keyset, Role};
use super::request::Request;
use crate::limits::{DESTRUCTION_LIFE_MS_MAX, OP_LIFE_MS_MAX};

/// How many signatures, by which rule of the keyset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quorum {
    /// `thresholds.ops`.
    Ops,
    /// `thresholds.destroy`: something is lost for good.
    Destroy,
    /// `thresholds.root`: trust itself, time, or the record of what ran.
    Root,
}

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// Whose signature counts.
    pub role: Role,
    /// How many.
    pub quorum: Quorum,
    /// Longest time from `issued_at` to `expires_at`, milliseconds.
    pub life_ms_max: u64,
}

impl Authority {
    /// Whether something is lost for good.
    #[must_use]
    pub fn destroys(&self) -> bool {
        self.quorum == Quorum::Destroy
    }

    /// How many signatures `keyset` asks for.
    #[must_use]
    pub fn threshold(&self, keyset: &Keyset) -> u8 {
        match self.quorum {
            Quorum::Ops => keyset.thresholds.ops,
            Quorum::Destroy => keyset.thresholds.destroy,
            Quorum::Root => keyset.thresholds.root,
        }
    }
}

/// The table.
#[must_use]
pub fn authority_of(request: &Request) -> Authority {
    match request {
        Request::DestroyGuest(_) | Request::RollbackGuest(_) | Request::RestoreGuest(_) => {
            Authority { role: Role::Ops, quorum: Quorum::Destroy, life_ms_max: DESTRUCTION_LIFE_MS_MAX }
        }
        Request::CreatePrivileged(_) => {
            Authority { role: Role::Ops, quorum: Quorum::Ops, life_ms_max: OP_LIFE_MS_MAX }
        }
        Request::ClockReset(_)
        | Request::VoidBefore(_)
        | Request::LedgerRebase(_)
        | Request::ResetGeneration(_) => {
            Authority { role: Role::Root, quorum: Quorum::Root, life_ms_max: OP_LIFE_MS_MAX }
        }
    }
}
