//! One HTTPS exchange with pveproxy: what goes out, what a failure means.
//!
//! A reading may be asked for twice. A changing call never is: if it is unclear whether it arrived, that is the
//! answer ([`PveError::OutcomeUnknown`]), and the caller looks before it does anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::error::{PveError, Refusal};
use super::lenient;
use super::token::ApiToken;
use crate::https::{Allowance, Answer, ExchangeError, Manners, NotAnAddress, Peer};

/// Below pveproxy's own 5 s, so that no request leaves on a connection that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 4;
const READING_TRIES: u32 = 2;
/// Far above the largest honest answer (a few hundred guests, a long task list).
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Everything but RFC 3986's unreserved characters. A UPID has `:`, `@` and `!`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parameters of a call by PVE's names.
pub type Params = BTreeMap<String, String>;

/// The Proxmox VE API as one token sees it. Cloning is cheap and shares connections and counters.
#[derive(Clone)]
pub struct Pve {
    shared: Arc<Shared>,
    timeout: Duration,
}

struct Shared {
    peer: Peer,
    base_url: String,
    authorization: HeaderValue,
    permits: Semaphore,
    requests: AtomicU64,
    changing_requests: AtomicU64,
}

impl fmt::Debug for Pve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pve").field("base_url", &self.shared.base_url).finish_non_exhaustive()
    }
}

/// The address or the TLS configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the PVE client cannot be set up")]
pub struct PveSetupError(#[source] NotAnAddress);

/// What PVE wraps every success in.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    #[serde(default, deserialize_with = "lenient::optional_u64")]
    total: Option<u64>,
}

/// A call under way: what is said about it if it fails.
struct Call<'a> {
    method: Method,
    path: &'a str,
    query: String,
    form: Option<&'a Params>,
}

impl Call<'_> {
    fn changing(&self) -> bool {
        self.method != Method::GET
    }

    /// Without query or body: parameters may hold a guest's password.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The error for an exchange that broke off, by whether anything may have come of it.
    fn broken(&self, why: impl fmt::Display) -> PveError {
        let what = format!("{}: {why}", self.name());
        if self.changing() { PveError::OutcomeUnknown { what } } else { PveError::Unreachable { what } }
    }

    /// The error for a success whose content makes no sense. For a changing call that loses its UPID.
    fn malformed(&self, why: impl fmt::Display) -> PveError {
        let what = format!("{}: {why}", self.name());
        if self.changing() { PveError::OutcomeUnknown { what } } else { PveError::Malformed { what } }
    }
}

