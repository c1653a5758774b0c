//! Whom a box trusts: keys with their roles, and how many of them must agree.
//!
//! A key that is not in the set is revoked: there is no list of the revoked that somebody could withhold.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::canonical;
use super::key::PublicKey;
use super::rejection::Rejection;
use crate::limits::KEYSET_KEYS_MAX;
use crate::ordered;

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The next keyset, and operations on trust, time and record. Kept cold.
    Root,
    /// Operations on guests and storage.
    Ops,
    /// Agent releases.
    Release,
}

/// One key and what it may sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// `ssh-ed25519 AAAA…` or `sk-ssh-ed25519@openssh.com AAAA…`, without comment.
    pub public: PublicKey,
    /// At least one; never root and ops together.
    pub roles: Vec<Role>,
}

/// How many signatures by different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "named after the roles; `destroy` is for operations after which something is gone"
)]
pub struct Thresholds {
    pub root: u8,
    pub ops: u8,
    pub destroy: u8,
    pub release: u8,
}

/// A keyset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyset {
    /// 1 for the first, then one more each time.
    pub version: u64,
    /// SHA-256 of the previous keyset's payload, lower-case hex; `null` for the first.
    pub prev_sha256: Option<String>,
    /// One to sixteen.
    pub keys: Vec<KeyEntry>,
    /// See [`Thresholds`].
    pub thresholds: Thresholds,
    /// SHA-256 of the hub's public keys (SPKI), lower-case hex: none, or two to four with a spare.
    pub hub_pins: Vec<String>,
    /// Offline age recipients of the operator-managed escrow tier.
    pub escrow_recipients: Vec<String>,
}

impl Keyset {
    /// Reads a payload strictly and checks that the set makes sense.
    pub fn parse(payload: &[u8]) -> Result<Self, Rejection> {
        let keyset: Self = canonical::decode(payload, |_| {
            Rejection::KeysetMalformed("it is not of the right form".to_owned())
        })?;
        keyset.check().map_err(Rejection::KeysetMalformed)?;
        Ok(keyset)
    }

    /// The bytes to sign: one line.
    #[must_use]
    pub fn to_payload(&self) -> String {
        canonical::encode(self)
    }

    /// SHA-256 of the payload, lower-case hex: what the next one names as `prev_sha256`, and what an enrolment
    /// slip says of the first.
    #[must_use]
    pub fn digest(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.to_payload().as_bytes()))
    }

    /// The keys of a role.
    #[must_use]
    pub fn keys_of(&self, role: Role) -> Vec<&PublicKey> {
        self.keys.iter().filter(|entry| entry.roles.contains(&role)).map(|entry| &entry.public).collect()
    }

    /// What is wrong with it, for the person who makes one.
    pub fn check(&self) -> Result<(), String> {
        let no = |text: &str| Err(text.to_owned());
        if self.version == 0 || (self.version == 1) != self.prev_sha256.is_none() {
            return no("version 1 has no prev_sha256, every other one has");
        }
        if self.prev_sha256.as_deref().is_some_and(|digest| !is_sha256(digest)) {
            return no("prev_sha256 is not 64 lower-case hex digits");
        }
        if !(1..=KEYSET_KEYS_MAX).contains(&self.keys.len()) {
            return no("it must have one to sixteen keys");
        }
        // By its point: one secret behind a software key and a security key would be two signers.
        let distinct = ordered::set(self.keys.iter().map(|entry| entry.public.point()));
        if distinct.len() != self.keys.len() {
            return no("a key stands in it twice");
        }
        for entry in &self.keys {
            let roles = ordered::set(entry.roles.iter().copied());
            if roles.is_empty() || roles.len() != entry.roles.len() {
                return no("a key must have at least one role, and each only once");
            }
            if roles.contains(&Role::Root) && roles.contains(&Role::Ops) {
                return no("a key must not be root and ops: root keys are kept cold");
            }
        }
        self.check_thresholds()?;
        if self.hub_pins.len() == 1
            || self.hub_pins.len() > 4
            || !self.hub_pins.iter().all(|pin| is_sha256(pin))
        {
            return no("hub_pins must be none, or two to four SHA-256 with a spare among them");
        }
        let recipient =
            |text: &String| text.starts_with("age1") && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if self.escrow_recipients.len() > 4 || !self.escrow_recipients.iter().all(recipient) {
            return no("escrow_recipients must be at most four age recipients (age1…)");
        }
        Ok(())
    }

    fn check_thresholds(&self) -> Result<(), String> {
        let Thresholds { root, ops, destroy, release } = self.thresholds;
        let needs = [
            (Role::Root, "root", root, true),
            (Role::Ops, "ops", ops, false),
            (Role::Ops, "destroy", destroy, false),
            (Role::Release, "release", release, false),
        ];
        for (role, name, threshold, required) in needs {
            let keys = self.keys_of(role).len();
            // A role without keys is one that nobody has: its threshold is then only a number for later.
            let reachable = usize::from(threshold) <= keys || (keys == 0 && !required);
            if threshold == 0 || !reachable {
                return Err(format!("threshold {name} is {threshold}, and {keys} keys have that role"));
            }
        }
        if self.thresholds.destroy < self.thresholds.ops {
            return Err("threshold destroy must not be below ops".to_owned());
        }
        Ok(())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
