//! What can be ordered, each with exactly the parameters it needs and what must still be true when it runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::drive::{AssignStorage, DetachStorage, FormatDrive, ReplaceDrive, content_words};
use crate::id::{Generation, InvalidId, Label, StorageId, Vmid, text_id};

/// What the guest must still be at the moment of action. VMIDs and names are reused; this is how a signature for
/// one guest cannot reach another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Its number on the node.
    pub vmid: Vmid,
    /// Its name on the node.
    pub name: Label,
    /// PVE's digest of its configuration; `null` where there must be no guest at that number.
    pub config_digest: Option<ConfigDigest>,
}

/// Parameters of an operation that needs only to know its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// See [`Expect`].
    pub expect: Expect,
}

/// Parameters of `guest.rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackGuest {
    /// The snapshot's name.
    pub snapshot: SnapshotName,
    /// When it was taken, seconds since 1970: names are reused, times are not.
    pub snaptime: u64,
    /// See [`Expect`].
    pub expect: Expect,
}

/// Parameters of `guest.restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreGuest {
    /// The archive, in PVE's words: `storage:backup/…`.
    pub volid: BackupVolid,
    /// See [`Expect`].
    pub expect: Expect,
}

/// Parameters of `ops.void_before`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidBefore {
    /// Operations issued at or before this time are void, milliseconds since 1970.
    pub before: u64,
}

/// Parameters of `ledger.rebase`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRebase {
    /// The furthest the hub has seen; the box goes on above it.
    #[serde(deserialize_with = "row_number")]
    pub seq: u64,
}

/// The number comes from a hub, and the box counts on from it: one near the end of all numbers would end its
/// ledger. No ledger comes to 2^53.
fn row_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seq = u64::deserialize(deserializer)?;
    if seq < 1 << 53 {
        Ok(seq)
    } else {
        Err(serde::de::Error::custom("the number is not a valid row of a ledger"))
    }
}

/// Parameters of `generation.reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetGeneration {
    /// The next document may have this number or a higher one.
    pub generation: Generation,
}

/// No parameters: `{}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `guest.destroy`
    DestroyGuest(Expected),
    /// `guest.rollback`
    RollbackGuest(RollbackGuest),
    /// `guest.restore`: over the existing guest.
    RestoreGuest(RestoreGuest),
    /// `guest.create_privileged`
    CreatePrivileged(Expected),
    /// `drive.format`
    FormatDrive(FormatDrive),
    /// `storage.assign`
    AssignStorage(AssignStorage),
    /// `storage.detach`
    DetachStorage(DetachStorage),
    /// `storage.replace`
    ReplaceDrive(ReplaceDrive),
    /// `clock.reset`
    ClockReset(Empty),
    /// `ops.void_before`
    VoidBefore(VoidBefore),
    /// `ledger.rebase`
    LedgerRebase(LedgerRebase),
    /// `generation.reset`
    ResetGeneration(ResetGeneration),
}

