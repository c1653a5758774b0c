//! The envelope: a payload line and the armored SSH signatures over it, one after the other in one text.
//!
//! `cat op.json op.json.sig > op.signed` makes one, and so does `felhom-sign`. Decoding believes nothing; it only
//! takes the text apart, and refuses every byte that is neither payload nor the one spelling of a signature.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, LineEnding, SshSig};

use super::rejection::Rejection;
use crate::limits::{ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX, SIGNATURES_MAX};

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
const END: &[u8] = b"-----END SSH SIGNATURE-----\n";

/// What a signature is for. A signature for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// `felhom-op-v1`: an operation.
    Op,
    /// `felhom-keyset-v1`: who may sign.
    Keyset,
}

impl Namespace {
    /// The word in the signature.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Op => "felhom-op-v1",
            Self::Keyset => "felhom-keyset-v1",
        }
    }
}

/// SHA-256 of a whole envelope, lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpId(String);

impl OpId {
    /// The id of an envelope. The hub computes it too, without reading what is inside.
    #[must_use]
    pub fn of(envelope: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(envelope)))
    }

    /// 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OpId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex { Ok(Self(text.to_owned())) } else { Err("an operation's id is 64 lower-case hex digits") }
    }
}

impl TryFrom<String> for OpId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<OpId> for String {
    fn from(id: OpId) -> String {
        id.0
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An envelope taken apart. Nothing in it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub(super) payload: Vec<u8>,
    pub(super) signatures: Vec<SshSig>,
    op_id: OpId,
}

impl Signed {
    /// Takes an envelope apart.
    pub fn decode(envelope: &[u8]) -> Result<Self, Rejection> {
        if envelope.len() > ENVELOPE_BYTES_MAX {
            return Err(Rejection::TooLarge);
        }
        let line = envelope.iter().position(|byte| *byte == b'\n').ok_or(Rejection::EnvelopeMalformed)?;
        let (payload, mut rest) = envelope.split_at(line + 1);
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Rejection::TooLarge);
        }
        let mut signatures = Vec::new();
        while !rest.is_empty() {
            let (armor, after) = split_armor(rest).ok_or(Rejection::EnvelopeMalformed)?;
            signatures.push(read_armor(armor)?);
            rest = after;
        }
        if !(1..=SIGNATURES_MAX).contains(&signatures.len()) {
            return Err(Rejection::SignatureCount(signatures.len()));
        }
        Ok(Self { payload: payload.to_vec(), signatures, op_id: OpId::of(envelope) })
    }

    /// Puts an envelope together from a payload and armored signatures.
    #[must_use]
    pub fn join(payload: &str, armored: &[String]) -> String {
        let mut envelope = payload.to_owned();
        for armor in armored {
            envelope.push_str(armor);
        }
        envelope
    }

    /// The payload, believed by nobody: for showing it to a person who is told so.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Fingerprints of the keys that the signatures claim to be by.
    #[must_use]
    pub fn claimed_signers(&self) -> Vec<String> {
        let fingerprint = |sig: &SshSig| sig.public_key().fingerprint(HashAlg::Sha256).to_string();
        self.signatures.iter().map(fingerprint).collect()
    }

    /// The envelope's id.
    #[must_use]
    pub fn op_id(&self) -> &OpId {
        &self.op_id
    }
}

fn split_armor(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if !text.starts_with(BEGIN) {
        return None;
    }
    let end = text.windows(END.len()).position(|window| window == END)? + END.len();
    Some(text.split_at(end))
}

/// Reads a signature, and refuses every spelling of it but the one that ssh-keygen writes.
pub(super) fn read_armor(armor: &[u8]) -> Result<SshSig, Rejection> {
    let signature = SshSig::from_pem(armor).map_err(|_| Rejection::EnvelopeMalformed)?;
    let again = signature.to_pem(LineEnding::LF).map_err(|_| Rejection::EnvelopeMalformed)?;
    let same =
        again.as_bytes() == armor || (again.as_bytes() == armor.trim_ascii_end() && armor.ends_with(b"\n"));
    if !same || signature.version() != SshSig::VERSION || !signature.reserved().is_empty() {
        return Err(Rejection::EnvelopeMalformed);
    }
    Ok(signature)
}

/// What a key signs for a payload. Made only here, from a purpose and a payload: no signer is asked for a
/// signature over anything else.
pub struct ToBeSigned {
    bytes: Vec<u8>,
    namespace: Namespace,
}

impl ToBeSigned {
    /// Prepares a payload.
    #[must_use]
    pub fn new(namespace: Namespace, payload: &str) -> Self {
        let bytes = SshSig::signed_data(namespace.as_str(), HashAlg::Sha512, payload.as_bytes())
            .expect("the namespace is not empty and the lengths fit");
        Self { bytes, namespace }
    }

    /// The bytes for the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For what.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }
}
