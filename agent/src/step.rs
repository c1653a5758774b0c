//! The steps a plan is made of: plain values that carry everything their execution needs.
//!
//! A step makes no choices when it runs. What it may do to a guest is visible by printing it, and the journal
//! stores it as JSON before it starts.

use std::collections::BTreeMap;
use std::fmt;

use felhom_shared::desired::Checksum;
use felhom_shared::id::{FileName, StorageId, Vmid};
use felhom_shared::signed::OpId;
use serde::{Deserialize, Serialize};

use crate::resources::storage::step::StorageStep;
use crate::resources::tunnel::step::TunnelStep;

/// One change to one guest (or to what it is made from), to one storage, or to the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Let PVE download a template or image; PVE leaves an existing file with the right checksum alone.
    FetchFile(FetchFile),
    /// `POST …/lxc` or `…/qemu`.
    CreateGuest(CreateGuest),
    /// `POST …/{source}/clone`.
    CloneGuest(CloneGuest),
    /// `PUT …/config` (LXC) or `POST …/config` (QEMU): only the keys that differ.
    SetConfig(SetConfig),
    /// `PUT …/resize` to an absolute size.
    GrowDisk(GrowDisk),
    /// `DELETE …/{vmid}`: the guest with its volumes and snapshots. Guarded.
    DestroyGuest(DestroyGuest),
    /// `POST …/snapshot/{name}/rollback`. Guarded.
    RollbackGuest(RollbackGuest),
    /// `POST …/lxc` or `…/qemu` over the existing guest, from a backup. Guarded.
    RestoreGuest(RestoreGuest),
    /// Unlock and remove what a lost creation left of a guest, by somebody with the right to it.
    ClearUnfinished(ClearUnfinished),
    /// `POST …/status/start`.
    StartGuest,
    /// `POST …/status/shutdown`: asks the guest, never pulls the plug.
    ShutdownGuest {
        /// Seconds PVE waits for the guest.
        timeout_s: u32,
    },
    /// `POST …/status/reboot`, inside a maintenance window, to let pending values take effect.
    RebootGuest {
        /// Seconds PVE waits for the guest to go down.
        timeout_s: u32,
    },
    /// What makes a storage of a drive.
    Storage(StorageStep),
    /// What changes the tunnel.
    Tunnel(TunnelStep),
}

/// See [`Step::FetchFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchFile {
    /// Where it goes.
    pub storage: StorageId,
    /// Its name there.
    pub file: FileName,
    /// `vztmpl` or `import`.
    pub content: String,
    /// Where it comes from.
    pub url: String,
    /// What it must hash to.
    pub checksum: Checksum,
}

/// See [`Step::CreateGuest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateGuest {
    /// PVE's parameters besides `vmid`.
    pub params: BTreeMap<String, String>,
    /// Storages on which volumes are allocated.
    pub allocates_on: Vec<StorageId>,
    /// The operation that releases it, where what is created is guarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<OpId>,
}

/// See [`Step::DestroyGuest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyGuest {
    /// The operation that releases it.
    pub grant: OpId,
}

/// See [`Step::RollbackGuest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackGuest {
    /// The operation that releases it.
    pub grant: OpId,
    /// To where.
    pub snapshot: String,
}

/// See [`Step::RestoreGuest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreGuest {
    /// The operation that releases it.
    pub grant: OpId,
    /// From what.
    pub volid: String,
}

/// See [`Step::ClearUnfinished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearUnfinished {
    /// PVE's task that did not end well.
    pub task: String,
}

/// See [`Step::CloneGuest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneGuest {
    /// The guest to copy.
    pub source: Vmid,
    /// PVE's parameters besides `newid`.
    pub params: BTreeMap<String, String>,
    /// Where a full copy is allocated.
    pub allocates_on: Vec<StorageId>,
}

/// See [`Step::SetConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetConfig {
    /// Keys to set, in PVE's spelling.
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    pub delete: Vec<String>,
    /// The digest of the configuration this was planned against.
    pub digest: String,
    /// Storages on which new volumes are allocated.
    pub allocates_on: Vec<StorageId>,
}

/// See [`Step::GrowDisk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowDisk {
    /// `rootfs`, `mp0`, `scsi0`…
    pub slot: String,
    /// The new size.
    pub size_gib: u32,
    /// Where it lies.
    pub storage: StorageId,
}

