//! A signature that was made elsewhere with `ssh-keygen -Y sign`: on an air-gapped machine, with a security key,
//! by a second person. It is taken as it is; that it fits the payload is checked where every signature is.

use std::path::Path;

use felhom_shared::signed::{PublicKey, ToBeSigned};
use ssh_key::SshSig;

use super::{Signer, SignerError};
use crate::files;

const SIG_FILE_BYTES_MAX: usize = 8 * 1024;

/// The content of a `.sig` file.
pub struct Detached {
    armored: String,
    public: PublicKey,
}

impl Detached {
    /// Reads a `.sig` file.
    pub fn read(path: &Path) -> Result<Self, SignerError> {
        Self::from_armored(files::read_text(path, SIG_FILE_BYTES_MAX)?, path)
    }

    /// Takes an armored signature that came from `path`.
    pub fn from_armored(armored: String, path: &Path) -> Result<Self, SignerError> {
        let unlike = || SignerError::NotASignature(path.to_owned());
        let sig = SshSig::from_pem(armored.as_bytes()).map_err(|_| unlike())?;
        let line =
            ssh_key::PublicKey::new(sig.public_key().clone(), "").to_openssh().map_err(|_| unlike())?;
        let public =
            line.parse().map_err(|source| SignerError::Key { from: path.display().to_string(), source })?;
        Ok(Self { armored, public })
    }
}

impl Signer for Detached {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, _message: &ToBeSigned) -> Result<String, SignerError> {
        Ok(self.armored.clone())
    }
}
