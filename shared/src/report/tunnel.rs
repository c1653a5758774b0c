//! The box's Cloudflare tunnel: how it comes out, and what runs.

use serde::{Deserialize, Serialize};

use super::{Note, Outcome, StepReport};
use crate::id::Sha256Hex;

/// The tunnel of a box, and others that are not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelReport {
    /// The one word that counts; none where the document says nothing of a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How far it has come.
    pub readiness: TunnelReadiness,
    /// SHA-256 of the token that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<Sha256Hex>,
    /// SHA-256 of the `cloudflared` that is installed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_sha256: Option<Sha256Hex>,
    /// Its version, as it says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A change is being tried: it is kept if it proves itself in time, else what was there comes back.
    #[serde(default)]
    pub on_trial: bool,
    /// What this cycle did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Why something is not done, each with who must act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Other tunnels on this box. Never touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<ForeignTunnel>,
}

/// How far a tunnel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelReadiness {
    /// There is none.
    Absent,
    /// It is installed and does not answer.
    Down,
    /// It runs and has no connection to Cloudflare.
    Unconnected,
    /// It runs and has connections.
    Connected,
    /// It cannot be said.
    Unknown,
}

impl TunnelReadiness {
    /// The word in reports and pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Down => "down",
            Self::Unconnected => "unconnected",
            Self::Connected => "connected",
            Self::Unknown => "unknown",
        }
    }
}

/// A `cloudflared` that somebody else looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignTunnel {
    /// Its systemd unit.
    pub unit: String,
    /// Its token stands in the unit, which everybody on the box can read.
    #[serde(default)]
    pub token_in_unit: bool,
    /// It replaces its own program, and restarts for it.
    #[serde(default)]
    pub updates_itself: bool,
}
