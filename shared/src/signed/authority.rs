//! What an operation needs to be obeyed. One table for the box, which decides by it, and for the signing tool,
//! which shows it; what a hub says of an operation's class is not asked.
//!
//! Exhaustive on purpose: a new operation does not compile until somebody has decided its authority here.

use super::envelope::{Namespace, Signed};
use super::keyset::{Keyset, Role};
use super::rejection::Rejection;
use super::request::Request;
use super::verify::VerifiedOp;
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

/// Reads an operation signed by keys that may sign operations. Which role it needs is known only once it is read,
/// so every such key is tried here, and [`authorise`] asks for the role afterwards.
pub fn read_op(signed: Signed, keyset: &Keyset) -> Result<VerifiedOp, Rejection> {
    let mut keys = keyset.keys_of(Role::Ops);
    keys.extend(keyset.keys_of(Role::Root));
    signed.verify(Namespace::Op, &keys)?.op()
}

/// Checks that enough keys, all of the role it needs, have signed an operation.
pub fn authorise(verified: &VerifiedOp, keyset: &Keyset) -> Result<Authority, Rejection> {
    let authority = authority_of(&verified.op().request);
    let of_role = keyset.keys_of(authority.role);
    if !verified.signers().iter().all(|signer| of_role.contains(&signer)) {
        return Err(Rejection::UnknownKey);
    }
    enough(verified.signers().len(), authority.threshold(keyset))?;
    Ok(authority)
}

/// Whether there are enough signers. No key signs twice ([`Signed::verify`]), so they are as many keys.
pub(super) fn enough(given: usize, needed: u8) -> Result<(), Rejection> {
    let given = u8::try_from(given).unwrap_or(u8::MAX);
    if given >= needed { Ok(()) } else { Err(Rejection::Threshold { needed, given }) }
}

/// The table.
#[must_use]
pub fn authority_of(request: &Request) -> Authority {
    match request {
        Request::DestroyGuest(_)
        | Request::RollbackGuest(_)
        | Request::RestoreGuest(_)
        | Request::FormatDrive(_) => {
            Authority { role: Role::Ops, quorum: Quorum::Destroy, life_ms_max: DESTRUCTION_LIFE_MS_MAX }
        }
        Request::CreatePrivileged(_)
        | Request::AssignStorage(_)
        | Request::DetachStorage(_)
        | Request::ReplaceDrive(_) => {
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
