//! What a box says of itself: the full state after every cycle, and the numbers that always move.
//!
//! The two are apart so that a report whose `state` is byte for byte the last one costs the hub no write.
//! Reality is read leniently: unknown fields are skipped, so a newer agent is still heard.

mod guest;
mod metrics;
mod ops;
mod storage;
mod tunnel;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::drive::DriveReport;
use crate::id::{Generation, HostId, NodeName};

pub use guest::{
    Class, GuestReport, Note, NoteKind, Observed, Outcome, StepOutcome, StepReport, UnmanagedGuest,
};
pub use metrics::{CycleCost, Metrics, StorageUse};
pub use ops::{LedgerHead, OpsState, PendingOp, Receipt, ReceiptState};
pub use storage::{Readiness, StorageReport};
pub use tunnel::{ForeignTunnel, TunnelReadiness, TunnelReport};

/// The version of the report this crate writes.
pub const REPORT_VERSION: u32 = 1;

/// A whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Always [`REPORT_VERSION`].
    pub version: u32,
    /// When the agent sent it, by the box's clock. The hub shows it and decides nothing by it.
    pub sent_at: Timestamp,
    /// What always moves; never a reason to store a report.
    pub metrics: Metrics,
    /// What the box is.
    pub state: HostState,
}

/// What the box is, stable between changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Whose report this is; the hub refuses one that differs from the key's host.
    pub host_id: HostId,
    /// The agent's version.
    pub agent_version: String,
    /// How far the box has come.
    pub generation: GenerationState,
    /// The Proxmox node, as far as it could be read.
    pub node: NodeState,
    /// Every guest of the desired state, with its outcome.
    pub guests: Vec<GuestReport>,
    /// Guests on the node that the desired state does not name, or that do not carry our mark. Never touched.
    #[serde(default)]
    pub unmanaged: Vec<UnmanagedGuest>,
    /// Every storage that the desired state makes of a drive, with its outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StorageReport>,
    /// Drives attached to the box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<DriveReport>,
    /// The Cloudflare tunnel, where there is one or is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelReport>,
    /// Journal entries without an outcome; zero unless the agent is working or was killed.
    #[serde(default)]
    pub journal_open: u64,
    /// Signed operations: what waits for one, what became of the last, and whom the box trusts.
    #[serde(default)]
    pub ops: OpsState,
}

/// `reached_is_not_received`: three different facts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GenerationState {
    /// The newest generation accepted.
    pub received: Option<Generation>,
    /// SHA-256 of its bytes, so that the hub notices if it holds other bytes under the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_digest: Option<String>,
    /// The newest generation of which every item was converged.
    pub reached: Option<Generation>,
    /// The last document that was refused, until a newer one is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<DocumentRefusal>,
}

/// A document that the agent did not accept; the last good one stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRefusal {
    /// Under which number it came.
    pub generation: Generation,
    /// Stable word, e.g. `generation_older`.
    pub code: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// The node as the agent read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reading", rename_all = "lowercase")]
pub enum NodeState {
    /// The API answered.
    Present {
        /// Its name.
        node: NodeName,
        /// pve-manager's version.
        pve_version: String,
    },
    /// It did not, or not with what is needed: nothing is concluded from that.
    Unreadable {
        /// Stable word.
        code: String,
        /// What failed and what to do.
        text: String,
    },
}

/// A failure in a stable word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable word, e.g. `pve_lock_timeout`.
    pub code: String,
    /// What failed, why, what to do next.
    pub text: String,
}
