//! What a box says of itself: the full state after every cycle, and the numbers that always move.
//!
//! The two are apart so that a report whose `state` is byte for byte the last one costs the hub no write.
//! Reality is read leniently: unknown fields are skipped, so a newer agent is still heard.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::desired::GuestKind;
use crate::drive::DriveReport;
use crate::id::{Generation, GuestId, HostId, NodeName, Vmid};

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
    /// Drives attached to the box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<DriveReport>,
    /// Journal entries without an outcome; zero unless the agent is working or was killed.
    #[serde(default)]
    pub journal_open: u64,
    /// Signed operations: what waits for one, what became of the last, and whom the box trusts.
    #[serde(default)]
    pub ops: OpsState,
}

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

/// One guest of the desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestReport {
    /// Identity.
    pub guest_id: GuestId,
    /// Number on the node.
    pub vmid: Vmid,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Name in the desired state.
    pub name: String,
    /// The one word that counts.
    pub outcome: Outcome,
    /// What was seen on the node after the cycle.
    pub observed: Observed,
    /// What this cycle did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Why something is not done, each with who must act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// Where an item stands. Ordered by how much a person should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As desired.
    Converged,
    /// Under way; the next cycle goes on.
    Converging,
    /// Waits for a window or for the change budget.
    Waiting,
    /// A guarded step waits for a signature.
    Held,
    /// The agent will not do it as asked.
    Refused,
    /// It could not be read: nothing is concluded.
    Unreadable,
    /// A step was cut off and its effect is not known.
    Interrupted,
    /// A step failed.
    Failed,
}

impl Outcome {
    /// The word in reports, pages and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Converging => "converging",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// `unreadable_is_not_absent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reading", rename_all = "lowercase")]
pub enum Observed {
    /// It is there.
    Present {
        /// `running`, `stopped` or PVE's other word.
        status: String,
        /// PVE's persistent lock, e.g. `backup`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lock: Option<String>,
        /// Keys whose new value waits for a restart.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pending: Vec<String>,
    },
    /// The list was read and it is not in it.
    Absent,
    /// It could not be read.
    Unreadable,
}

/// A step and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Verb and noun, e.g. `create_guest`.
    pub step: String,
    /// What exactly, for a person: the keys and sizes, never a secret.
    pub detail: String,
    /// Its class by the agent's own table.
    pub class: Class,
    /// How it ended.
    pub outcome: StepOutcome,
    /// PVE's task, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upid: Option<String>,
    /// Stable word and sentence of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Whether a step may be done without a signature. An unknown step is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Class {
    Routine,
    Guarded,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Done.
    Applied,
    /// The effect was there already, or turned out to be there after an error answer.
    AlreadyTrue,
    /// Not done.
    Failed,
    /// Something it depends on failed first.
    NotAttempted,
    /// PVE's task takes longer than a cycle waits; the next one looks again.
    Running,
    /// Cut off; the effect is not known yet.
    Interrupted,
}

/// A failure in a stable word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable word, e.g. `pve_lock_timeout`.
    pub code: String,
    /// What failed, why, what to do next.
    pub text: String,
}

/// Why something desired is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What kind of not-doing.
    pub kind: NoteKind,
    /// Stable word, e.g. `destroy_needs_signature`.
    pub code: String,
    /// What, why, and who must act.
    pub text: String,
}

/// What kind of not-doing a [`Note`] tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// A guarded step waits for a signature.
    Held,
    /// The agent will not do this.
    Refused,
    /// It waits for a time: window, budget or back-off.
    Waiting,
}

/// A guest on the node that is not ours to touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmanagedGuest {
    /// Number on the node.
    pub vmid: Vmid,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Its name, as far as PVE knows it.
    pub name: String,
    /// `running`, `stopped` or PVE's other word.
    pub status: String,
    /// Whether it carries a mark of ours, i.e. was managed before.
    #[serde(default)]
    pub marked: bool,
}

/// What always moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// One-minute load average.
    pub load1: f64,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Storages by id.
    #[serde(default)]
    pub storages: BTreeMap<String, StorageUse>,
    /// The last cycle's cost.
    #[serde(default)]
    pub cycle: CycleCost,
}

/// How full a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageUse {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Whether PVE could reach it.
    pub active: bool,
}

/// What a cycle cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CycleCost {
    /// From beginning to end, milliseconds.
    pub duration_ms: u64,
    /// Requests to PVE.
    pub requests: u64,
    /// Of these, requests that change something.
    pub changing_requests: u64,
}
