//! What a drive is for, as the operator wants it: one entry makes one drive one storage of PVE.
//!
//! A drive is named by its [`DurableId`] and never by where it is plugged in. An entry that vanishes leaves the storage as it
//! is; nothing here formats, detaches or gives a drive another role without a signature.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::parse::{DesiredError, invalid};
use crate::drive::{DurableId, ZFS_MEMBER, is_pool_name};
use crate::id::StorageId;
use crate::limits::STORAGES_MAX;

/// One drive and the storage it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSpec {
    /// The storage's name in PVE.
    pub storage: StorageId,
    /// The drive, or the file system on it, as the box reports it.
    pub durable_id: DurableId,
    /// What is to be done with it.
    pub action: StorageAction,
    /// What it is for. Changing it for a drive in use needs a signature.
    pub role: StorageRole,
    /// Which kind of drive it must be; another kind is taken for a mistake and refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<DriveClass>,
    /// What must be on it, or be made on it. Without it, whatever of these is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// What may lie on the storage. Taking a kind away needs a signature.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub content: BTreeSet<ContentType>,
    /// For people: which drive it is and where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// What is to be done with a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageAction {
    /// Use what is on it as it is.
    Adopt,
    /// Make a new file system on it. What is on it is lost; waits for a signature over this very drive.
    Format,
    /// Leave it alone, on purpose.
    Ignore,
}

/// What a storage is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageRole {
    /// Guests live on it.
    Guests,
    /// Backups lie on it, and nothing else.
    Backup,
    /// Templates, images and other files.
    Files,
}

impl StorageRole {
    /// The word in documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Guests => "guests",
            Self::Backup => "backup",
            Self::Files => "files",
        }
    }

    fn allows(self, content: ContentType) -> bool {
        match self {
            Self::Guests => true,
            Self::Backup => content == ContentType::Backup,
            Self::Files => !matches!(content, ContentType::Images | ContentType::Rootdir),
        }
    }
}

/// A kind of drive, as the box reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum DriveClass {
    Nvme,
    Ssd,
    Hdd,
    Usb,
    Virtual,
}

impl DriveClass {
    /// The word in documents and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Ssd => "ssd",
            Self::Hdd => "hdd",
            Self::Usb => "usb",
            Self::Virtual => "virtual",
        }
    }
}

/// A file system that a box can mount and make. A pool of ZFS is one too: it holds volumes of guests and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Filesystem {
    Ext4,
    Xfs,
    Zfs,
}

impl Filesystem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Zfs];

    /// The kernel's word for it, and a document's.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Zfs => "zfs",
        }
    }

    /// util-linux's word for what it leaves on a drive. ZFS leaves members of a pool.
    #[must_use]
    pub fn on_drive(self) -> &'static str {
        if self == Self::Zfs { ZFS_MEMBER } else { self.word() }
    }

    /// By a document's word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filesystem| filesystem.word() == word)
    }

    /// By util-linux's word.
    #[must_use]
    pub fn found(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filesystem| filesystem.on_drive() == word)
    }

    /// Whether PVE puts this there: a pool has no folder for files.
    #[must_use]
    pub fn holds(self, content: ContentType) -> bool {
        self != Self::Zfs || matches!(content, ContentType::Images | ContentType::Rootdir)
    }
}

/// What may lie on a storage, in PVE's words. `snippets` is not among them: PVE runs those as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentType {
    /// vzdump archives.
    Backup,
    /// Disks of virtual machines.
    Images,
    /// Disk images to import.
    Import,
    /// Installation disks.
    Iso,
    /// Volumes of containers.
    Rootdir,
    /// Container templates.
    Vztmpl,
}

impl ContentType {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Backup, Self::Images, Self::Import, Self::Iso, Self::Rootdir, Self::Vztmpl];

    /// By PVE's word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|content| content.word() == word)
    }

    /// PVE's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Images => "images",
            Self::Import => "import",
            Self::Iso => "iso",
            Self::Rootdir => "rootdir",
            Self::Vztmpl => "vztmpl",
        }
    }
}

/// Refuses what no box could do: one drive twice, a storage without a purpose.
pub(super) fn check(specs: &[StorageSpec]) -> Result<(), DesiredError> {
    if specs.len() > STORAGES_MAX {
        return invalid("storage", format!("{} entries, at most {STORAGES_MAX} are allowed", specs.len()));
    }
    let (mut names, mut drives) = (BTreeSet::new(), BTreeSet::new());
    for spec in specs {
        let at = format!("storage[{}]", spec.storage);
        if !names.insert(spec.storage.as_str().to_ascii_lowercase()) {
            return invalid(format!("{at}.storage"), "two entries have this name");
        }
        if !drives.insert(&spec.durable_id) {
            return invalid(format!("{at}.durable_id"), "two entries name this drive");
        }
        check_spec(&at, spec)?;
    }
    Ok(())
}

fn check_spec(at: &str, spec: &StorageSpec) -> Result<(), DesiredError> {
    if !spec.durable_id.is_well_formed() {
        let reason =
            "it must be as the box reports it: `contents:`, `partition:` or `hardware:` and what follows";
        return invalid(format!("{at}.durable_id"), reason);
    }
    let label = spec.label.as_deref().unwrap_or_default();
    if label.len() > 200 || label.chars().any(char::is_control) {
        return invalid(format!("{at}.label"), "at most 200 bytes and no control characters");
    }
    if spec.action == StorageAction::Ignore {
        return Ok(());
    }
    if spec.content.is_empty() {
        return invalid(format!("{at}.content"), "it must say what may lie on the storage");
    }
    if let Some(wrong) = spec.content.iter().find(|content| !spec.role.allows(**content)) {
        let reason = format!("a storage for {} does not hold {}", spec.role.word(), wrong.word());
        return invalid(format!("{at}.content"), reason);
    }
    let filesystem = spec.filesystem.into_iter();
    let mut held =
        filesystem.flat_map(|filesystem| spec.content.iter().filter(move |one| !filesystem.holds(**one)));
    if let Some(wrong) = held.next() {
        let reason = format!("a ZFS pool holds images and rootdir, not {}", wrong.word());
        return invalid(format!("{at}.content"), reason);
    }
    if spec.action == StorageAction::Format {
        let Some(filesystem) = spec.filesystem else {
            return invalid(format!("{at}.filesystem"), "it must say which file system is to be made");
        };
        if filesystem == Filesystem::Zfs && !is_pool_name(spec.storage.as_str()) {
            return invalid(
                format!("{at}.storage"),
                "ZFS keeps this name for itself, and the pool would get it",
            );
        }
        // What is on it is gone afterwards, and with it every other name.
        if !spec.durable_id.as_str().starts_with("hardware:") {
            return invalid(
                format!("{at}.durable_id"),
                "a drive that is to be formatted is named as a whole, by `hardware:`",
            );
        }
    }
    Ok(())
}
