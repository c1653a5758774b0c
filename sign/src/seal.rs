//! From a payload and signers to an envelope, and back.
//!
//! Every signature is checked here against the payload and the signer's own key before it leaves: an agent that
//! signs something else, a `.sig` of another file or for another purpose, does not get into an envelope.

use std::path::Path;

use felhom_shared::signed::{Namespace, PublicKey, Rejection, Signed, ToBeSigned};

use crate::signer::{Detached, Signer, SignerError};

/// Why there is no envelope.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum SealError {
    #[error(
        "there is nobody to sign; name a key with --key, or a signature made elsewhere with --also-signed"
    )]
    NoSigner,
    #[error("no signature by {key}")]
    Signer { key: String, source: SignerError },
    #[error("the signature by {key} is not one for this payload")]
    Wrong { key: String, source: Rejection },
    #[error("the signatures do not make an envelope")]
    Envelope(#[source] Rejection),
}

/// Signs `payload` with every signer, checks the signatures, and puts the envelope together.
pub fn seal(namespace: Namespace, payload: &str, signers: &[Box<dyn Signer>]) -> Result<String, SealError> {
    if signers.is_empty() {
        return Err(SealError::NoSigner);
    }
    let message = ToBeSigned::new(namespace, payload);
    let mut armored = Vec::with_capacity(signers.len());
    for signer in signers {
        let key = signer.public().fingerprint();
        let signature =
            signer.sign(&message).map_err(|source| SealError::Signer { key: key.clone(), source })?;
        let alone = Signed::join(payload, std::slice::from_ref(&signature));
        Signed::decode(alone.as_bytes())
            .and_then(|signed| signed.verify(namespace, &[signer.public()]))
            .map_err(|source| SealError::Wrong { key, source })?;
        armored.push(signature);
    }
    let envelope = Signed::join(payload, &armored);
    let keys: Vec<&PublicKey> = signers.iter().map(|signer| signer.public()).collect();
    Signed::decode(envelope.as_bytes())
        .and_then(|signed| signed.verify(namespace, &keys))
        .map_err(SealError::Envelope)?;
    Ok(envelope)
}

/// Whether this text has a signature in it, and is thus an envelope rather than a payload.
#[must_use]
pub fn is_envelope(text: &str) -> bool {
    text.contains("-----BEGIN SSH SIGNATURE-----")
}

/// Takes an envelope apart again: its payload, and its signatures as signers of that payload.
pub fn unseal(envelope: &str, path: &Path) -> Result<(String, Vec<Box<dyn Signer>>), SealError> {
    let signed = Signed::decode(envelope.as_bytes()).map_err(SealError::Envelope)?;
    let (payload, mut rest) = envelope.split_at(signed.unverified_payload().len());
    let mut signers: Vec<Box<dyn Signer>> = Vec::new();
    while let Some(end) = rest.find("-----END SSH SIGNATURE-----\n") {
        let (armored, after) = rest.split_at(end + "-----END SSH SIGNATURE-----\n".len());
        let detached = Detached::from_armored(armored.to_owned(), path)
            .map_err(|source| SealError::Signer { key: "the envelope".to_owned(), source })?;
        signers.push(Box::new(detached));
        rest = after;
    }
    Ok((payload.to_owned(), signers))
}