impl Step {
    /// The stable word in reports and journal.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::FetchFile(_) => "fetch_file",
            Self::CreateGuest(_) => "create_guest",
            Self::CloneGuest(_) => "clone_guest",
            Self::SetConfig(_) => "set_config",
            Self::GrowDisk(_) => "grow_disk",
            Self::DestroyGuest(_) => "destroy_guest",
            Self::RollbackGuest(_) => "rollback_guest",
            Self::RestoreGuest(_) => "restore_guest",
            Self::ClearUnfinished(_) => "clear_unfinished",
            Self::StartGuest => "start_guest",
            Self::ShutdownGuest { .. } => "shutdown_guest",
            Self::RebootGuest { .. } => "reboot_guest",
            Self::Storage(step) => step.word(),
            Self::Tunnel(step) => step.word(),
        }
    }

    /// Storages on which it allocates: PVE locks these, so only one such step at a time runs on each.
    #[must_use]
    pub fn allocates_on(&self) -> &[StorageId] {
        match self {
            Self::FetchFile(fetch) => std::slice::from_ref(&fetch.storage),
            Self::CreateGuest(create) => &create.allocates_on,
            Self::CloneGuest(clone) => &clone.allocates_on,
            Self::SetConfig(config) => &config.allocates_on,
            Self::GrowDisk(grow) => std::slice::from_ref(&grow.storage),
            Self::DestroyGuest(_)
            | Self::RollbackGuest(_)
            | Self::RestoreGuest(_)
            | Self::ClearUnfinished(_)
            | Self::StartGuest
            | Self::ShutdownGuest { .. }
            | Self::RebootGuest { .. }
            | Self::Storage(_)
            | Self::Tunnel(_) => &[],
        }
    }

    /// The signed operation that releases it, where one does.
    #[must_use]
    pub fn grant(&self) -> Option<&OpId> {
        match self {
            Self::DestroyGuest(destroy) => Some(&destroy.grant),
            Self::RollbackGuest(rollback) => Some(&rollback.grant),
            Self::RestoreGuest(restore) => Some(&restore.grant),
            Self::CreateGuest(create) => create.grant.as_ref(),
            Self::FetchFile(_)
            | Self::CloneGuest(_)
            | Self::SetConfig(_)
            | Self::GrowDisk(_)
            | Self::ClearUnfinished(_)
            | Self::StartGuest
            | Self::ShutdownGuest { .. }
            | Self::RebootGuest { .. }
            | Self::Tunnel(_) => None,
            Self::Storage(step) => step.grant(),
        }
    }
}

/// One line for a person: what exactly changes.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FetchFile(fetch) => write!(f, "{} to {} from {}", fetch.file, fetch.storage, fetch.url),
            Self::CreateGuest(create) => pairs(f, &create.params, &[]),
            Self::CloneGuest(clone) => {
                write!(f, "from {} ", clone.source)?;
                pairs(f, &clone.params, &[])
            }
            Self::SetConfig(config) => pairs(f, &config.set, &config.delete),
            Self::GrowDisk(grow) => write!(f, "{} to {} GiB", grow.slot, grow.size_gib),
            Self::DestroyGuest(_) => f.write_str("with all its volumes and snapshots"),
            Self::RollbackGuest(rollback) => write!(f, "to the snapshot {}", rollback.snapshot),
            Self::RestoreGuest(restore) => write!(f, "over the guest, from {}", restore.volid),
            Self::ClearUnfinished(clear) => write!(f, "half-made, left by {}", clear.task),
            Self::StartGuest => f.write_str("start"),
            Self::ShutdownGuest { timeout_s } => write!(f, "shut down within {timeout_s} s"),
            Self::RebootGuest { timeout_s } => write!(f, "reboot, shutting down within {timeout_s} s"),
            Self::Storage(step) => step.fmt(f),
            Self::Tunnel(step) => step.fmt(f),
        }
    }
}

pub(crate) fn pairs(
    f: &mut fmt::Formatter<'_>,
    set: &BTreeMap<String, String>,
    delete: &[String],
) -> fmt::Result {
    let mut gap = "";
    for (key, value) in set {
        write!(f, "{gap}{key}={}", value.escape_debug())?;
        gap = " ";
    }
    for key in delete {
        write!(f, "{gap}-{key}")?;
        gap = " ";
    }
    Ok(())
}
