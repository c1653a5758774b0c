//! Messages between hub and agent, `/api/v1`, JSON, frozen by the golden files in `shared/tests`.
//!
//! Every message travels on a request the agent opened (`outbound_only`); there is no message the other way.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::Event;
use crate::id::{Generation, HostId, OutboxId};

/// Path of the long poll: `GET ?have=G&digest=D&wait=S`.
pub const POLL_PATH: &str = "/api/v1/host/poll";
/// Path of the report: `POST` a [`crate::report::HostReport`].
pub const REPORT_PATH: &str = "/api/v1/host/report";
/// Path of the events: `POST` an [`EventsPost`].
pub const EVENTS_PATH: &str = "/api/v1/host/events";

/// What the agent says when it asks for news.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollQuery {
    /// The generation last seen, accepted or refused; absent at first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Generation>,
    /// SHA-256 of its bytes: the hub answers also when only these differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Seconds to wait for news before 204.
    #[serde(default)]
    pub wait: u64,
}

/// The answer to a poll that has news.
#[derive(Debug, Serialize, Deserialize)]
pub struct PollAnswer {
    /// Whose document this is; the agent refuses another host's.
    pub host_id: HostId,
    /// Its number.
    pub generation: Generation,
    /// The document, byte for byte as it was published.
    pub desired: Box<RawValue>,
    /// How long to wait between cycles without news, seconds.
    pub poll_interval_s: u64,
    /// The operator has paused this host: observe and report, change nothing.
    #[serde(default)]
    pub blocked: bool,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlEnvelope {
    /// The newest generation the hub holds, if any.
    pub desired_generation: Option<Generation>,
    /// Whether signed operations wait.
    #[serde(default)]
    pub has_ops: bool,
    /// How long to wait between cycles without news, seconds.
    pub poll_interval_s: u64,
    /// The operator has paused this host.
    #[serde(default)]
    pub blocked: bool,
}

/// The next events of an outbox, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPost {
    /// The outbox's identity; sequence numbers are per outbox.
    pub outbox_id: OutboxId,
    /// Ascending by `seq`.
    pub events: Vec<Event>,
}

/// Up to where the hub holds the outbox durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsAck {
    /// Events up to this sequence number may be forgotten by the box.
    pub acked_seq: u64,
}

/// Every refusal of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Stable word.
    pub code: String,
    /// What failed, why, what to do next.
    pub message: String,
}
