//! One storage that the document makes of a drive: how it comes out, and how far the drive has come.

use serde::{Deserialize, Serialize};

use super::{Note, Outcome, StepReport};
use crate::desired::StorageRole;
use crate::drive::DurableId;
use crate::id::StorageId;

/// One storage of the desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageReport {
    /// Its name in PVE.
    pub storage: StorageId,
    /// The drive the document names.
    pub durable_id: DurableId,
    /// What it is for.
    pub role: StorageRole,
    /// The one word that counts.
    pub outcome: Outcome,
    /// How far the drive has come.
    pub readiness: Readiness,
    /// Where it is today, e.g. `sda1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What this cycle did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Why something is not done, each with who must act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// How far a drive has come on its way to being a storage. Guests are put only on what is `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// No drive with this identity is attached.
    Unplugged,
    /// It is attached and not mounted where it belongs.
    Attached,
    /// It is mounted; that it is the right one is not proven, or PVE does not use it.
    Mounted,
    /// Mounted, its marker read through the mount, and switched on in PVE.
    Ready,
    /// It cannot be said.
    Unknown,
}

impl Readiness {
    /// The word in reports and pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::Attached => "attached",
            Self::Mounted => "mounted",
            Self::Ready => "ready",
            Self::Unknown => "unknown",
        }
    }
}
