//! Signatures checked: who signed, before anybody asks what.
//!
//! Every signature must be good and by a trusted key, and no key counts twice: an unknown or bad one beside a
//! good one is a refusal, not a remark. Ed25519 is checked strictly: one signature, one encoding, no weak point.

use ed25519_dalek::Signature;
use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, SshSig};

use super::envelope::{Namespace, OpId, Signed};
use super::key::PublicKey;
use super::op::Op;
use super::rejection::Rejection;

/// A payload of which it is known who signed it. Only [`Signed::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    payload: Vec<u8>,
    signers: Vec<PublicKey>,
    namespace: Namespace,
    op_id: OpId,
}

/// An operation of which it is known who signed it. Only [`Verified::op`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOp {
    op: Op,
    signers: Vec<PublicKey>,
    op_id: OpId,
}

impl Signed {
    /// Checks every signature against the keys of the role that may sign this kind of payload.
    pub fn verify(self, namespace: Namespace, keys: &[&PublicKey]) -> Result<Verified, Rejection> {
        let mut signers: Vec<PublicKey> = Vec::with_capacity(self.signatures.len());
        for signature in &self.signatures {
            if signature.namespace() != namespace.as_str() {
                return Err(Rejection::NamespaceWrong);
            }
            if signature.hash_alg() != HashAlg::Sha512 {
                return Err(Rejection::HashWrong);
            }
            let claimed = PublicKey::load(signature.public_key().clone()).map_err(Rejection::KeyRefused)?;
            if signers.contains(&claimed) {
                return Err(Rejection::SignerTwice);
            }
            let key = keys.iter().find(|key| ***key == claimed).ok_or(Rejection::UnknownKey)?;
            check(key, namespace, &self.payload, signature)?;
            signers.push(claimed);
        }
        let op_id = self.op_id().clone();
        Ok(Verified { payload: self.payload, signers, namespace, op_id })
    }
}

/// One signature by one key that is trusted.
fn check(key: &PublicKey, namespace: Namespace, payload: &[u8], sig: &SshSig) -> Result<(), Rejection> {
    let message = SshSig::signed_data(namespace.as_str(), HashAlg::Sha512, payload)
        .map_err(|_| Rejection::EnvelopeMalformed)?;
    let expected = key.data().algorithm();
    if sig.algorithm() != expected {
        return Err(Rejection::BadSignature);
    }
    let bytes = sig.signature_bytes();
    let (raw, trailer) = bytes.split_at_checked(64).ok_or(Rejection::BadSignature)?;
    let raw: [u8; 64] = raw.try_into().map_err(|_| Rejection::BadSignature)?;
    let message = match (key.application(), trailer) {
        (None, []) => message,
        (Some(application), [flags, counter @ ..]) if counter.len() == 4 => {
            if flags & 1 == 0 {
                return Err(Rejection::NoTouch);
            }
            security_key_message(application, *flags, counter, &message)
        }
        _ => return Err(Rejection::BadSignature),
    };
    let strict = key.verifying().verify_strict(&message, &Signature::from_bytes(&raw));
    strict.map_err(|_| Rejection::BadSignature)
}

/// What a FIDO authenticator signs for SSH: hash of the application, flags, counter, hash of the message
/// (OpenSSH's PROTOCOL.u2f).
fn security_key_message(application: &str, flags: u8, counter: &[u8], message: &[u8]) -> Vec<u8> {
    let mut signed = Sha256::digest(application.as_bytes()).to_vec();
    signed.push(flags);
    signed.extend_from_slice(counter);
    signed.extend_from_slice(&Sha256::digest(message));
    signed
}

impl Verified {
    /// The bytes that were signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Who signed, each once.
    #[must_use]
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }

    /// Reads the operation, strictly, and checks that `key_id` names one of the signers.
    pub fn op(self) -> Result<VerifiedOp, Rejection> {
        if self.namespace != Namespace::Op {
            return Err(Rejection::NamespaceWrong);
        }
        let op = Op::parse(&self.payload)?;
        if !self.signers.iter().any(|signer| signer.fingerprint() == op.key_id) {
            return Err(Rejection::KeyMismatch);
        }
        Ok(VerifiedOp { op, signers: self.signers, op_id: self.op_id })
    }
}

impl VerifiedOp {
    /// What is ordered.
    #[must_use]
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// Who orders it.
    #[must_use]
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }

    /// The envelope's id.
    #[must_use]
    pub fn op_id(&self) -> &OpId {
        &self.op_id
    }
}
