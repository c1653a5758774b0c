//! Why a command did not do its work, its exit code, and what to do next.

use felhom_shared::signed::Rejection;

use crate::compose::ComposeError;
use crate::confirm::NotConfirmed;
use crate::files::FileError;
use crate::inventory::InventoryError;
use crate::keyfile::KeyFileError;
use crate::keyset_edit::EditError;
#[cfg(feature = "network")]
use crate::network::NetworkError;
use crate::pending::{ListError, Unsignable};
use crate::seal::SealError;
use crate::secret::PassphraseError;
use crate::signer::SignerError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const NOT_VERIFIED: u8 = 4;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum CliError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[cfg(feature = "network")]
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    NotConfirmed(#[from] NotConfirmed),
    #[error("it is not signed")]
    Compose(#[from] ComposeError),
    #[error("step {number} cannot be signed")]
    Unsignable { number: usize, source: Unsignable },
    #[error("it is not signed ({})", .0.code())]
    Refused(#[source] Rejection),
    #[error("{what} is not verified ({})", source.code())]
    NotVerified { what: String, source: Rejection },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unfinished(String),
}

impl CliError {
    /// 1 failed, 2 usage, 3 refused or not confirmed, 4 not verified.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotConfirmed(_)
            | Self::Compose(_)
            | Self::Unsignable { .. }
            | Self::Refused(_)
            | Self::Edit(EditError::Refused(_) | EditError::KeyAbsent(_) | EditError::KeyPresent(_)) => {
                REFUSED
            }
            Self::NotVerified { .. } => NOT_VERIFIED,
            Self::Usage(_) | Self::Edit(EditError::Threshold(_)) => USAGE,
            _ => FAILED,
        }
    }

    /// What to do next, where the text does not say it.
    #[must_use]
    pub fn next(&self) -> Option<&'static str> {
        match self {
            Self::KeyFile(KeyFileError::Locked { .. })
            | Self::Signer(SignerError::KeyFile(KeyFileError::Locked { .. })) => Some(
                "try again; `ssh-keygen -y -f FILE` tells whether an OpenSSH key opens with the passphrase",
            ),
            Self::Passphrase(PassphraseError::Read { .. }) => {
                Some("run it on a terminal, or give --passphrase-file")
            }
            Self::NotConfirmed(_) => Some("read what would be done again, and start over"),
            Self::Compose(ComposeError::Malformed(Rejection::OpUnknown)) => Some(
                "check the operation's word, or use the felhom-sign that belongs to this agent's version",
            ),
            Self::Compose(ComposeError::Malformed(_)) => {
                Some("`felhom-sign inspect FILE` shows it; docs/signing.md shows every operation's form")
            }
            Self::NotVerified { .. } => {
                Some("do not act on it; `felhom-sign inspect FILE` shows what it claims, unverified")
            }
            Self::Unsignable { .. } => {
                Some("look at the box itself; a hub that lists this is broken or hostile")
            }
            Self::Seal(SealError::Wrong { .. }) => Some(
                "was it made of this very file, with `ssh-keygen -Y sign -n` and the namespace of docs/signing.md?",
            ),
            _ => None,
        }
    }
}
