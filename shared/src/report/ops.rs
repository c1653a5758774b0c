//! Signed operations as a box tells of them: what it holds, what became of what it took, and where its ledger ends.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::GuestId;

/// The box's side of signed operations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OpsState {
    /// The keyset in force; none means that no operation can be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyset_version: Option<u64>,
    /// SHA-256 of its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyset_digest: Option<String>,
    /// Steps that wait for a signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingOp>,
    /// The newest operations, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
    /// How far the ledger goes: a box that was rolled back is noticed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerHead>,
}

/// A held step as the operation that would release it: everything but nonce, times and key, which the signer
/// makes. Read leniently here; who signs reads it strictly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingOp {
    /// E.g. `guest.destroy`.
    pub op: String,
    /// Host and guest.
    pub target: serde_json::Value,
    /// With `expect`: what the guest must still be at the moment of action.
    pub params: serde_json::Value,
    /// The held note's stable word.
    pub code: String,
    /// What would be done and what would be lost.
    pub text: String,
}

/// What became of a signed operation on the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// SHA-256 of the envelope.
    pub op_id: String,
    /// E.g. `guest.destroy`; empty when the envelope could not be read that far.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The guest it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_id: Option<GuestId>,
    /// How far it came.
    pub state: ReceiptState,
    /// Stable word of a rejection or failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When, by the box's clock.
    pub at: Timestamp,
}

/// How far a signed operation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// Verified, and its nonce is on disk.
    Accepted,
    /// Begun: from here on it runs at most once.
    Started,
    /// Done.
    Applied,
    /// Not done.
    Failed,
    /// Cut off; whether it took effect is for a person to see. It is not tried again.
    Interrupted,
    /// Not accepted.
    Rejected,
    /// Its time ended before it was begun.
    Expired,
}

/// The end of a box's hash-chained ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// The last row's number.
    pub seq: u64,
    /// Its hash, 64 hex digits.
    pub head: String,
}
