//! The steps that make a storage of a drive. Plain values, as all steps are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use felhom_shared::desired::{ContentType, Filesystem};
use felhom_shared::drive::{DurableId, is_pool_name};
use felhom_shared::report::Class;
use felhom_shared::signed::{OpId, content_words};
use serde::{Deserialize, Serialize};

use crate::host::command::{MarkDrive, MountDrive, UnmountDrive};
use crate::host::marker::Marker;

/// One change to one storage or its drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageStep {
    /// Mount a file system where its storage belongs.
    MountDrive(MountDrive),
    /// Take away what a drive that is gone has left there.
    UnmountDrive(UnmountDrive),
    /// Write the marker.
    MarkDrive(MarkDrive),
    /// Make a new file system. Guarded.
    FormatDrive(FormatStep),
    /// Another role, written into the marker, and exactly this content in PVE. Guarded.
    AssignStorage(AssignStep),
    /// PVE forgets the storage, and its drive is unmounted. Guarded.
    DetachStorage(DetachStep),
    /// The drive that was behind the storage is no longer expected there. Guarded.
    ReplaceDrive(ReplaceStep),
    /// `POST /storage`
    DefineStorage(BTreeMap<String, String>),
    /// `PUT /storage/{storage}`: only the keys that differ.
    ChangeStorage(ChangeStorage),
}

/// See [`StorageStep::FormatDrive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatStep {
    /// The operation that releases it.
    pub grant: OpId,
    /// What is made.
    pub filesystem: Filesystem,
    /// On which drive, in words.
    pub drive: String,
}

/// See [`StorageStep::AssignStorage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignStep {
    /// The operation that releases it.
    pub grant: OpId,
    /// The file system or pool that carries the marker.
    pub id: DurableId,
    /// The marker from now on.
    pub marker: Marker,
    /// What may lie on the storage from now on.
    pub content: BTreeSet<ContentType>,
    /// The digest of the definitions this was planned against.
    pub digest: String,
}

/// See [`StorageStep::DetachStorage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachStep {
    /// The operation that releases it.
    pub grant: OpId,
}

/// See [`StorageStep::ReplaceDrive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceStep {
    /// The operation that releases it.
    pub grant: OpId,
    /// The drive from now on.
    pub durable_id: DurableId,
}

/// See [`StorageStep::ChangeStorage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStorage {
    /// Keys to set, in PVE's spelling.
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    pub delete: Vec<String>,
    /// The digest of the definitions this was planned against.
    pub digest: String,
}

impl StorageStep {
    /// The stable word in reports and journal.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::MountDrive(_) => "mount_drive",
            Self::UnmountDrive(_) => "unmount_drive",
            Self::MarkDrive(_) => "mark_drive",
            Self::FormatDrive(_) => "format_drive",
            Self::AssignStorage(_) => "assign_storage",
            Self::DetachStorage(_) => "detach_storage",
            Self::ReplaceDrive(_) => "replace_drive",
            Self::DefineStorage(_) => "define_storage",
            Self::ChangeStorage(_) => "change_storage",
        }
    }

    /// The signed operation that releases it, where one does.
    #[must_use]
    pub fn grant(&self) -> Option<&OpId> {
        match self {
            Self::FormatDrive(format) => Some(&format.grant),
            Self::AssignStorage(assign) => Some(&assign.grant),
            Self::DetachStorage(detach) => Some(&detach.grant),
            Self::ReplaceDrive(replace) => Some(&replace.grant),
            Self::MountDrive(_)
            | Self::UnmountDrive(_)
            | Self::MarkDrive(_)
            | Self::DefineStorage(_)
            | Self::ChangeStorage(_) => None,
        }
    }

    /// Whether it may be done without a signature. Closed: a key that is not known here makes a step guarded.
    #[must_use]
    pub fn class(&self) -> Class {
        let routine = match self {
            Self::MountDrive(_) | Self::UnmountDrive(_) | Self::MarkDrive(_) => true,
            Self::FormatDrive(_)
            | Self::AssignStorage(_)
            | Self::DetachStorage(_)
            | Self::ReplaceDrive(_) => false,
            Self::DefineStorage(params) => params.iter().all(|(key, value)| is_routine(key, value)),
            Self::ChangeStorage(change) => {
                change.set.iter().all(|(key, value)| is_routine(key, value))
                    && change.delete.iter().all(|key| key == "disable")
            }
        };
        if routine { Class::Routine } else { Class::Guarded }
    }
}

/// A folder of the host is shown to PVE only where our drives are mounted. `snippets` are run as root.
fn is_routine(key: &str, value: &str) -> bool {
    match key {
        "storage" | "disable" => true,
        "type" => value == "dir" || value == "zfspool",
        // The whole of a pool: what else its owner keeps in it stays his.
        "pool" => is_pool_name(value),
        "path" => value.starts_with("/mnt/felhom/") && !value.contains(".."),
        "is_mountpoint" => value == "1",
        "create-base-path" => value == "0",
        "content" => value.split(',').all(|word| ContentType::of_word(word).is_some()),
        _ => false,
    }
}

/// One line for a person: what exactly changes.
impl fmt::Display for StorageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountDrive(mount) => {
                let what = mount.id.contents().unwrap_or_default();
                write!(f, "{} {what} at /mnt/felhom/{}", mount.filesystem.word(), mount.storage)
            }
            Self::UnmountDrive(unmount) => {
                write!(f, "what is left at /mnt/felhom/{}", unmount.storage)
            }
            Self::MarkDrive(mark) => {
                let what = mark.id.contents().unwrap_or_default();
                write!(f, "{what} as ours, for {}", mark.marker.role.word())
            }
            Self::FormatDrive(format) => write!(f, "{} with {}", format.drive, format.filesystem.word()),
            Self::AssignStorage(assign) => {
                write!(f, "for {}: {}", assign.marker.role.word(), content_words(&assign.content))
            }
            Self::DetachStorage(_) => f.write_str("out of PVE, and its drive unmounted"),
            Self::ReplaceDrive(replace) => write!(f, "by {}", replace.durable_id),
            Self::DefineStorage(params) => crate::step::pairs(f, params, &[]),
            Self::ChangeStorage(change) => crate::step::pairs(f, &change.set, &change.delete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(key: &str, value: &str) -> Class {
        StorageStep::DefineStorage(BTreeMap::from([(key.to_owned(), value.to_owned())])).class()
    }

    #[test]
    fn what_the_table_does_not_know_is_guarded() {
        for (key, value) in [
            ("path", "/"),
            ("path", "/mnt/felhom/../../etc"),
            ("content", "snippets"),
            ("content", "backup,snippets"),
            ("is_mountpoint", "0"),
            ("create-base-path", "1"),
            ("type", "nfs"),
            ("pool", "rpool/ROOT"),
            ("mountpoint", "/etc"),
            ("sparse", "1"),
            ("content-dirs", "iso=/etc"),
            ("prune-backups", "keep-last=1"),
            ("shared", "1"),
        ] {
            assert_eq!(defined(key, value), Class::Guarded, "{key}={value}");
        }
        for (key, value) in [("path", "/mnt/felhom/photos"), ("content", "backup,rootdir"), ("disable", "1")]
        {
            assert_eq!(defined(key, value), Class::Routine, "{key}={value}");
        }
        let change = ChangeStorage {
            set: BTreeMap::new(),
            delete: vec!["is_mountpoint".to_owned()],
            digest: String::new(),
        };
        assert_eq!(StorageStep::ChangeStorage(change).class(), Class::Guarded);
    }
}
