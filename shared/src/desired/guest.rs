//! A guest as the operator wants it. Words and shapes are PVE's where PVE has one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Window;
use crate::id::{FileName, GuestId, Label, StorageId, Tag, Vmid};

/// One guest of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// Identity, for good.
    pub guest_id: GuestId,
    /// Where it lives on the node.
    pub vmid: Vmid,
    /// Container or virtual machine; cannot change for an existing guest.
    pub kind: GuestKind,
    /// Whether it should exist. `absent` asks for destruction, which waits for a signature.
    #[serde(default)]
    pub presence: Presence,
    /// Whether it should run.
    #[serde(default)]
    pub power: Power,
    /// Host name (LXC) or name (QEMU).
    pub name: Label,
    /// What it is made from, once; later changes here do nothing to an existing guest and say so.
    pub source: Source,
    /// CPU cores.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Swap in MiB; containers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_mib: Option<u32>,
    /// Disks by PVE's key: `rootfs` for a container, `scsi0`… for a virtual machine. They only grow.
    pub disks: BTreeMap<String, Disk>,
    /// Mount points of a container by PVE's key, `mp0`….
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Mount>,
    /// Network cards by PVE's key, `net0`….
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Network>,
    /// Tags besides the two that mark ownership.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Free text shown by PVE; left alone when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Start with the host.
    #[serde(default)]
    pub onboot: bool,
    /// Order and delays of starting with the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Startup>,
    /// Container without root's rights on the host. `false` is guarded, and cannot change later.
    #[serde(default = "yes")]
    pub unprivileged: bool,
    /// Container features; only `nesting` is open to an API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Overrides the host's maintenance window for this guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<Window>,
    /// The box reaches its hub through this guest: a change of it is tried, and taken back if the hub is not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
}

/// How a change of a guest that carries the box's line is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// How long after the last step the hub may stay silent before the guest becomes what it was, seconds, 60 to 1800.
    #[serde(default = "revert_after_s")]
    pub revert_after_s: u32,
}

impl Uplink {
    pub(super) const BOUNDS_S: std::ops::RangeInclusive<u32> = 60..=1800;
}

/// A router that boots takes a minute or two.
fn revert_after_s() -> u32 {
    300
}

fn yes() -> bool {
    true
}

/// Container or virtual machine, in PVE's path words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A container.
    Lxc,
    /// A virtual machine.
    Qemu,
}

impl GuestKind {
    /// `lxc` or `qemu`, as in PVE's paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Qemu => "qemu",
        }
    }
}

/// Whether a guest should exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Presence {
    #[default]
    Present,
    Absent,
}

/// Whether a guest should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Power {
    #[default]
    Running,
    Stopped,
}

/// What a guest is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A container template (`STORAGE:vztmpl/FILE`).
    Template(StoredFile),
    /// Another guest of the same kind on the same node.
    Clone(CloneOf),
    /// A disk image (`STORAGE:import/FILE`), imported as the first disk of a virtual machine.
    Image(StoredFile),
}

/// A file on a storage, fetched first when a URL is given and it is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// The storage that holds it.
    pub storage: StorageId,
    /// Its file name.
    pub file: FileName,
    /// Where PVE may fetch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the fetched file must hash to; required beside `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// A clone of another guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneOf {
    /// The guest to copy.
    pub vmid: Vmid,
    /// Where a full copy goes; without it the clone is linked (the source must be a template).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageId>,
}

/// A file's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    /// The hash function.
    pub algorithm: ChecksumAlgorithm,
    /// Lower-case hex.
    pub value: String,
}

/// The hash functions PVE accepts that are still sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ChecksumAlgorithm {
    Sha256,
    Sha512,
}

impl ChecksumAlgorithm {
    /// PVE's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Where it is allocated; a later change is reported, not applied.
    pub storage: StorageId,
    /// Its size in GiB; grows, never shrinks.
    pub size_gib: u32,
}

/// A mount point of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Path inside the container, absolute.
    pub path: String,
    /// What is mounted there.
    pub source: MountSource,
    /// Whether vzdump includes it. PVE's own default leaves mount points out; ours is to include them.
    #[serde(default = "yes")]
    pub backup: bool,
    /// Read-only inside the container.
    #[serde(default)]
    pub read_only: bool,
}

/// What a mount point shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A volume of its own.
    Volume(Disk),
    /// A folder of the host: guarded, and never through an API token.
    Bind(String),
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The node's bridge.
    pub bridge: String,
    /// Name inside a container; ignored by virtual machines. Default `eth` and the card's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// VLAN tag, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// `dhcp`, `manual` or an address with prefix; containers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Default gateway; containers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// A fixed MAC. Without it PVE chooses one and the agent keeps what PVE chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Whether PVE's firewall filters this card.
    #[serde(default)]
    pub firewall: bool,
}

/// Order and delays of starting with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Startup {
    /// Position; lower starts first and stops last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// Seconds to wait after starting this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_s: Option<u32>,
    /// Seconds to wait for it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_s: Option<u32>,
}

/// Container features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Allow containers inside.
    #[serde(default)]
    pub nesting: bool,
}
