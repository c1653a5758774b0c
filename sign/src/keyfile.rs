//! Private keys in files: OpenSSH's own encrypted format, or the same inside an age file.
//!
//! Both open with stock programs (`ssh-keygen -y`, `age -d`), so no key is ever locked into this tool. Only
//! Ed25519 is read. The half of a security key that lies in a file signs nothing without the security key, which
//! ssh-agent and `ssh-keygen -Y sign` talk to; this module does not.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use ed25519_dalek::SigningKey;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{Algorithm, Cipher, Kdf, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::files::{self, FileError, Readers};
use crate::secret::{PassphraseError, Passphrases};

/// Largest key file, of either kind.
pub(crate) const KEY_FILE_BYTES_MAX: usize = 16 * 1024;
/// bcrypt rounds of a new OpenSSH file: four times what `ssh-keygen` takes when not told otherwise.
const BCRYPT_ROUNDS: u32 = 64;
/// Most rounds that a file may ask for.
const BCRYPT_ROUNDS_MAX: u32 = 1024;
/// scrypt work factor of a new age file: 2^18, 256 MiB. Fixed, so that a key made on a fast machine opens on a
/// slow one and a key made on a slow machine is no weaker.
const SCRYPT_LOG_N: u8 = 18;
/// Highest work factor that a file may ask for.
const SCRYPT_LOG_N_MAX: u8 = 20;
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1";
const OPENSSH_MAGIC: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// Why a key file was not read or made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum KeyFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error("{0} is no private key that can be used here: it must be an OpenSSH or an age file")]
    Unknown(PathBuf),
    #[error("{0} holds a key of another kind; only ssh-ed25519 is used here")]
    Algorithm(PathBuf),
    #[error(
        "{0} is the file half of a security key; load it into ssh-agent (`ssh-add {0}`) and give the .pub file \
         with --key, or sign with `ssh-keygen -Y sign` and give the .sig file"
    )]
    SecurityKey(PathBuf),
    #[error("{path} cannot be opened: {text}; the passphrase may be wrong")]
    Locked { path: PathBuf, text: String },
    #[error("{0} asks for far more work than any honest key file")]
    Work(PathBuf),
    #[error("{0} is damaged: its two halves do not belong together")]
    Halves(PathBuf),
    #[error("the new key cannot be made: {0}")]
    Make(String),
}

/// How a new key lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// OpenSSH's format, encrypted.
    OpenSsh,
    /// An age file, encrypted to a passphrase, with an OpenSSH key within.
    Age,
}

/// A private key. It has no `Debug`; dropping it wipes it.
pub struct SecretKey {
    key: SigningKey,
    comment: String,
}

