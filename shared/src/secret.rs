//! Secrets that a document names and does not carry: a name and a hash stand in it, the value travels beside it.
//!
//! A value has no `Display`, and `Debug` does not show it. It serialises, because it must reach the box; nothing that
//! holds one is ever a document, a report, a journal entry or a difference between two documents.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::id::{InvalidId, Sha256Hex, text_id};
use crate::limits::SECRET_BYTES_MAX;

text_id!(/// What a host's secret is called.
    SecretName, "secret's name", name);

fn name(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    match bytes {
        [] => Err("it must not be empty"),
        _ if bytes.len() > 63 => Err("it is longer than 63 characters"),
        [first, ..] if !first.is_ascii_lowercase() => Err("it must begin with a lower-case letter"),
        _ if bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') => Ok(()),
        _ => Err("only lower-case letters, digits and '-' are allowed"),
    }
}

/// A secret as a document speaks of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Under which name the hub holds it for this host.
    pub secret: SecretName,
    /// Of its value: another value under the same name is not taken.
    pub sha256: Sha256Hex,
}

/// Why a text cannot be a secret. Says nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is one line of 1 to {SECRET_BYTES_MAX} printable ASCII characters without spaces")]
pub struct NotASecret;

/// A secret's value.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// Checks the text; white space around it is dropped.
    pub fn new(text: &str) -> Result<Self, NotASecret> {
        let text = text.trim();
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        if printable && (1..=SECRET_BYTES_MAX).contains(&text.len()) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(NotASecret)
        }
    }

    /// The value, for whoever must use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the value.
    #[must_use]
    pub fn sha256(&self) -> Sha256Hex {
        Sha256Hex::of(self.0.as_bytes())
    }
}

impl Sha256Hex {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_digest(&Sha256::digest(bytes))
    }

    /// Of a digest that was reckoned elsewhere, 32 bytes.
    #[must_use]
    pub fn of_digest(digest: &[u8]) -> Self {
        Self::new(HEXLOWER.encode(digest)).expect("SHA-256 has 64 hex digits")
    }

    /// Its beginning, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.as_str()[..12]
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::new(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_an_error_shows_a_secret() {
        let value = SecretValue::new(" hunter2\n").unwrap();
        assert_eq!(value.expose(), "hunter2");
        assert!(!format!("{value:?}").contains("hunter2"));
        let error = serde_json::from_str::<SecretValue>(r#""hunter2 hunter3""#).unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{error}");
        for bad in ["", " ", "two words", "two\nlines", "ő", &"x".repeat(SECRET_BYTES_MAX + 1)] {
            assert_eq!(SecretValue::new(bad), Err(NotASecret));
        }
    }

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256Hex::of(b"").as_str(), empty);
        assert!(Sha256Hex::new("E3").is_err() && SecretName::new("Tunnel").is_err());
    }
}
