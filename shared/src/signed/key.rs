//! Public keys that may sign: Ed25519, in software or in a security key, and nothing else.
//!
//! The algorithm belongs to the stored key, never to the message. A key is compared by its material; names and
//! fingerprints are for people. Weak keys do not load.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use ssh_key::HashAlg;
use ssh_key::public::KeyData;

/// Why a key is not one that may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not of the form `ssh-ed25519 AAAA…`.
    #[error("it is not a public key in OpenSSH's one-line form, without options or comment")]
    Form,
    /// RSA, ECDSA, DSA, certificates…
    #[error("only ssh-ed25519 and sk-ssh-ed25519@openssh.com are accepted")]
    Algorithm,
    /// Not a point of the curve in its one encoding, or one of small order: anybody could sign for it.
    #[error("it is a weak or malformed Ed25519 key")]
    Weak,
    /// A security key of another purpose than SSH's.
    #[error("it is a security key whose application does not begin with ssh:")]
    Application,
}

/// A public key that may sign, checked when it was loaded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(KeyData);

impl PublicKey {
    pub(super) fn load(data: KeyData) -> Result<Self, KeyRefusal> {
        let point = match &data {
            KeyData::Ed25519(key) => key.0,
            KeyData::SkEd25519(key) if key.application().starts_with("ssh:") => key.public_key().0,
            KeyData::SkEd25519(_) => return Err(KeyRefusal::Application),
            _ => return Err(KeyRefusal::Algorithm),
        };
        strong(&point).map(|_| Self(data))
    }

    /// The key itself.
    pub(super) fn verifying(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(&self.point()).expect("load has decoded it before")
    }

    /// The point of the curve: what a secret is behind.
    pub(super) fn point(&self) -> [u8; 32] {
        match &self.0 {
            KeyData::Ed25519(key) => key.0,
            KeyData::SkEd25519(key) => key.public_key().0,
            _ => unreachable!("load accepts no other kind"),
        }
    }

    /// The application of a security key.
    pub(super) fn application(&self) -> Option<&str> {
        self.0.sk_ed25519().map(ssh_key::public::SkEd25519::application)
    }

    /// The form ssh-key works with.
    #[must_use]
    pub fn data(&self) -> &KeyData {
        &self.0
    }

    /// Whether it lives in a security key, which asks for a touch.
    #[must_use]
    pub fn is_security_key(&self) -> bool {
        self.0.sk_ed25519().is_some()
    }

    /// OpenSSH's fingerprint, `SHA256:…`: what `key_id` says and `ssh-keygen -lf` prints.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// Decodes a point; y must be below the prime, so that a key has one encoding, and its order must not be small.
fn strong(point: &[u8; 32]) -> Result<VerifyingKey, KeyRefusal> {
    let y_is_reduced =
        point[0] < 0xed || point[1..31].iter().any(|byte| *byte != 0xff) || point[31] & 0x7f != 0x7f;
    let key = VerifyingKey::from_bytes(point).map_err(|_| KeyRefusal::Weak)?;
    if y_is_reduced && !key.is_weak() { Ok(key) } else { Err(KeyRefusal::Weak) }
}

impl FromStr for PublicKey {
    type Err = KeyRefusal;

    /// Reads `ssh-ed25519 AAAA…`. A comment is dropped.
    fn from_str(text: &str) -> Result<Self, KeyRefusal> {
        let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(|error| match error {
            ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
                KeyRefusal::Algorithm
            }
            _ => KeyRefusal::Form,
        })?;
        Self::load(key.key_data().clone())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyRefusal;

    /// Reads the one spelling that is also written.
    fn try_from(text: String) -> Result<Self, KeyRefusal> {
        let key: Self = text.parse()?;
        if key.to_string() == text { Ok(key) } else { Err(KeyRefusal::Form) }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = ssh_key::PublicKey::new(self.0.clone(), "").to_openssh().map_err(|_| fmt::Error)?;
        f.write_str(line.trim_end())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}
