//! Things that happened, told once, in order.
//!
//! An event is appended to the box's outbox before anything depends on it and leaves the outbox only when the
//! hub has acknowledged its sequence number as durable. The hub keeps (outbox, seq) unique: told twice, kept once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{EventId, GuestId};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the outbox, from 1, without gaps.
    pub seq: u64,
    /// The same event has the same id wherever it is shown.
    pub event_id: EventId,
    /// When it happened by the teller's clock.
    pub at: Timestamp,
    /// What happened, a stable word such as `guest_created` or `node_stale`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// The guest concerned, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_id: Option<GuestId>,
    /// One sentence for a person.
    pub text: String,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth keeping.
    Info,
    /// Worth a look today.
    Warning,
    /// Needs a person.
    Error,
}
