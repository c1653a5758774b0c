//! Drives as a box sees them: what each is, what it is known by, and what is on it now.
//!
//! Reality only: nothing here says what a drive is for. `sda` is where a drive is today and never who it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::report::Failure;

/// One drive, attached now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DriveReport {
    /// Where it is today, e.g. `sda`.
    pub name: String,
    /// What the whole drive is known by; none where nothing tells it from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_id: Option<DurableId>,
    /// How it stores and how it is attached: `nvme`, `ssd`, `hdd`, `usb`, `virtual`.
    pub kind: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its maker's word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its serial number, unless it is a placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its world-wide name, unless it is a placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// What SMART says of it, as PVE reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// How much of its life is left, per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_left_percent: Option<u8>,
    /// The kernel lets nobody write to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// The box itself runs from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// What is on it: itself, where it carries something without partitions, and its partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Content>,
    /// Why it cannot be told from others, or not be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Failure>,
}

/// A drive that its maker gave no number can still be told by what is written on it; only a format needs more.
pub const WITHOUT_IDENTITY: &str = "drive_without_identity";

impl DriveReport {
    /// Why what is on it cannot be told from what is on another.
    #[must_use]
    pub fn clash(&self) -> Option<&Failure> {
        self.problems.iter().find(|problem| problem.code != WITHOUT_IDENTITY)
    }
}

/// A drive or a partition, and what its first blocks say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// Where it is today, e.g. `sda1`.
    pub name: String,
    /// What it is known by, the strongest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_by: Vec<DurableId>,
    /// Its size.
    pub size_bytes: u64,
    /// What is recognised on it, in util-linux's words: `ext4`, `crypto_LUKS`, `LVM2_member`, `zfs_member`. None: nothing,
    /// which is no proof that nothing is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The file system's, pool's or volume's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where it, or what lies upon it, is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounted_at: Vec<String>,
    /// What holds it open: LVM volumes, RAID, encryption, swap, a pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<String>,
}

impl Content {
    /// What all members of a ZFS pool are known by alike, and nothing else is.
    #[must_use]
    pub fn pool_id(&self) -> Option<DurableId> {
        let is_member = self.format.as_deref() == Some(ZFS_MEMBER);
        DurableId::of_pool(self.known_by.iter().filter(|_| is_member).find_map(DurableId::contents)?)
    }
}

/// What a drive is known by, across renames, ports and reboots.
///
/// ```
/// use felhom_shared::drive::{DurableId, Hardware};
///
/// let one = Hardware { wwn: None, serial: Some("S4X1"), model: "Disk", size_bytes: 1 << 40 };
/// let id = DurableId::of_hardware(&one).unwrap();
/// assert!(id.as_str().starts_with("hardware:"));
/// // Nothing that its maker set: not known.
/// assert!(DurableId::of_hardware(&Hardware { serial: Some("unknown"), ..one }).is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurableId(String);

/// What the maker wrote into a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware<'a> {
    /// World-wide name.
    pub wwn: Option<&'a str>,
    /// Serial number.
    pub serial: Option<&'a str>,
    /// The maker's word for it.
    pub model: &'a str,
    /// Bytes.
    pub size_bytes: u64,
}

impl DurableId {
    /// By the UUID or pool number of what is written on it, and by the member's own where several carry it together.
    #[must_use]
    pub fn of_contents(uuid: &str, member: Option<&str>) -> Option<Self> {
        let member = member.map(|member| format!("/{}", member.to_ascii_lowercase())).unwrap_or_default();
        is_identity(uuid).then(|| Self(format!("contents:{}{member}", uuid.to_ascii_lowercase())))
    }

    /// By the number of a ZFS pool, whichever of its members are there.
    #[must_use]
    pub fn of_pool(guid: &str) -> Option<Self> {
        Self::of_contents(guid, None)
    }

    /// The UUID or pool number of what is written there, if that is what it is known by.
    #[must_use]
    pub fn contents(&self) -> Option<&str> {
        self.0.strip_prefix("contents:").map(|rest| rest.split('/').next().unwrap_or(rest))
    }

    /// By a partition's own UUID.
    #[must_use]
    pub fn of_partition(uuid: &str) -> Option<Self> {
        is_identity(uuid).then(|| Self(format!("partition:{}", uuid.to_ascii_lowercase())))
    }

    /// By all that the maker wrote into it. Neither name nor number set: not known.
    #[must_use]
    pub fn of_hardware(hardware: &Hardware<'_>) -> Option<Self> {
        let real = |text: Option<&str>| text.is_some_and(is_identity);
        if !real(hardware.wwn) && !real(hardware.serial) {
            return None;
        }
        let word = |text: Option<&str>| text.unwrap_or_default().trim().to_owned();
        let all = [
            word(hardware.wwn),
            word(hardware.serial),
            word(Some(hardware.model)),
            hardware.size_bytes.to_string(),
        ];
        let digest = Sha256::digest(all.join("\n"));
        Some(Self(format!("hardware:{}", data_encoding::HEXLOWER.encode(&digest[..16]))))
    }

    /// Whether it is one that a box could have made; a document may hold any text.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 100
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/".contains(&b))
        };
        ["contents:", "partition:", "hardware:"]
            .iter()
            .any(|kind| self.0.strip_prefix(kind).is_some_and(plain))
    }

    /// As it stands in documents and reports.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DurableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// util-linux's word for a part of a ZFS pool.
pub const ZFS_MEMBER: &str = "zfs_member";

/// Whether a pool of ZFS may be called so, by ZFS and by what we run.
///
/// ```
/// use felhom_shared::drive::is_pool_name;
///
/// assert!(is_pool_name("tank") && is_pool_name("data-2"));
/// assert!(!is_pool_name("mirror-1") && !is_pool_name("-f") && !is_pool_name("tank/photos"));
/// ```
#[must_use]
pub fn is_pool_name(name: &str) -> bool {
    let reserved =
        name == "log" || ["mirror", "raidz", "draid", "spare"].iter().any(|word| name.starts_with(word));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // c0 to c9 were names of drives on Solaris.
    let bytes = name.as_bytes();
    let solaris = matches!(bytes, [b'c', digit, ..] if digit.is_ascii_digit());
    !reserved
        && !solaris
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.len() <= 100
        && bytes.iter().all(|byte| plain(*byte))
}

/// Words that makers, bridges and tools put where they have nothing to say.
const PLACEHOLDERS: [&str; 10] = [
    "unknown",
    "none",
    "n/a",
    "na",
    "null",
    "default string",
    "default",
    "empty",
    "serial",
    "to be filled by o.e.m.",
];

/// Whether a word can tell one drive from another. A placeholder cannot: a bridge gives it to every drive behind it.
///
/// ```
/// use felhom_shared::drive::is_identity;
///
/// assert!(is_identity("S4X1NF0M"));
/// assert!(!is_identity("UNKNOWN") && !is_identity("000000000000") && !is_identity("0123456789ABCDEF"));
/// ```
#[must_use]
pub fn is_identity(text: &str) -> bool {
    let text = text.trim().trim_start_matches("0x").to_ascii_lowercase();
    let mut letters = text.chars().filter(char::is_ascii_alphanumeric);
    let Some(first) = letters.next() else { return false };
    let all_the_same = letters.all(|letter| letter == first);
    let counted = text.len() >= 6
        && ["0123456789abcdef", "1234567890", "123456789abcdef"].iter().any(|row| row.starts_with(&text));
    !(PLACEHOLDERS.contains(&text.as_str()) || all_the_same || counted)
}
