//! An operation: exactly seven fields, in one order, in one spelling.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::canonical;
use super::rejection::Rejection;
use super::request::Request;
use crate::id::{GuestId, HostId};

/// To whom it is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The box.
    pub host_id: HostId,
    /// The guest; `null` for an operation on the host, and never left out.
    #[serde(deserialize_with = "present")]
    pub guest_id: Option<GuestId>,
}

/// An `Option` without the attribute may be left out; a missing guest is not the same as `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<GuestId>, D::Error> {
    Option::deserialize(deserializer)
}

/// Sixteen random bytes that are used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(pub [u8; 16]);

impl TryFrom<String> for Nonce {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a nonce is 32 lower-case hex digits")
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> String {
        HEXLOWER.encode(&nonce.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// What is to be done to whom: an operation before somebody signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What.
    pub request: Request,
    /// To whom.
    pub target: Target,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What.
    pub request: Request,
    /// To whom.
    pub target: Target,
    /// Used once.
    pub nonce: Nonce,
    /// From when, milliseconds since 1970 by the signer's clock.
    pub issued_at: u64,
    /// Until when, milliseconds since 1970.
    pub expires_at: u64,
    /// Fingerprint of one of the signers: a hint for people; keys are matched by their material.
    pub key_id: String,
}

/// The seven fields as they stand in the payload.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpFields {
    op: String,
    target: Target,
    params: Box<RawValue>,
    nonce: Nonce,
    issued_at: u64,
    expires_at: u64,
    key_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftFields {
    op: String,
    target: Target,
    params: Box<RawValue>,
}

impl Op {
    /// Reads a payload strictly: see [`Rejection::OpMalformed`], [`Rejection::NotCanonical`].
    pub fn parse(payload: &[u8]) -> Result<Self, Rejection> {
        let malformed = |error: serde_json::Error| Rejection::OpMalformed(word_of(&error));
        let fields: OpFields = canonical::decode(payload, malformed)?;
        let op = Self {
            request: read_request(&fields.op, &fields.params)?,
            target: fields.target,
            nonce: fields.nonce,
            issued_at: fields.issued_at,
            expires_at: fields.expires_at,
            key_id: fields.key_id,
        };
        // The parameters are raw text in `OpFields`; what they say must have one spelling too.
        if op.to_payload().as_bytes() == payload { Ok(op) } else { Err(Rejection::NotCanonical) }
    }

    /// The bytes to sign: one line.
    #[must_use]
    pub fn to_payload(&self) -> String {
        canonical::encode(&OpFields {
            op: self.request.word().to_owned(),
            target: self.target,
            params: write_params(&self.request),
            nonce: self.nonce,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            key_id: self.key_id.clone(),
        })
    }
}

impl Draft {
    /// Reads `{"op","target","params"}`; spacing does not matter, nothing here is signed.
    pub fn parse(text: &[u8]) -> Result<Self, Rejection> {
        let fields: DraftFields =
            serde_json::from_slice(text).map_err(|error| Rejection::OpMalformed(word_of(&error)))?;
        Ok(Self { request: read_request(&fields.op, &fields.params)?, target: fields.target })
    }

    /// Its JSON: `{"op","target","params"}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let fields = DraftFields {
            op: self.request.word().to_owned(),
            target: self.target,
            params: write_params(&self.request),
        };
        serde_json::to_string(&fields).expect("a draft is a struct of texts and numbers")
    }

    /// The operation with what only the signer can give.
    #[must_use]
    pub fn into_op(self, nonce: Nonce, issued_at: u64, expires_at: u64, key_id: String) -> Op {
        Op { request: self.request, target: self.target, nonce, issued_at, expires_at, key_id }
    }
}

fn read_request(word: &str, params: &RawValue) -> Result<Request, Rejection> {
    fn read<T: for<'de> Deserialize<'de>>(params: &RawValue) -> Result<T, Rejection> {
        serde_json::from_str(params.get()).map_err(|error| Rejection::OpMalformed(word_of(&error)))
    }
    Ok(match word {
        "guest.destroy" => Request::DestroyGuest(read(params)?),
        "guest.rollback" => Request::RollbackGuest(read(params)?),
        "guest.restore" => Request::RestoreGuest(read(params)?),
        "guest.create_privileged" => Request::CreatePrivileged(read(params)?),
        "drive.format" => Request::FormatDrive(read(params)?),
        "storage.assign" => Request::AssignStorage(read(params)?),
        "storage.detach" => Request::DetachStorage(read(params)?),
        "storage.replace" => Request::ReplaceDrive(read(params)?),
        "clock.reset" => Request::ClockReset(read(params)?),
        "ops.void_before" => Request::VoidBefore(read(params)?),
        "ledger.rebase" => Request::LedgerRebase(read(params)?),
        "generation.reset" => Request::ResetGeneration(read(params)?),
        _ => return Err(Rejection::OpUnknown),
    })
}

fn write_params(request: &Request) -> Box<RawValue> {
    let raw = match request {
        Request::DestroyGuest(params) | Request::CreatePrivileged(params) => {
            serde_json::value::to_raw_value(params)
        }
        Request::RollbackGuest(params) => serde_json::value::to_raw_value(params),
        Request::RestoreGuest(params) => serde_json::value::to_raw_value(params),
        Request::FormatDrive(params) => serde_json::value::to_raw_value(params),
        Request::AssignStorage(params) => serde_json::value::to_raw_value(params),
        Request::DetachStorage(params) => serde_json::value::to_raw_value(params),
        Request::ReplaceDrive(params) => serde_json::value::to_raw_value(params),
        Request::ClockReset(params) => serde_json::value::to_raw_value(params),
        Request::VoidBefore(params) => serde_json::value::to_raw_value(params),
        Request::LedgerRebase(params) => serde_json::value::to_raw_value(params),
        Request::ResetGeneration(params) => serde_json::value::to_raw_value(params),
    };
    raw.expect("parameters are structs of texts and numbers")
}

/// What kind of mistake the parser met, without the words of the payload.
fn word_of(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    let kinds = [
        ("unknown field", "it has a field that does not belong"),
        ("missing field", "a field is missing"),
        ("duplicate field", "a field stands twice"),
        ("trailing characters", "something follows its end"),
        ("recursion limit", "it is nested too deep"),
        ("is not a valid", "a name, number or id has the wrong form"),
    ];
    let found = kinds.iter().find(|(words, _)| text.contains(words));
    found.map_or("it is not JSON of the right form", |(_, sentence)| sentence)
}
