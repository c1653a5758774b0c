//! What is read of the tunnel in one pass. Plain values; nothing is decided here.

use std::time::Duration;

use felhom_shared::id::Sha256Hex;
use felhom_shared::report::ForeignTunnel;

use super::attempt::Attempt;
use super::cloudflared::Ready;
use super::step::Wanted;
use crate::host::tunnel::UnitState;
use crate::observe::Reading;

/// All that a plan of the tunnel depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTunnel {
    /// What is installed for it.
    pub installed: Reading<Installed>,
    /// The cloudflared that the box's package brought.
    pub program: Reading<Sha256Hex>,
    /// What runs, as it says itself. Not asked where nothing is installed.
    pub ready: Ready,
    /// Its version.
    pub version: Option<String>,
    /// What systemd says of it, where it does not connect or is being tried.
    pub unit: Option<UnitState>,
    /// A change is being tried.
    pub trial: Option<TrialSeen>,
    /// The last change that was taken back.
    pub attempt: Option<Attempt>,
    /// Whether the token that the document names is at hand.
    pub has_secret: bool,
    /// Our unit was put in its place not long ago.
    pub unit_written: bool,
    /// It was started a moment ago.
    pub just_started: bool,
    /// Other tunnels.
    pub foreign: Vec<ForeignTunnel>,
    /// Whether somebody changes units for us.
    pub served: bool,
}

/// What is in the tunnel's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Token and program.
    pub wanted: Wanted,
    /// Whether its unit is the one that this agent knows, there and with systemd.
    pub unit_is_ours: bool,
}

/// A change that is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialSeen {
    /// For how long, as far as this agent has seen it.
    pub lasts: Duration,
    /// Whether the hub was heard since.
    pub hub_heard: bool,
}

impl SeenTunnel {
    /// A box without a tunnel.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            installed: Reading::Absent,
            program: Reading::Absent,
            ready: Ready::Down,
            version: None,
            unit: None,
            trial: None,
            attempt: None,
            has_secret: false,
            unit_written: false,
            just_started: false,
            foreign: Vec::new(),
            served: false,
        }
    }
}
