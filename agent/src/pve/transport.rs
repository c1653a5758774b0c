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
use felhom_shared::ordered;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use super::error::{PveError, Refusal};
use super::lenient;
use super::token::ApiToken;

/// Below half of pveproxy's own 5 s, so that it is we who close an idle connection, never mid-request: the pool looks
/// once in this time and closes what has been idle for longer, so a connection may live for almost twice as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
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
    client: Client,
    base_url: String,
    authorization: HeaderValue,
    permits: Semaphore,
    requests: AtomicU64,
    changing_requests: AtomicU64,
    ended: watch::Sender<u64>,
}

impl fmt::Debug for Pve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pve").field("base_url", &self.shared.base_url).finish_non_exhaustive()
    }
}

/// The address or the TLS configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the PVE client cannot be set up for {base_url}")]
pub struct PveSetupError {
    base_url: String,
    source: reqwest::Error,
}

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
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(CONNECTIONS_MAX)
            .build()
            .map_err(|source| PveSetupError { base_url: base_url.clone(), source })?;
        let shared = Shared {
            client,
            base_url,
            authorization: token.header(),
            permits: Semaphore::new(CONNECTIONS_MAX),
            requests: AtomicU64::new(0),
            changing_requests: AtomicU64::new(0),
            ended: watch::Sender::new(0),
        };
        Ok(Self { shared: Arc::new(shared), timeout })
    }

    /// The same client with another time limit for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), timeout }
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

    /// Counts the exchanges that have ended, well or not: the progress of whoever waits for PVE.
    #[must_use]
    pub fn exchanges_ended(&self) -> watch::Receiver<u64> {
        self.shared.ended.subscribe()
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
        let outcome = self.send(call).await;
        self.shared.ended.send_modify(|ended| *ended += 1);
        outcome
    }

    async fn send<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<(T, Option<u64>), Failure> {
        let _permit = self.shared.permits.acquire().await.expect("the semaphore is never closed");
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let response = self.request(call).send().await.map_err(|error| send_failure(call, &error))?;
        if response.status().is_success() {
            let body = read_body(response).await.map_err(|why| call.broken(why))?;
            let envelope: Envelope<T> =
                serde_json::from_slice(&body).map_err(|error| call.malformed(error))?;
            return Ok((envelope.data, envelope.total));
        }
        let worth_repeating = (595..=599).contains(&response.status().as_u16());
        Err(Failure { error: refusal(call, response).await, worth_repeating })
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let question_mark = if call.query.is_empty() { "" } else { "?" };
        let url = format!("{}/api2/json{}{question_mark}{}", self.shared.base_url, call.path, call.query);
        let request = self
            .shared
            .client
            .request(call.method.clone(), url)
            .timeout(self.timeout)
            .header(AUTHORIZATION, self.shared.authorization.clone());
        let Some(form) = call.form else { return request };
        let body = encode_pairs(form.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        // Said out loud even when it is zero: pveproxy answers 501 to a body of undeclared length.
        request
            .header(CONTENT_LENGTH, body.len())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from_owner(FormBody(body)))
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
fn send_failure(call: &Call<'_>, error: &reqwest::Error) -> Failure {
    let why = chain(error);
    if error.is_connect() || error.is_builder() {
        let what = format!("{}: {why}", call.name());
        return Failure { error: PveError::Unreachable { what }, worth_repeating: error.is_connect() };
    }
    Failure { error: call.broken(why), worth_repeating: !error.is_timeout() }
}

async fn refusal(call: &Call<'_>, response: Response) -> PveError {
    #[derive(Deserialize, Default)]
    struct Body {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        errors: BTreeMap<String, Value>,
    }
    let status = response.status();
    let reason = reason_phrase(&response, status);
    // The status has already decided what this is; a body that is missing, cut or not JSON only costs detail.
    let body = read_body(response).await.unwrap_or_default();
    let body: Body = serde_json::from_slice(&body).unwrap_or_default();
    let errors = ordered::map(body.errors.into_iter().map(|(name, text)| (name, lenient::text_of(&text))));
    PveError::from_answer(&Refusal {
        call: &call.name(),
        changing: call.changing(),
        status: status.as_u16(),
        reason,
        message: body.message,
        errors,
    })
}

/// reqwest has no word for it, but passes on what hyper found in the status line.
fn reason_phrase(response: &Response, status: StatusCode) -> String {
    match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
        None => status.canonical_reason().unwrap_or_default().to_owned(),
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error with its causes and without its URL, whose query may hold parameters.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time" } else { "the exchange failed" }.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // hyper and rustls repeat their source's text in their own.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
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
