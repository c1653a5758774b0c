//! Whose request is this? The answer comes from the API key alone (`scope_comes_from_the_key`).
//!
//! The store holds an HMAC of each key under a pepper that lies in a file outside the database: who can only
//! write the database cannot mint a key, who can only read it cannot use one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use felhom_shared::id::HostId;
use felhom_shared::key::{ApiKey, KeyKind};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::{Store, keys};

const PEPPER_FILE: &str = "pepper";

/// Why the pepper cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The file cannot be read or made.
    #[error("cannot read or make {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold a pepper.
    #[error("{path} does not hold 32 bytes; restore it from the backup, else every key must be made anew")]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

/// What was verified, and how often that was forgotten: an answer read before a key was replaced must not be
/// remembered after it.
#[derive(Default)]
struct Verified {
    /// By lookup part: whose key it is, and its HMAC.
    keys: HashMap<String, (HostId, [u8; 32])>,
    forgotten: u64,
}

/// Verification of API keys, with the verified ones remembered. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    pepper: Arc<Zeroizing<Vec<u8>>>,
    verified: Arc<RwLock<Verified>>,
}

impl Keys {
    /// Reads the pepper, or makes it at first start.
    pub fn open(folder: &Path) -> Result<Self, PepperError> {
        let path = folder.join(PEPPER_FILE);
        let failed = |source| PepperError::File { path: path.clone(), source };
        if !path.try_exists().map_err(failed)? {
            let mut bytes = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *bytes).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
            crate::tls::write_first(&path, &*bytes).map_err(failed)?;
        }
        // Read back, because another process may have been first.
        let pepper = Zeroizing::new(std::fs::read(&path).map_err(failed)?);
        if pepper.len() != 32 {
            return Err(PepperError::Damaged { path });
        }
        Ok(Self { pepper: Arc::new(pepper), verified: Arc::default() })
    }

    /// HMAC-SHA256 of a key under the pepper.
    #[must_use]
    pub fn hmac(&self, key: &ApiKey) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.pepper).expect("HMAC takes a key of any length");
        mac.update(key.expose().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Forgets what was verified, because keys have changed.
    pub fn forget(&self) {
        let mut verified = self.verified.write().unwrap_or_else(PoisonError::into_inner);
        verified.keys.clear();
        verified.forgotten += 1;
    }

    async fn host(&self, store: &Store, key: &ApiKey) -> Result<Option<HostId>, ApiFailure> {
        let hmac = self.hmac(key);
        let (known, forgotten) = {
            let verified = self.verified.read().unwrap_or_else(PoisonError::into_inner);
            (verified.keys.get(key.lookup()).copied(), verified.forgotten)
        };
        if let Some((host_id, stored)) = known {
            return Ok(bool::from(stored.ct_eq(&hmac)).then_some(host_id));
        }
        let lookup = key.lookup().to_owned();
        let Some(row) = store.read(move |sql| keys::host_key(sql, &lookup)).await? else { return Ok(None) };
        if !bool::from(row.hmac.ct_eq(&hmac)) {
            return Ok(None);
        }
        let mut verified = self.verified.write().unwrap_or_else(PoisonError::into_inner);
        if verified.forgotten == forgotten {
            verified.keys.insert(key.lookup().to_owned(), (row.host_id, hmac));
        }
        Ok(Some(row.host_id))
    }
}

/// A request of a host, by its key.
#[derive(Debug, Clone, Copy)]
pub struct HostAuth(pub HostId);

impl<S> FromRequestParts<S> for HostAuth
where
    AppState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiFailure> {
        let refuse = |code, text: &str| ApiFailure::new(StatusCode::UNAUTHORIZED, code, text);
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let text = header.and_then(|value| value.strip_prefix("Bearer "));
        let text = text.ok_or_else(|| {
            refuse("key_missing", "send the host's key as `Authorization: Bearer fhk1_h_…`")
        })?;
        let key = ApiKey::parse(text).map_err(|error| refuse("key_malformed", &error.to_string()))?;
        if key.kind() != KeyKind::Host {
            return Err(refuse("key_of_another_kind", "this endpoint takes a host's key (fhk1_h_…)"));
        }
        let state = AppState::from_ref(state);
        // Boxed: a parked poll holds the room of every step it went through, and this one is seldom gone through.
        let host_id = Box::pin(state.keys.host(&state.store, &key)).await?;
        host_id
            .map(Self)
            .ok_or_else(|| refuse("key_unknown", "this key is not known; it may have been replaced"))
    }
}