impl SecretKey {
    /// A new key from the system's random source.
    pub fn generate(comment: &str) -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| KeyFileError::Make(error.to_string()))?;
        Ok(Self { key: SigningKey::from_bytes(&seed), comment: comment.to_owned() })
    }

    /// Reads a key file of either kind; asks for a passphrase where one is needed.
    pub fn read(path: &Path, passphrases: &mut Passphrases) -> Result<Self, KeyFileError> {
        let bytes = files::read(path, KEY_FILE_BYTES_MAX)?;
        if !bytes.starts_with(AGE_MAGIC) {
            return Self::from_openssh(path, &bytes, passphrases);
        }
        let passphrase = passphrases.existing(path)?;
        let opened = open_age(path, &bytes, &passphrase)?;
        // What lies within an age file is not encrypted again.
        Self::from_openssh(path, &opened, passphrases)
    }

    fn from_openssh(path: &Path, pem: &[u8], passphrases: &mut Passphrases) -> Result<Self, KeyFileError> {
        let unknown = || KeyFileError::Unknown(path.to_owned());
        let text = std::str::from_utf8(pem).map_err(|_| unknown())?;
        if !text.trim_start().starts_with(OPENSSH_MAGIC) {
            return Err(unknown());
        }
        let other = || KeyFileError::Algorithm(path.to_owned());
        let mut key = PrivateKey::from_openssh(text.trim()).map_err(|error| match error {
            ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => other(),
            _ => unknown(),
        })?;
        match key.algorithm() {
            Algorithm::Ed25519 => {}
            Algorithm::SkEd25519 => return Err(KeyFileError::SecurityKey(path.to_owned())),
            _ => return Err(other()),
        }
        if key.is_encrypted() {
            if matches!(key.kdf(), Kdf::Bcrypt { rounds, .. } if *rounds > BCRYPT_ROUNDS_MAX) {
                return Err(KeyFileError::Work(path.to_owned()));
            }
            let passphrase = passphrases.existing(path)?;
            let locked = |error: ssh_key::Error| KeyFileError::Locked {
                path: path.to_owned(),
                text: error.to_string(),
            };
            key = key.decrypt(passphrase.as_bytes()).map_err(locked)?;
        }
        let KeypairData::Ed25519(pair) = key.key_data() else { return Err(unknown()) };
        let seed = Zeroizing::new(pair.private.to_bytes());
        let secret = SigningKey::from_bytes(&seed);
        if secret.verifying_key().as_bytes() != &pair.public.0 {
            return Err(KeyFileError::Halves(path.to_owned()));
        }
        Ok(Self { key: secret, comment: key.comment().to_owned() })
    }

    /// Writes the key, encrypted, into a file that was not there.
    pub fn write_new(&self, path: &Path, kind: Container, passphrase: &str) -> Result<(), KeyFileError> {
        let plain = self.to_openssh()?;
        let bytes = match kind {
            Container::OpenSsh => {
                let pem = encrypt(&plain, passphrase)?.to_openssh(LineEnding::LF).map_err(|e| make(&e))?;
                Zeroizing::new(pem.as_bytes().to_vec())
            }
            Container::Age => {
                let pem = plain.to_openssh(LineEnding::LF).map_err(|error| make(&error))?;
                seal_age(pem.as_bytes(), passphrase)?
            }
        };
        Ok(files::write_new(path, &bytes, Readers::Owner)?)
    }

    /// The line of an `authorized_keys` file: algorithm, key, comment.
    #[must_use]
    pub fn public_line(&self) -> String {
        let data = Ed25519PublicKey(self.key.verifying_key().to_bytes());
        let public = ssh_key::PublicKey::new(data.into(), self.comment.clone());
        public.to_openssh().expect("a key of 32 bytes always has a text")
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    fn to_openssh(&self) -> Result<PrivateKey, KeyFileError> {
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(self.key.verifying_key().to_bytes()),
            private: Ed25519PrivateKey::from_bytes(&Zeroizing::new(self.key.to_bytes())),
        };
        PrivateKey::new(KeypairData::Ed25519(pair), self.comment.clone()).map_err(|error| make(&error))
    }
}

/// Whether these bytes are a private key file of either kind.
pub(crate) fn is_private(bytes: &[u8]) -> bool {
    bytes.starts_with(AGE_MAGIC) || bytes.windows(OPENSSH_MAGIC.len()).any(|w| w == OPENSSH_MAGIC.as_bytes())
}

fn make(error: &dyn std::fmt::Display) -> KeyFileError {
    KeyFileError::Make(error.to_string())
}

fn encrypt(plain: &PrivateKey, passphrase: &str) -> Result<PrivateKey, KeyFileError> {
    let mut random = [0; 20];
    getrandom::fill(&mut random).map_err(|error| KeyFileError::Make(error.to_string()))?;
    let (salt, check) = random.split_at(16);
    let check = u32::from_be_bytes(check.try_into().expect("20 bytes less 16 are 4"));
    let kdf = Kdf::Bcrypt { salt: salt.to_vec(), rounds: BCRYPT_ROUNDS };
    plain.encrypt_with(Cipher::Aes256Ctr, kdf, check, passphrase.as_bytes()).map_err(|error| make(&error))
}

fn seal_age(plain: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase));
    recipient.set_work_factor(SCRYPT_LOG_N);
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| make(&error))?;
    let mut sealed = Zeroizing::new(Vec::new());
    let mut writer = encryptor.wrap_output(&mut *sealed).map_err(|error| make(&error))?;
    writer.write_all(plain).map_err(|error| make(&error))?;
    writer.finish().map_err(|error| make(&error))?;
    Ok(sealed)
}

fn open_age(path: &Path, sealed: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let locked =
        |text: String| KeyFileError::Locked { path: path.to_owned(), text: text.trim_end().to_owned() };
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase));
    identity.set_max_work_factor(SCRYPT_LOG_N_MAX);
    let decryptor = age::Decryptor::new(sealed).map_err(|error| locked(error.to_string()))?;
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let reader = reader.map_err(|error| match error {
        age::DecryptError::ExcessiveWork { .. } => KeyFileError::Work(path.to_owned()),
        other => locked(other.to_string()),
    })?;
    let limit = u64::try_from(KEY_FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut plain = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX));
    reader.take(limit).read_to_end(&mut plain).map_err(|error| locked(error.to_string()))?;
    Ok(plain)
}
