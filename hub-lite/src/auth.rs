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
use rusqlite::Connection;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::ApiFailure;
use crate::seal::Seal;
use crate::state::AppState;
use crate::store::{Store, StoreError, audit, keys};

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

    /// What secrets at rest are sealed with: a key of its own, drawn from the pepper.
    #[must_use]
    pub fn seal(&self) -> Seal {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.pepper).expect("HMAC takes a key of any length");
        mac.update(b"felhom/secrets/v1");
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
        Seal::new(&key)
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

/// A request of an operator's program, by its key. Never remembered: it is seldom used, and revoked at once.
#[derive(Debug, Clone)]
pub struct OperatorKey {
    /// Whose key it is.
    pub name: String,
}

/// Draws a key that nobody knows yet.
pub fn draw(kind: KeyKind) -> Result<ApiKey, getrandom::Error> {
    let (mut lookup, mut secret) = ([0; 10], Zeroizing::new([0; 32]));
    getrandom::fill(&mut lookup)?;
    getrandom::fill(&mut *secret)?;
    Ok(ApiKey::from_random(kind, lookup, &secret))
}

/// Stores a fresh key of an operator, beside those they have. It works while there is an operator of that name.
pub fn admit_operator_key(
    sql: &Connection,
    keys: &Keys,
    key: &ApiKey,
    (name, by): (&str, &str),
) -> Result<(), StoreError> {
    let now_ms = crate::clock::now_ms();
    keys::add_operator_key(sql, name, (key.lookup(), &keys.hmac(key)), now_ms)?;
    let detail = format!("{name}, {}", key.lookup());
    audit::append(sql, by, "operator_key_made", None, (&detail, now_ms))
}

fn refuse(code: &str, text: &str) -> ApiFailure {
    ApiFailure::new(StatusCode::UNAUTHORIZED, code, text)
}

/// The key that a request carries, if it is of the kind that this endpoint takes.
fn key_of(parts: &Parts, kind: KeyKind, whose: &str) -> Result<ApiKey, ApiFailure> {
    let letter = kind.letter();
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let text = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
        refuse("key_missing", &format!("send the {whose}'s key as `Authorization: Bearer fhk1_{letter}_…`"))
    })?;
    let key = ApiKey::parse(text).map_err(|error| refuse("key_malformed", &error.to_string()))?;
    if key.kind() != kind {
        let text = format!("this endpoint takes a {whose}'s key (fhk1_{letter}_…)");
        return Err(refuse("key_of_another_kind", &text));
    }
    Ok(key)
}

impl<S> FromRequestParts<S> for HostAuth
where
    AppState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiFailure> {
        let key = key_of(parts, KeyKind::Host, "host")?;
        let state = AppState::from_ref(state);
        // Boxed: a parked poll holds the room of every step it went through, and this one is seldom gone through.
        let host_id = Box::pin(state.keys.host(&state.store, &key)).await?;
        host_id
            .map(Self)
            .ok_or_else(|| refuse("key_unknown", "this key is not known; it may have been replaced"))
    }
}

impl FromRequestParts<AppState> for OperatorKey {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiFailure> {
        let key = key_of(parts, KeyKind::Operator, "operator")?;
        let (lookup, hmac) = (key.lookup().to_owned(), state.keys.hmac(&key));
        let row = state.store.read(move |sql| keys::operator_key(sql, &lookup)).await?;
        row.filter(|row| bool::from(row.hmac.ct_eq(&hmac)))
            .map(|row| Self { name: row.operator })
            .ok_or_else(|| refuse("key_unknown", "this key is not known; it may have been revoked"))
    }
}
