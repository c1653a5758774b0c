//! Identities as types: a value of one of these has been checked, and cannot be mistaken for another.
//!
//! VMIDs and names are *addresses*, reused by people and by PVE; identity is the UUID the hub gave.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::{GENERATION_STEP_MAX, VMID_MAX, VMID_MIN};

/// Why a text or number is not a valid identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {kind}: {reason}")]
pub struct InvalidId {
    /// What was to be read, in the words of the documentation.
    pub kind: &'static str,
    /// The refused text.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(/// A box under management. Given by the hub, never derived from hostname or hardware.
    HostId);
uuid_id!(/// A guest, for as long as it is meant to exist; its VMID may change hands, this does not.
    GuestId);
uuid_id!(/// One life of an agent's event outbox: sequence numbers are only comparable within it.
    OutboxId);
uuid_id!(/// An event, wherever it is told.
    EventId);

impl GuestId {
    /// The tag that marks a guest on PVE as this one: `fh-` and the first 12 hex digits.
    ///
    /// A guest is ours only where VMID *and* mark agree; a clone made by hand copies the mark but not the VMID.
    #[must_use]
    pub fn mark(&self) -> String {
        let hex = self.0.simple().to_string();
        format!("fh-{}", &hex[..12])
    }
}

/// The number of a desired state; grows by publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether going from here to `to` is further than any honest hub goes in one step.
    #[must_use]
    pub fn jumps_to(self, to: Self) -> bool {
        to.0.saturating_sub(self.0) > GENERATION_STEP_MAX
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A guest's number on its node, 100 to 999 999 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vmid(u32);

impl Vmid {
    /// Checks the bounds PVE sets.
    pub fn new(number: u32) -> Result<Self, InvalidId> {
        if (VMID_MIN..=VMID_MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(InvalidId { kind: "vmid", value: number.to_string(), reason: "it must be 100 to 999999999" })
        }
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vmid {
    type Error = InvalidId;
    fn try_from(number: u32) -> Result<Self, InvalidId> {
        Self::new(number)
    }
}

impl From<Vmid> for u32 {
    fn from(vmid: Vmid) -> u32 {
        vmid.0
    }
}

impl FromStr for Vmid {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = text.parse().map_err(|_| InvalidId {
            kind: "vmid",
            value: text.to_owned(),
            reason: "it must be a whole number",
        })?;
        Self::new(number)
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text; the error says what is wrong with it.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(InvalidId { kind: $kind, value: text, reason }),
                }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use text_id;

text_id!(/// A guest's or host's name: one DNS label (PVE's `hostname` and `name`).
    Label, "name", dns_label);
text_id!(/// A PVE node, as `GET /nodes` names it.
    NodeName, "node", dns_label);
text_id!(/// A storage's id on PVE.
    StorageId, "storage", storage_id);
text_id!(/// A tag as PVE stores it: lower case.
    Tag, "tag", tag);
text_id!(/// A volume's file name within a storage; no path, no option.
    FileName, "file name", file_name);
text_id!(/// SHA-256 of something, 64 lower-case hex digits.
    Sha256Hex, "SHA-256", sha256_hex);

fn sha256_hex(text: &str) -> Result<(), &'static str> {
    let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == 64 && is_hex { Ok(()) } else { Err("it must be 64 lower-case hex digits") }
}

fn dns_label(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    match bytes {
        [] => Err("it must not be empty"),
        _ if bytes.len() > 63 => Err("it is longer than 63 characters"),
        [b'-', ..] | [.., b'-'] => Err("it must not begin or end with a hyphen"),
        _ if bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') => Ok(()),
        _ => Err("only letters, digits and hyphens are allowed"),
    }
}

fn storage_id(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    match bytes {
        [] | [_] => Err("it must have at least two characters"),
        _ if bytes.len() > 63 => Err("it is longer than 63 characters"),
        [first, ..] if !first.is_ascii_alphabetic() => Err("it must begin with a letter"),
        [.., last] if !last.is_ascii_alphanumeric() => Err("it must end with a letter or digit"),
        _ if bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)) => Ok(()),
        _ => Err("only letters, digits, '-', '_' and '.' are allowed"),
    }
}

fn tag(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    match bytes {
        [] => Err("it must not be empty"),
        _ if bytes.len() > 63 => Err("it is longer than 63 characters"),
        [first, ..] if !(first.is_ascii_lowercase() || first.is_ascii_digit() || *first == b'_') => {
            Err("it must begin with a lower-case letter, a digit or '_'")
        }
        _ if bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-+.".contains(b)) => {
            Ok(())
        }
        _ => Err("only lower-case letters, digits, '_', '-', '+' and '.' are allowed"),
    }
}

fn file_name(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    match bytes {
        [] => Err("it must not be empty"),
        _ if bytes.len() > 255 => Err("it is longer than 255 characters"),
        [b'.', ..] => Err("it must not begin with a dot"),
        _ if bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(b)) => Ok(()),
        _ => Err("only letters, digits, '-', '_', '.' and '+' are allowed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web-1", "A1", &"x".repeat(63)] {
            assert!(Label::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a b", "ő", "a,ip=1", "a\n", &"x".repeat(64)] {
            assert!(Label::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_that_could_carry_an_option_passes_as_storage_tag_or_file() {
        for bad in ["", "a/b", "../x", "a,b", "a=b", "a;b", "a b", "a:b", "a\0", "a\u{202e}"] {
            assert!(StorageId::new(bad).is_err(), "storage {bad:?}");
            assert!(Tag::new(bad).is_err(), "tag {bad:?}");
            assert!(FileName::new(bad).is_err(), "file {bad:?}");
        }
        assert!(Tag::new("Upper").is_err());
        assert!(FileName::new(".hidden").is_err());
    }

    #[test]
    fn vmid_has_the_bounds_of_pve() {
        assert!(Vmid::new(99).is_err());
        assert!(Vmid::new(100).is_ok());
        assert!(Vmid::new(1_000_000_000).is_err());
        assert!(serde_json::from_str::<Vmid>("99").is_err());
    }

    #[test]
    fn the_mark_is_a_valid_tag_and_differs_by_guest() {
        let one = GuestId(Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788));
        assert_eq!(one.mark(), "fh-123456789abc");
        assert!(Tag::new(one.mark()).is_ok());
    }

    #[test]
    fn only_a_step_beyond_two_to_the_twentieth_is_a_jump() {
        let base = Generation(7);
        assert!(!base.jumps_to(Generation(7 + GENERATION_STEP_MAX)));
        assert!(base.jumps_to(Generation(8 + GENERATION_STEP_MAX)));
        assert!(!base.jumps_to(Generation(1)));
    }
}
