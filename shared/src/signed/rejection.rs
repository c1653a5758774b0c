//! Why an envelope, an operation or a keyset is not accepted: stable words for reports, sentences for people.
//!
//! No rejection repeats what the envelope says: it may be written by anybody.

use super::key::KeyRefusal;

/// A reason. Ordered as the pipeline asks: what comes first is decided before anything later is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each is its documentation")]
pub enum Rejection {
    #[error("the envelope is larger than 32 KiB, or its payload larger than 16 KiB")]
    TooLarge,
    #[error(
        "the envelope is not one line of payload followed by SSH signatures, each as ssh-keygen -Y sign prints it"
    )]
    EnvelopeMalformed,
    #[error("the envelope carries {0} signatures; one to four are allowed")]
    SignatureCount(usize),
    #[error("a signature is made for another purpose (namespace) than this one")]
    NamespaceWrong,
    #[error("a signature does not use sha512")]
    HashWrong,
    #[error("a signature's key is refused: {0}")]
    KeyRefused(KeyRefusal),
    #[error("two signatures are by the same key")]
    SignerTwice,
    #[error("a signature is by a key that the box does not trust for this")]
    UnknownKey,
    #[error("a security key did not ask for a touch")]
    NoTouch,
    #[error("a signature does not match the payload")]
    BadSignature,
    #[error("the payload is not an operation of this version: {0}")]
    OpMalformed(&'static str),
    #[error(
        "the payload does not encode to the same bytes again: order, spaces, escapes and the newline at its end are fixed"
    )]
    NotCanonical,
    #[error("this agent does not know the operation")]
    OpUnknown,
    #[error("key_id names another key than the one that signed")]
    KeyMismatch,
    #[error("the operation is for another host")]
    WrongHost,
    #[error("the operation's guest is not one of this host's, or it names one and must not")]
    UnknownGuest,
    #[error("{given} of {needed} signatures that this operation needs")]
    Threshold { needed: u8, given: u8 },
    #[error("expires_at is not after issued_at")]
    WindowEmpty,
    #[error("the operation would be valid for longer than is allowed for what it does")]
    LifeTooLong,
    #[error("the operation is issued in the future: the box's clock or the signer's is wrong")]
    NotYet,
    #[error("the operation's time is over")]
    Expired,
    #[error("the box's clock is behind what it has seen before; the operation waits until it is right")]
    ClockBehind,
    #[error("the operation was issued before operations were voided, or before the ledger was cleared")]
    Stale,
    #[error("this operation, or one with its nonce, was taken before")]
    Replayed,
    #[error(
        "the box's ledger is full; nothing is forgotten to make room. Void old operations with ops.void_before"
    )]
    LedgerFull,
    #[error(
        "the box's ledger does not match its own hashes; no signed operation runs until a person has looked"
    )]
    LedgerDamaged,
    #[error(
        "the hub has seen more of this box's ledger than is here: the box was rolled back. ledger.rebase, signed by a root key, resumes"
    )]
    LedgerRolledBack,
    #[error("the box has no trust root: set trust.genesis_sha256, and publish the keyset on the hub")]
    NoTrustRoot,
    #[error("the document in force does not ask for this")]
    NotAskedFor,
    #[error("it is no longer what was signed for: {0}")]
    ExpectMismatch(&'static str),
    #[error("keyset: {0}")]
    KeysetMalformed(String),
    #[error("keyset: it is not the one after the trusted one")]
    KeysetVersion,
    #[error("keyset: prev_sha256 is not the digest of the trusted one")]
    KeysetPrev,
    #[error("keyset: it is not the first keyset that this box was told to trust")]
    KeysetGenesis,
}

impl Rejection {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::EnvelopeMalformed => "envelope_malformed",
            Self::SignatureCount(_) => "signature_count",
            Self::NamespaceWrong => "namespace_wrong",
            Self::HashWrong => "hash_wrong",
            Self::KeyRefused(_) => "key_refused",
            Self::SignerTwice => "signer_twice",
            Self::UnknownKey => "unknown_key",
            Self::NoTouch => "no_touch",
            Self::BadSignature => "bad_signature",
            Self::OpMalformed(_) => "op_malformed",
            Self::NotCanonical => "not_canonical",
            Self::OpUnknown => "op_unknown",
            Self::KeyMismatch => "key_mismatch",
            Self::WrongHost => "wrong_host",
            Self::UnknownGuest => "unknown_guest",
            Self::Threshold { .. } => "threshold",
            Self::WindowEmpty => "window_empty",
            Self::LifeTooLong => "life_too_long",
            Self::NotYet => "not_yet",
            Self::Expired => "expired",
            Self::ClockBehind => "clock_behind",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::LedgerFull => "ledger_full",
            Self::LedgerDamaged => "ledger_damaged",
            Self::LedgerRolledBack => "ledger_rolled_back",
            Self::NoTrustRoot => "no_trust_root",
            Self::NotAskedFor => "not_asked_for",
            Self::ExpectMismatch(_) => "expect_mismatch",
            Self::KeysetMalformed(_) => "keyset_malformed",
            Self::KeysetVersion => "keyset_version",
            Self::KeysetPrev => "keyset_prev",
            Self::KeysetGenesis => "keyset_genesis",
        }
    }

    /// Whether the same envelope may be accepted later without being signed anew: it is kept and tried again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::ClockBehind | Self::NotYet | Self::NoTrustRoot)
    }
}
