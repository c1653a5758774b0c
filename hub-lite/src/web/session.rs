//! Who is looking at a page: a random cookie, of which the store holds only the SHA-256.
//!
//! A session ends after twelve idle hours, after seven days, at logout, and when its operator is removed or gets
//! another password. What the script fetches by itself does not keep a session from being idle.

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::page::{refusal, store_failed};
use crate::clock::now_ms;
use crate::state::AppState;
use crate::store::sessions::{self, Session};
use crate::store::{Store, StoreError, audit};

const COOKIE_NAME: &str = "__Host-felhom";
const IDLE_MS: i64 = 12 * 3600 * 1000;
const AGE_MS: i64 = 7 * 24 * 3600 * 1000;
/// A use is written down at most this often.
const TOUCH_MS: i64 = 5 * 60 * 1000;

/// Somebody with a live session. As an extractor it is what keeps everybody else out.
pub(super) struct Operator {
    pub(super) name: String,
    pub(super) csrf: String,
    pub(super) key: SessionKey,
}

/// SHA-256 of a cookie: enough to find a session, not enough to have one.
#[derive(Clone, Copy)]
pub(super) struct SessionKey([u8; 32]);

impl SessionKey {
    fn of(cookie: &str) -> Self {
        Self(Sha256::digest(cookie.as_bytes()).into())
    }

    /// The session that a request claims. Two cookies of this name cannot come from this hub.
    pub(super) fn claimed(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut ours = pairs.filter(|(name, _)| *name == COOKIE_NAME);
        let (_, cookie) = ours.next()?;
        ours.next().is_none().then(|| Self::of(cookie))
    }

    /// The session, if it is alive.
    pub(super) async fn find(self, store: &Store) -> Result<Option<Session>, StoreError> {
        let now_ms = now_ms();
        store.read(move |sql| sessions::get(sql, &self.0, now_ms - IDLE_MS, now_ms - AGE_MS)).await
    }
}

impl Operator {
    /// Whether a form carries this session's token.
    pub(super) fn sent(&self, csrf: &str) -> bool {
        bool::from(self.csrf.as_bytes().ct_eq(csrf.as_bytes()))
    }

    /// The answer to a form of another session, in which nothing was done.
    pub(super) fn refuses(&self, csrf: &str) -> Option<Response> {
        let text = "The form belongs to another session. Nothing was done; reload the page and try again.";
        (!self.sent(csrf)).then(|| refusal(StatusCode::FORBIDDEN, "Not from here", text))
    }

    /// Ends the session and returns the line that takes the cookie away.
    pub(super) async fn end(self, store: &Store) -> Result<HeaderValue, StoreError> {
        store
            .write(move |sql| {
                sessions::remove(sql, &self.key.0)?;
                audit::append(sql, &self.name, "logged_out", None, ("", now_ms()))
            })
            .await?;
        Ok(set_cookie("", 0))
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let Some(key) = SessionKey::claimed(&parts.headers) else { return Err(to_login(parts)) };
        let session = key.find(&state.store).await.map_err(|error| store_failed(&error))?;
        let Some(session) = session else { return Err(to_login(parts)) };
        let now_ms = now_ms();
        if !is_by_script(parts) && now_ms - session.used_at_ms >= TOUCH_MS {
            let touched = state.store.write(move |sql| sessions::touch(sql, &key.0, now_ms)).await;
            touched.map_err(|error| store_failed(&error))?;
        }
        Ok(Self { name: session.operator, csrf: session.csrf, key })
    }
}

/// Begins a session under a fresh cookie, ends the one the browser came with, and returns the line that sets it.
pub(super) async fn begin(
    store: &Store,
    operator: &str,
    old: Option<SessionKey>,
) -> Result<HeaderValue, StoreError> {
    let cookie = random();
    let now_ms = now_ms();
    let key = SessionKey::of(&cookie);
    let csrf = random().to_string();
    let session = Session { operator: operator.to_owned(), csrf, created_at_ms: now_ms, used_at_ms: now_ms };
    store
        .write(move |sql| {
            if let Some(old) = old {
                sessions::remove(sql, &old.0)?;
            }
            sessions::prune(sql, now_ms - IDLE_MS, now_ms - AGE_MS)?;
            sessions::insert(sql, &key.0, &session)?;
            audit::append(sql, &session.operator, "logged_in", None, ("", now_ms))
        })
        .await?;
    Ok(set_cookie(&cookie, AGE_MS / 1000))
}

fn set_cookie(cookie: &str, age_s: i64) -> HeaderValue {
    let line = Zeroizing::new(format!(
        "{COOKIE_NAME}={cookie}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Strict"
    ));
    let mut value = HeaderValue::from_str(&line).expect("base64url and digits are visible ASCII");
    value.set_sensitive(true);
    value
}

fn random() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).expect("the system has randomness once it has started");
    Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes))
}

/// What a page fetches by itself gets a status instead of the login page.
fn is_by_script(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    parts.uri.path().ends_with("/live") || query.split('&').any(|pair| pair == "fragment=1")
}

fn to_login(parts: &Parts) -> Response {
    if is_by_script(parts) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match parts.uri.path() {
        path if path != "/" && parts.method == Method::GET => Redirect::to(&format!("/login?next={path}")),
        _ => Redirect::to("/login"),
    }
    .into_response()
}
