//! What can be ordered about a drive or the storage on it, and which one it must be when it happens.
//!
//! Drives are swapped, moved and copied, and their names with them. A signature is for one drive in one state: everything
//! its maker wrote into it, what is recognised on it, and the bytes at both its ends, where partition tables and file
//! systems begin.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::desired::{ContentType, Filesystem, StorageRole};
use crate::drive::{DriveReport, DurableId};
use crate::id::{InvalidId, StorageId, text_id};

/// Parameters of `drive.format`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatDrive {
    /// The storage it becomes.
    pub storage: StorageId,
    /// What is made on it.
    pub filesystem: Filesystem,
    /// See [`ExpectDrive`].
    pub expect: ExpectDrive,
}

/// Parameters of `storage.assign`: another role, or less of what may lie on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignStorage {
    /// Which.
    pub storage: StorageId,
    /// What it is for from now on.
    pub role: StorageRole,
    /// What may lie on it from now on.
    pub content: BTreeSet<ContentType>,
    /// See [`ExpectStorage`].
    pub expect: ExpectStorage,
}

/// Parameters of `storage.detach`: PVE forgets the storage and the drive is unmounted. What is on it stays on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetachStorage {
    /// Which.
    pub storage: StorageId,
    /// See [`ExpectStorage`].
    pub expect: ExpectStorage,
}

/// Parameters of `storage.replace`: another drive behind a storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceDrive {
    /// Which.
    pub storage: StorageId,
    /// The drive from now on.
    pub durable_id: DurableId,
    /// The drive until now. See [`ExpectStorage`].
    pub expect: ExpectStorage,
}

/// What a storage in use must still be at the moment of action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectStorage {
    /// The drive, as the document names it.
    pub durable_id: DurableId,
    /// As its marker says; `null` where the drive is away.
    pub drive_id: Option<Uuid>,
    /// What PVE lets lie on it now.
    pub content: BTreeSet<ContentType>,
}

impl ExpectStorage {
    /// What differs from the storage as it is now.
    #[must_use]
    pub fn differs_from(&self, now: &Self) -> Option<&'static str> {
        if self.durable_id != now.durable_id || self.drive_id != now.drive_id {
            return Some("another drive is behind it");
        }
        (self.content != now.content).then_some("PVE lets other things lie on it")
    }
}

/// Words of kinds of content, for a person.
#[must_use]
pub fn content_words(content: &BTreeSet<ContentType>) -> String {
    let words: Vec<&str> = content.iter().map(|content| content.word()).collect();
    words.join(", ")
}

/// What the drive must still be at the moment of action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectDrive {
    /// The whole drive.
    pub durable_id: DurableId,
    /// World-wide name.
    pub wwn: Option<DriveWord>,
    /// Serial number.
    pub serial: Option<DriveWord>,
    /// The maker's word for it.
    pub model: Option<DriveWord>,
    /// Bytes.
    pub size_bytes: u64,
    /// What is recognised on it, part by part: `ext4 photos contents:…`.
    pub holds: Vec<DriveWord>,
    /// SHA-256 of its first and last MiB, 64 lower-case hex digits.
    pub head_sha256: HeadDigest,
}

text_id!(/// A word that a drive says of itself, or that stands on it: printable ASCII, so that a person reads what is there.
    DriveWord, "word of a drive", drive_word);
text_id!(/// SHA-256 of both ends of a drive.
    HeadDigest, "digest of a drive", head_digest);

fn drive_word(text: &str) -> Result<(), &'static str> {
    let printable = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if printable && (1..=200).contains(&text.len()) {
        Ok(())
    } else {
        Err("it must be 1 to 200 printable ASCII characters")
    }
}

fn head_digest(text: &str) -> Result<(), &'static str> {
    let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == 64 && is_hex { Ok(()) } else { Err("it must be 64 lower-case hex digits") }
}

impl ExpectDrive {
    /// A drive as it is now. None where it is not known by anything, or says something that no person could read.
    #[must_use]
    pub fn of(drive: &DriveReport, head_sha256: HeadDigest, blank: bool) -> Option<Self> {
        let word = |text: &Option<String>| match text {
            None => Some(None),
            Some(text) => DriveWord::new(text.as_str()).ok().map(Some),
        };
        let mut holds = Vec::new();
        for content in &drive.contents {
            let label = content.label.as_deref().unwrap_or_default();
            let label: String = label
                .chars()
                .filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
                .collect();
            let id = content.known_by.first().map(|id| id.as_str()).unwrap_or_default();
            let words = [content.format.as_deref().unwrap_or("unrecognised"), &label, id];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            holds.push(DriveWord::new(words.join(" ")).ok()?);
        }
        if holds.is_empty() && !blank {
            holds.push(DriveWord::new("something that is not recognised").ok()?);
        }
        Some(Self {
            durable_id: drive.durable_id.clone()?,
            wwn: word(&drive.wwn)?,
            serial: word(&drive.serial)?,
            model: word(&drive.model)?,
            size_bytes: drive.size_bytes,
            holds,
            head_sha256,
        })
    }

    /// What differs from the drive as it is now.
    #[must_use]
    pub fn differs_from(&self, now: &Self) -> Option<&'static str> {
        if self.durable_id != now.durable_id
            || (&self.wwn, &self.serial, &self.model) != (&now.wwn, &now.serial, &now.model)
        {
            return Some("it is another drive");
        }
        if self.size_bytes != now.size_bytes {
            return Some("it has another size");
        }
        if self.holds != now.holds {
            return Some("other things are on it");
        }
        (self.head_sha256 != now.head_sha256)
            .then_some("its partition table or what begins on it has changed")
    }

    /// The drive in a person's words.
    #[must_use]
    pub fn words(&self) -> String {
        let word = |word: &Option<DriveWord>| word.as_ref().map(|word| word.as_str().to_owned());
        let gigabytes = self.size_bytes / 1_000_000_000;
        let serial = word(&self.serial).map(|serial| format!(", serial number {serial}")).unwrap_or_default();
        format!("{}{serial}, {gigabytes} GB", word(&self.model).unwrap_or_else(|| "drive".to_owned()))
    }

    /// What is on it in a person's words.
    #[must_use]
    pub fn held_words(&self) -> String {
        if self.holds.is_empty() {
            return "it is blank".to_owned();
        }
        let parts: Vec<&str> = self.holds.iter().map(DriveWord::as_str).collect();
        format!("lost is {}", parts.join("; "))
    }
}