impl Request {
    /// The word on the wire.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::DestroyGuest(_) => "guest.destroy",
            Self::RollbackGuest(_) => "guest.rollback",
            Self::RestoreGuest(_) => "guest.restore",
            Self::CreatePrivileged(_) => "guest.create_privileged",
            Self::FormatDrive(_) => "drive.format",
            Self::AssignStorage(_) => "storage.assign",
            Self::DetachStorage(_) => "storage.detach",
            Self::ReplaceDrive(_) => "storage.replace",
            Self::ClockReset(_) => "clock.reset",
            Self::VoidBefore(_) => "ops.void_before",
            Self::LedgerRebase(_) => "ledger.rebase",
            Self::ResetGeneration(_) => "generation.reset",
        }
    }

    /// Whether a plan carries it out, when the time has come. What it does not is done where it is accepted.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        self.expect().is_some() || self.storage().is_some()
    }

    /// The storage it is about; none for any other operation.
    #[must_use]
    pub fn storage(&self) -> Option<&StorageId> {
        match self {
            Self::FormatDrive(of) => Some(&of.storage),
            Self::AssignStorage(of) => Some(&of.storage),
            Self::DetachStorage(of) => Some(&of.storage),
            Self::ReplaceDrive(of) => Some(&of.storage),
            Self::DestroyGuest(_)
            | Self::RollbackGuest(_)
            | Self::RestoreGuest(_)
            | Self::CreatePrivileged(_)
            | Self::ClockReset(_)
            | Self::VoidBefore(_)
            | Self::LedgerRebase(_)
            | Self::ResetGeneration(_) => None,
        }
    }

    /// What must still be true of the guest; none for an operation on the host.
    #[must_use]
    pub fn expect(&self) -> Option<&Expect> {
        match self {
            Self::DestroyGuest(expected) | Self::CreatePrivileged(expected) => Some(&expected.expect),
            Self::RollbackGuest(rollback) => Some(&rollback.expect),
            Self::RestoreGuest(restore) => Some(&restore.expect),
            Self::FormatDrive(_)
            | Self::AssignStorage(_)
            | Self::DetachStorage(_)
            | Self::ReplaceDrive(_)
            | Self::ClockReset(_)
            | Self::VoidBefore(_)
            | Self::LedgerRebase(_)
            | Self::ResetGeneration(_) => None,
        }
    }

    /// What it does and what is lost, in one sentence for the person who signs.
    #[must_use]
    pub fn consequence(&self) -> String {
        match self {
            Self::DestroyGuest(of) => format!(
                "destroys {} (vmid {}) with all its volumes and snapshots; only a backup brings it back",
                of.expect.name, of.expect.vmid
            ),
            Self::RollbackGuest(of) => format!(
                "returns {} (vmid {}) to the snapshot {}: everything written since then is lost",
                of.expect.name,
                of.expect.vmid,
                of.snapshot.as_str()
            ),
            Self::RestoreGuest(of) => format!(
                "overwrites {} (vmid {}) with the backup {}: what it holds now is lost",
                of.expect.name,
                of.expect.vmid,
                of.volid.as_str()
            ),
            Self::CreatePrivileged(of) => format!(
                "creates {} (vmid {}) as a privileged container: root inside it can become root on the host",
                of.expect.name, of.expect.vmid
            ),
            Self::FormatDrive(of) => format!(
                "formats the drive {} with {} for the storage {}; {}, and nothing brings it back",
                of.expect.words(),
                of.filesystem.word(),
                of.storage,
                of.expect.held_words()
            ),
            Self::AssignStorage(of) => format!(
                "uses the storage {} for {} from now on, with {} on it and nothing else; what lies on it now stays",
                of.storage,
                of.role.word(),
                content_words(&of.content)
            ),
            Self::DetachStorage(of) => format!(
                "takes the storage {} out of Proxmox and unmounts its drive; what is on it stays on it, and guests and backups \
                 that need it stop working",
                of.storage
            ),
            Self::ReplaceDrive(of) => format!(
                "puts another drive ({}) behind the storage {} in place of {}; what is on the old one stays on it, and guests and \
                 backups there are no longer found",
                of.durable_id, of.storage, of.expect.durable_id
            ),
            Self::ClockReset(_) => {
                "makes the box believe its clock again, from the time of this signature on".to_owned()
            }
            Self::VoidBefore(of) => format!("voids every operation issued up to {} ms since 1970", of.before),
            Self::LedgerRebase(of) => {
                format!(
                    "accepts that the box lost its ledger after a roll-back, and goes on above row {}",
                    of.seq
                )
            }
            Self::ResetGeneration(of) => {
                format!(
                    "lets the box accept documents from generation {} on, also lower ones than it has",
                    of.generation
                )
            }
        }
    }
}

text_id!(/// PVE's digest of a configuration: SHA-1, 40 lower-case hex digits.
    ConfigDigest, "configuration digest", config_digest);
text_id!(/// A snapshot's name as PVE allows it.
    SnapshotName, "snapshot", snapshot_name);
text_id!(/// A backup archive: `storage:backup/…`, without anything a parameter could hide in.
    BackupVolid, "backup", backup_volid);

fn config_digest(text: &str) -> Result<(), &'static str> {
    let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == 40 && is_hex { Ok(()) } else { Err("it must be 40 lower-case hex digits") }
}

fn snapshot_name(text: &str) -> Result<(), &'static str> {
    let fits = (2..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if fits {
        Ok(())
    } else {
        Err("it must begin with a letter and have 2 to 40 letters, digits, '_' or '-'")
    }
}

fn backup_volid(text: &str) -> Result<(), &'static str> {
    let fits = text.len() <= 255
        && text.split_once(":backup/").is_some_and(|(storage, file)| !storage.is_empty() && !file.is_empty())
        && !text.contains("..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+".contains(&b));
    if fits { Ok(()) } else { Err("it must be storage:backup/… of letters, digits and -_.:/+") }
}
