//! What a box should be: one document per host, authored by the operator, converged by the agent.
//!
//! Read strictly. A field this version does not know is refused rather than ignored, because the operator
//! meant something by it. A section appears here when the agent can make it true, not before.

mod guest;
mod maintenance;
mod parse;
mod storage;
mod tunnel;

use serde::{Deserialize, Serialize};

pub use guest::{
    Checksum, ChecksumAlgorithm, CloneOf, Disk, Features, GuestKind, GuestSpec, Mount, MountSource, Network,
    Power, Presence, Source, Startup, StoredFile, Uplink,
};
pub use maintenance::{Weekday, Window};
pub use parse::{DesiredError, digest};
pub use storage::{ContentType, DriveClass, Filesystem, StorageAction, StorageRole, StorageSpec};
pub use tunnel::TunnelSpec;

use crate::id::Label;
use crate::secret::SecretRef;

/// The version of the document this crate reads and writes.
pub const DESIRED_VERSION: u32 = 1;

/// Everything the operator says of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredState {
    /// Always 1; another number is refused.
    pub version: u32,
    /// Who the box is, for people.
    pub identity: Identity,
    /// When changes that need a restart may be applied; without a window they wait and are reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<Window>,
    /// The guests. One that is missing here becomes unmanaged; only `presence: absent` asks for destruction.
    #[serde(default)]
    pub guests: Vec<GuestSpec>,
    /// Drives and the storages they become. One that is missing here is left as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StorageSpec>,
    /// The Cloudflare tunnel. Without this section one that is there is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelSpec>,
}

impl DesiredState {
    /// Every secret that it names. Their values travel beside it.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.tunnel.iter().filter_map(|tunnel| tunnel.token.as_ref())
    }
}

/// Who the box is, for people. Authority never comes from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The box's short name.
    pub name: Label,
    /// Whose box it is, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
}
