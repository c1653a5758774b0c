//! Who signs: a key file, ssh-agent, or somebody elsewhere whose `.sig` file is at hand.
//!
//! A signer is asked for a signature over a [`ToBeSigned`], which only the contract's library makes, from a purpose
//! and a payload. There is no raw signing, and no argument that says which public key the signature is for:
//! mixing up the two has cost other Ed25519 libraries their private keys. [`crate::seal`] is the only caller,
//! and checks every signature before it is given to anybody.

mod detached;
mod file;
mod ssh_agent;

use std::path::{Path, PathBuf};

use felhom_shared::signed::{KeyRefusal, Namespace, PublicKey, ToBeSigned};
use ssh_key::{HashAlg, LineEnding, Signature, SshSig};

pub use detached::Detached;
pub use file::FileKey;
pub use ssh_agent::{AgentError, AgentKey};

use crate::files::{self, FileError};
use crate::keyfile::{self, KEY_FILE_BYTES_MAX, KeyFileError, SecretKey};
use crate::secret::Passphrases;

/// Something that signs.
pub trait Signer {
    /// Whose signature it gives.
    fn public(&self) -> &PublicKey;

    /// Signs; the answer is an armored SSH signature that ends with a newline.
    fn sign(&self, message: &ToBeSigned) -> Result<String, SignerError>;
}

/// Why there is no signer, or no signature.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum SignerError {
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("ssh-agent gives no signature")]
    Agent(#[from] AgentError),
    #[error("{from} is no key that may sign")]
    Key { from: String, source: KeyRefusal },
    #[error("{0} is not a signature as `ssh-keygen -Y sign` writes one")]
    NotASignature(PathBuf),
    #[error("the signature cannot be written down: {0}")]
    Armor(String),
}

/// Opens what `--key` names: a private key file; a public key file or a fingerprint whose other half is in
/// ssh-agent.
pub fn open(key: &str, passphrases: &mut Passphrases) -> Result<Box<dyn Signer>, SignerError> {
    if key.starts_with("SHA256:") {
        return Ok(Box::new(AgentKey::with_fingerprint(key)?));
    }
    let path = Path::new(key);
    if keyfile::is_private(&files::read(path, KEY_FILE_BYTES_MAX)?) {
        return Ok(Box::new(FileKey::new(SecretKey::read(path, passphrases)?)?));
    }
    Ok(Box::new(AgentKey::with_public(public_key(key)?)?))
}

/// A public key: the line itself, or a file that holds it.
pub fn public_key(text: &str) -> Result<PublicKey, SignerError> {
    let refused = |source| SignerError::Key { from: text.to_owned(), source };
    if text.starts_with("ssh-") || text.starts_with("sk-ssh-") {
        return text.parse().map_err(refused);
    }
    files::read_text(Path::new(text), KEY_FILE_BYTES_MAX)?.parse().map_err(refused)
}

/// Writes a signature down as `ssh-keygen -Y sign` does.
fn armor(public: &PublicKey, namespace: Namespace, signature: Signature) -> Result<String, SignerError> {
    let failed = |error: ssh_key::Error| SignerError::Armor(error.to_string());
    let sig = SshSig::new(public.data().clone(), namespace.as_str(), HashAlg::Sha512, signature);
    let mut text = sig.and_then(|sig| sig.to_pem(LineEnding::LF)).map_err(failed)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