impl Pve {
    /// A client of the API at `base_url` (`https://127.0.0.1:8006`). Connects on first use.
    ///
    /// `timeout` is for one call. pveproxy takes 3 s to refuse a token and up to 30 s to give up on pvedaemon;
    /// a shorter one makes live hosts look dead and clear outcomes unclear.
    pub fn new(
        base_url: &str,
        token: &ApiToken,
        tls: rustls::ClientConfig,
        timeout: Duration,
    ) -> Result<Self, PveSetupError> {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let manners = Manners {
            connect_timeout: CONNECT_TIMEOUT,
            idle_max: IDLE_MAX,
            idle_connections_max: CONNECTIONS_MAX,
        };
        let shared = Shared {
            peer: Peer::new(&base_url, tls, manners).map_err(PveSetupError)?,
            base_url,
            authorization: token.header(),
            permits: Semaphore::new(CONNECTIONS_MAX),
            requests: AtomicU64::new(0),
            changing_requests: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), timeout })
    }

    /// The same client with another time limit for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), timeout }
    }

    /// Closes the idle connections: nothing more is asked for a while.
    pub fn hang_up(&self) {
        self.shared.peer.hang_up();
    }

    /// Requests sent so far, repeated readings included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Of those, the ones that could change something.
    #[must_use]
    pub fn changing_requests(&self) -> u64 {
        self.shared.changing_requests.load(Ordering::Relaxed)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, PveError> {
        self.get_with_total(path, query).await.map(|(data, _)| data)
    }

    /// As [`Self::get`], with the length of the whole list of which the answer is a part.
    pub(super) async fn get_with_total<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(T, Option<u64>), PveError> {
        let query = encode_pairs(query.iter().copied());
        let call = Call { method: Method::GET, path, query: query.to_string(), form: None };
        let mut tries_left = READING_TRIES;
        loop {
            tries_left -= 1;
            match self.exchange(&call).await {
                Err(Failure { error: PveError::Unreachable { .. }, worth_repeating: true })
                    if tries_left > 0 =>
                {
                    tokio::time::sleep(jittered(Duration::from_millis(150))).await;
                }
                outcome => return outcome.map_err(|failure| failure.error),
            }
        }
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, form: &Params) -> Result<T, PveError> {
        self.change(&Call { method: Method::POST, path, query: String::new(), form: Some(form) }).await
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, path: &str, form: &Params) -> Result<T, PveError> {
        self.change(&Call { method: Method::PUT, path, query: String::new(), form: Some(form) }).await
    }

    /// Parameters go into the query string: pveproxy answers 501 to a body here.
    pub(super) async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, PveError> {
        let query = encode_pairs(query.iter().copied()).to_string();
        self.change(&Call { method: Method::DELETE, path, query, form: None }).await
    }

    async fn change<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, PveError> {
        self.shared.changing_requests.fetch_add(1, Ordering::Relaxed);
        self.exchange(call).await.map(|(data, _)| data).map_err(|failure| failure.error)
    }

    async fn exchange<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<(T, Option<u64>), Failure> {
        let _permit = self.shared.permits.acquire().await.expect("the semaphore is never closed");
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.send(call).await.map_err(|error| send_failure(call, &error))?;
        if answer.status.is_success() {
            let envelope: Envelope<T> =
                serde_json::from_slice(&answer.body).map_err(|error| call.malformed(error))?;
            return Ok((envelope.data, envelope.total));
        }
        let worth_repeating = (595..=599).contains(&answer.status.as_u16());
        Err(Failure { error: refusal(call, answer), worth_repeating })
    }

    async fn send(&self, call: &Call<'_>) -> Result<Answer, ExchangeError> {
        let question_mark = if call.query.is_empty() { "" } else { "?" };
        let path = format!("/api2/json{}{question_mark}{}", call.path, call.query);
        let mut request = Request::builder()
            .method(call.method.clone())
            .header(AUTHORIZATION, self.shared.authorization.clone());
        let mut body = Bytes::new();
        if let Some(form) = call.form {
            let form = encode_pairs(form.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            // Said out loud even when it is zero: pveproxy answers 501 to a body of undeclared length.
            request = request
                .header(CONTENT_LENGTH, form.len())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            body = Bytes::from_owner(FormBody(form));
        }
        let allowance = Allowance { time: self.timeout, bytes: ANSWER_BYTES_MAX };
        self.shared.peer.exchange(request, (&path, body), allowance).await
    }
}

/// A failed exchange, and whether asking again at once can help.
struct Failure {
    error: PveError,
    worth_repeating: bool,
}

impl From<PveError> for Failure {
    fn from(error: PveError) -> Self {
        Self { error, worth_repeating: false }
    }
}

/// A form that may hold a guest's first password.
struct FormBody(Zeroizing<String>);

impl AsRef<[u8]> for FormBody {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Until the connection stands nothing was sent. After that, nobody on this side can tell.
fn send_failure(call: &Call<'_>, error: &ExchangeError) -> Failure {
    match error {
        ExchangeError::NotSent(_) => {
            let what = format!("{}: {error}", call.name());
            Failure { error: PveError::Unreachable { what }, worth_repeating: true }
        }
        ExchangeError::Broken(_) => Failure { error: call.broken(error), worth_repeating: true },
        ExchangeError::TimedOut | ExchangeError::TooLong(_) => call.broken(error).into(),
    }
}

fn refusal(call: &Call<'_>, answer: Answer) -> PveError {
    #[derive(Deserialize, Default)]
    struct Body {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        errors: BTreeMap<String, Value>,
    }
    let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
    let errors = body.errors.into_iter().map(|(name, text)| (name, lenient::text_of(&text))).collect();
    PveError::from_answer(&Refusal {
        call: &call.name(),
        changing: call.changing(),
        status: answer.status.as_u16(),
        reason: answer.reason,
        message: body.message,
        errors,
    })
}

/// Between half and all of `longest`, so that many agents woken by one event do not knock in step.
pub(super) fn jittered(longest: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    longest.mul_f64(0.5 + random / 2.0)
}

/// A path below `/api2/json`, each part encoded.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |mut path, part| {
        path.push('/');
        path.extend(utf8_percent_encode(part, RESERVED));
        path
    })
}

/// One encoding for query and form: percent signs only, since `+` means different things in different places.
fn encode_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    let pairs: Vec<_> = pairs.collect();
    // Room for the worst case at once: a text that grows leaves copies behind that nobody wipes.
    let room = pairs.iter().map(|(key, value)| 3 * (key.len() + value.len()) + 2).sum();
    let mut text = Zeroizing::new(String::with_capacity(room));
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(utf8_percent_encode(key, RESERVED));
        text.push('=');
        text.extend(utf8_percent_encode(value, RESERVED));
    }
    text
}

#[cfg(test)]
mod wire_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upids_and_plus_signs_survive_the_way() {
        let path = path(&["nodes", "pve1", "tasks", "UPID:a:1:imgdel:101@bk:root@pam!full:", "status"]);
        assert_eq!(path, "/nodes/pve1/tasks/UPID%3Aa%3A1%3Aimgdel%3A101%40bk%3Aroot%40pam%21full%3A/status");
        let form = encode_pairs([("size", "+1G"), ("description", "a b\n&=é")].into_iter());
        assert_eq!(*form, "size=%2B1G&description=a%20b%0A%26%3D%C3%A9");
    }

    #[test]
    fn jitter_stays_between_half_and_whole() {
        let longest = Duration::from_millis(100);
        for _ in 0..100 {
            assert!((longest / 2..=longest).contains(&jittered(longest)));
        }
    }
}
