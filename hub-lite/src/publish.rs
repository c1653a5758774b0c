//! Publishing: a document becomes the next generation of a host. Checked with the types the box uses, and
//! refused where the box would refuse it.

use felhom_shared::desired::{DesiredError, DesiredState, digest};
use felhom_shared::id::{Generation, Sha256Hex};
use felhom_shared::secret::{SecretName, SecretRef};
use rusqlite::Connection;

use crate::checks::conflict::{self, held};
use crate::secrets;
use crate::store::desired_history::{self, Published};
use crate::store::hosts::Host;
use crate::store::{StoreError, audit};

/// Why a document is not published. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is no desired state.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// It would leave the box without a guest.
    #[error(
        "the document names no guest, generation {0} names some; give guests up one by one (`presence: absent`)"
    )]
    EmptyOverNonempty(Generation),
    /// It says what the current one says.
    #[error("nothing has changed since generation {0}")]
    Unchanged(Generation),
    /// The box is ahead of this hub.
    #[error(
        "the box has received {received}, this hub holds {held}: the hub was probably restored from a backup. Compare, \
         then run `felhom-hub desired resume {name}` with the document that is right"
    )]
    Conflict {
        /// What the box has.
        received: String,
        /// What the hub has.
        held: String,
        /// The host.
        name: String,
    },
    /// It names a secret that is not here.
    #[error(
        "the document names the secret {secret} with the SHA-256 {}…, which this hub does not hold for {name}: put it here \
         first with `felhom-hub secret put {name} {secret}`",
        sha256.short()
    )]
    SecretMissing {
        /// Which.
        secret: SecretName,
        /// Of which value.
        sha256: Sha256Hex,
        /// The host.
        name: String,
    },
    /// There is nothing to resume.
    #[error("{0} is not in conflict with this hub; use `felhom-hub desired publish {0} FILE`")]
    NoConflict(String),
    /// The store.
    #[error("the document could not be stored")]
    Store(#[from] StoreError),
}

impl PublishError {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Desired(error) => error.code(),
            Self::EmptyOverNonempty(_) => "empty_over_nonempty",
            Self::Unchanged(_) => "unchanged",
            Self::Conflict { .. } => "conflict",
            Self::NoConflict(_) => "no_conflict",
            Self::SecretMissing { .. } => "secret_missing",
            Self::Store(_) => "store_failed",
        }
    }
}

/// Who publishes, and why.
#[derive(Debug, Clone)]
pub struct Author {
    /// Name of the operator or of the system user.
    pub name: String,
    /// A word for the history.
    pub note: Option<String>,
}

/// Publishes `bytes` as the next generation of `host`. With `resume`, over a box that is ahead of the hub.
pub fn publish(
    sql: &Connection,
    host: &Host,
    bytes: &[u8],
    author: &Author,
    resume: bool,
) -> Result<Published, PublishError> {
    // White space around a document is lost when it travels inside another; it must not be part of the digest.
    let bytes = bytes.trim_ascii().to_vec();
    let state = DesiredState::from_json(&bytes)?;
    let current = desired_history::current(sql, host.host_id)?;
    if resume && !host.in_conflict() {
        return Err(PublishError::NoConflict(host.name.clone()));
    }
    if host.in_conflict() && !resume {
        let (received, held) = (held(host.received), held(host.desired));
        return Err(PublishError::Conflict { received, held, name: host.name.clone() });
    }
    let digest = digest(&bytes);
    if let Some(current) = &current {
        if current.digest == digest && !resume {
            return Err(PublishError::Unchanged(current.generation));
        }
        let had_guests = DesiredState::from_json(&current.bytes).is_ok_and(|state| !state.guests.is_empty());
        if had_guests && state.guests.is_empty() {
            return Err(PublishError::EmptyOverNonempty(current.generation));
        }
    }
    if let Some(missing) = secrets::missing(sql, host.host_id, &state)? {
        let SecretRef { secret, sha256 } = missing;
        return Err(PublishError::SecretMissing { secret, sha256, name: host.name.clone() });
    }
    let newest = host.desired.max(if resume { host.received } else { None });
    let document = Published {
        generation: newest.unwrap_or(Generation(0)).next(),
        bytes,
        digest,
        author: author.name.clone(),
        note: author.note.clone(),
        published_at_ms: crate::clock::now_ms(),
        secrets: state.secrets().cloned().collect(),
    };
    desired_history::publish(sql, host.host_id, &document)?;
    let deed = if resume { "desired_resumed" } else { "desired_published" };
    let detail = format!("generation {}", document.generation);
    audit::append(sql, &author.name, deed, Some(host.host_id), (&detail, document.published_at_ms))?;
    conflict::check(sql, host.host_id)?;
    Ok(document)
}
