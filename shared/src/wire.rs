//! Messages between hub and agent, `/api/v1`, JSON, frozen by the golden files in `shared/tests`.
//!
//! Every message travels on a request the agent opened (`outbound_only`); there is no message the other way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::Event;
use crate::id::{Generation, HostId, OutboxId};
use crate::report::LedgerHead;
use crate::secret::{SecretName, SecretValue};
use crate::signed::OpId;

/// Path of the long poll: `GET ?have=G&digest=D&wait=S`.
pub const POLL_PATH: &str = "/api/v1/host/poll";
/// Path of the report: `POST` a [`crate::report::HostReport`].
pub const REPORT_PATH: &str = "/api/v1/host/report";
/// Path of the events: `POST` an [`EventsPost`].
pub const EVENTS_PATH: &str = "/api/v1/host/events";
/// Path of what became of a signed operation: `POST` an [`OpReceipt`] to `{OPS_PATH}/{op_id}/state`.
pub const OPS_PATH: &str = "/api/v1/host/ops";

/// What the agent says when it asks for news.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollQuery {
    /// The generation last seen, accepted or refused; absent at first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Generation>,
    /// SHA-256 of its bytes: the hub answers also when only these differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The version of the keyset the box trusts; the hub answers with the ones after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyset: Option<u64>,
    /// Seconds to wait for news before 204.
    #[serde(default)]
    pub wait: u64,
}

/// The answer to a poll that has news.
#[derive(Debug, Serialize, Deserialize)]
pub struct PollAnswer {
    /// Whose document this is; the agent refuses another host's.
    pub host_id: HostId,
    /// The document's number; with `desired` or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The document, byte for byte as it was published; left out when the agent has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Box<RawValue>>,
    /// The values of the secrets that the document names; with `desired` or not at all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretValue>,
    /// Signed operations that this box has not yet taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<QueuedOp>,
    /// Keysets after the one the box trusts, ascending: envelopes as they were uploaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keysets: Vec<String>,
    /// The furthest the hub has ever seen this box's ledger: a box that was rolled back notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_seen: Option<LedgerHead>,
    /// How long to wait between cycles without news, seconds.
    pub poll_interval_s: u64,
    /// The operator has paused this host: observe and report, change nothing.
    #[serde(default)]
    pub blocked: bool,
}

/// A signed operation on its way to a box. The hub has not read it, and could not change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedOp {
    /// SHA-256 of the blob.
    pub op_id: OpId,
    /// The envelope as it was uploaded.
    pub blob: String,
}

/// What became of a signed operation, in the words of the hub's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueState {
    /// Uploaded, not yet taken by the box.
    Queued,
    /// The box has it.
    Delivered,
    /// Done.
    Applied,
    /// Not done, and will not be; `code` says why.
    Rejected,
    /// Its time is over.
    Expired,
}

/// A box's word on an operation. Final states do not change any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpReceipt {
    /// Never `queued`.
    pub state: QueueState,
    /// Stable word of a rejection, e.g. `expect_mismatch`, `interrupted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, why, what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
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
