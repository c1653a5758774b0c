//! A signer whose private key was read from a file.

use ed25519_dalek::Signer as _;
use felhom_shared::signed::{PublicKey, ToBeSigned};
use ssh_key::{Algorithm, Signature};

use super::{Signer, SignerError, armor};
use crate::keyfile::SecretKey;

/// A private key in this program's memory.
pub struct FileKey {
    secret: SecretKey,
    public: PublicKey,
}

impl FileKey {
    /// Takes a key that was read.
    pub fn new(secret: SecretKey) -> Result<Self, SignerError> {
        let line = secret.public_line();
        let public =
            line.parse().map_err(|source| SignerError::Key { from: "the key file".to_owned(), source })?;
        Ok(Self { secret, public })
    }
}

impl Signer for FileKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &ToBeSigned) -> Result<String, SignerError> {
        // The signing key derives its public half itself; none is passed in.
        let raw = self.secret.signing_key().sign(message.as_bytes());
        let signature = Signature::new(Algorithm::Ed25519, raw.to_bytes().to_vec())
            .map_err(|error| SignerError::Armor(error.to_string()))?;
        armor(&self.public, message.namespace(), signature)
    }
}
