//! One guest: how it comes out, how it was found, and the steps on it.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::desired::GuestKind;
use crate::id::{GuestId, Vmid};

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
