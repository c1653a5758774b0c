//! What is done to the tunnel. Everything here is routine: whoever may publish a document may say where a tunnel leads, and
//! nothing on the box is lost by any of it. No step carries a token; its hash says which one is meant.

use std::fmt;

use felhom_shared::id::Sha256Hex;
use felhom_shared::report::Class;
use serde::{Deserialize, Serialize};

/// One change of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelStep {
    /// Run it with this token and program, on trial.
    TryTunnel(Wanted),
    /// Run it no more, on trial.
    StopTunnel,
    /// The change has proven itself.
    KeepTunnel,
    /// It has not: what was there before comes back.
    RevertTunnel(RevertTunnel),
    /// Start what is installed and does not run.
    StartTunnel,
}

/// What is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// With this token,
    pub token_sha256: Sha256Hex,
    /// and this cloudflared.
    pub program_sha256: Sha256Hex,
}

/// See [`TunnelStep::RevertTunnel`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertTunnel {
    /// What was tried; none where the tunnel was to be stopped.
    pub tried: Option<Wanted>,
    /// Whether the hub was heard meanwhile: if not, it may not have been the change's fault.
    pub hub_heard: bool,
    /// In what way it did not prove itself.
    pub why: String,
}

impl TunnelStep {
    /// The stable word in reports and journal.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::TryTunnel(_) => "try_tunnel",
            Self::StopTunnel => "stop_tunnel",
            Self::KeepTunnel => "keep_tunnel",
            Self::RevertTunnel(_) => "revert_tunnel",
            Self::StartTunnel => "start_tunnel",
        }
    }

    /// Whether it needs a signature. Exhaustive, so that a new step is thought about here.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::TryTunnel(_)
            | Self::StopTunnel
            | Self::KeepTunnel
            | Self::RevertTunnel(_)
            | Self::StartTunnel => Class::Routine,
        }
    }
}

impl fmt::Display for TunnelStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryTunnel(wanted) => write!(f, "with {wanted}, on trial"),
            Self::StopTunnel => f.write_str("stop it, on trial"),
            Self::KeepTunnel => f.write_str("the change works"),
            Self::RevertTunnel(revert) => write!(f, "back to what was there before: {}", revert.why),
            Self::StartTunnel => f.write_str("start it again"),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {}, cloudflared {}", self.token_sha256.short(), self.program_sha256.short())
    }
}
