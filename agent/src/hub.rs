//! The hub as the agent sees it: three calls on connections the agent opens, to a server known by its key.
//!
//! A hub that does not answer is no reason to stop converging; nothing here is retried except by the next cycle.
//! Answers are read strictly where they carry intent and bounded in size always.

use std::time::Duration;

use felhom_shared::event::Event;
use felhom_shared::id::OutboxId;
use felhom_shared::key::ApiKey;
use felhom_shared::limits::{BODY_BYTES_MAX, POLL_BYTES_MAX};
use felhom_shared::report::HostReport;
use felhom_shared::signed::OpId;
use felhom_shared::text::chain;
use felhom_shared::wire::{
    ApiError, ControlEnvelope, EVENTS_PATH, EventsAck, EventsPost, OPS_PATH, OpReceipt, POLL_PATH,
    PollAnswer, PollQuery, REPORT_PATH,
};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::Zeroizing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// zstd's fastest level: 15 µs for a report, which shrinks to a quarter.
const ZSTD_LEVEL: i32 = 1;

/// Why a call to the hub failed. [`HubError::code`] is stable.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The client cannot be made from the configuration.
    #[error("the hub's address or pin in the configuration cannot be used: {0}")]
    Setup(String),
    /// No answer.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(String),
    /// The hub answered no.
    #[error("the hub refuses ({status}, {}): {}", answer.code, answer.message)]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        answer: ApiError,
    },
    /// An answer that cannot be read.
    #[error("the hub's answer cannot be understood: {0}")]
    Malformed(String),
}

impl HubError {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Setup(_) => "hub_setup",
            Self::Unreachable(_) => "hub_unreachable",
            Self::Refused { .. } => "hub_refused",
            Self::Malformed(_) => "hub_malformed",
        }
    }
}

/// A client of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    client: Client,
    url: String,
    authorization: HeaderValue,
}

impl Hub {
    /// A client of the hub at `url`, recognised by `tls`'s pins.
    pub fn new(url: &str, key: &ApiKey, tls: rustls::ClientConfig) -> Result<Self, HubError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Duration::from_secs(60))
            .pool_max_idle_per_host(2)
            .build()
            .map_err(|error| HubError::Setup(chain(&error)))?;
        let bearer = Zeroizing::new(format!("Bearer {}", key.expose()));
        let mut authorization =
            HeaderValue::from_str(&bearer).map_err(|error| HubError::Setup(error.to_string()))?;
        authorization.set_sensitive(true);
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// Waits for news; `None` when there is none.
    pub async fn poll(&self, query: &PollQuery) -> Result<Option<PollAnswer>, HubError> {
        let mut pairs = vec![("wait", query.wait.to_string())];
        pairs.extend(query.have.map(|generation| ("have", generation.to_string())));
        pairs.extend(query.keyset.map(|version| ("keyset", version.to_string())));
        pairs.extend(query.digest.clone().map(|digest| ("digest", digest)));
        let query_text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = self
            .client
            .get(format!("{}{POLL_PATH}?{query_text}", self.url))
            .header(AUTHORIZATION, self.authorization.clone())
            .timeout(Duration::from_secs(query.wait) + ANSWER_TIMEOUT);
        let response = request.send().await.map_err(|error| HubError::Unreachable(chain(&error)))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        answer(response, POLL_BYTES_MAX).await.map(Some)
    }

    /// The hub's clock, to the second: for telling a person that the box's is wrong, never for authority.
    pub async fn clock(&self) -> Result<Timestamp, HubError> {
        let request = self
            .client
            .get(format!("{}{POLL_PATH}?wait=0", self.url))
            .header(AUTHORIZATION, self.authorization.clone())
            .timeout(ANSWER_TIMEOUT);
        let response = request.send().await.map_err(|error| HubError::Unreachable(chain(&error)))?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).unwrap_or_default();
        jiff::fmt::rfc2822::parse(date)
            .map(|date| date.timestamp())
            .map_err(|_| HubError::Malformed("it carries no date".to_owned()))
    }

    /// Says what became of a signed operation. That the hub does not know it, or knows an end already, is an answer
    /// like any other: there is nothing more to say.
    pub async fn op_state(&self, op_id: &OpId, receipt: &OpReceipt) -> Result<(), HubError> {
        let sent: Result<IgnoredAny, HubError> =
            self.post(&format!("{OPS_PATH}/{op_id}/state"), receipt).await;
        match sent {
            Ok(_) => Ok(()),
            Err(HubError::Refused { status: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a report.
    pub async fn report(&self, report: &HostReport) -> Result<ControlEnvelope, HubError> {
        self.post(REPORT_PATH, report).await
    }

    /// Sends the next events of the outbox.
    pub async fn events(&self, outbox_id: OutboxId, events: Vec<Event>) -> Result<EventsAck, HubError> {
        self.post(EVENTS_PATH, &EventsPost { outbox_id, events }).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, HubError> {
        let json = serde_json::to_vec(body).map_err(|error| HubError::Malformed(error.to_string()))?;
        let body = zstd::bulk::compress(&json, ZSTD_LEVEL)
            .map_err(|error| HubError::Malformed(error.to_string()))?;
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "zstd")
            .timeout(ANSWER_TIMEOUT)
            .body(body);
        let response = request.send().await.map_err(|error| HubError::Unreachable(chain(&error)))?;
        answer(response, BODY_BYTES_MAX).await
    }
}

async fn answer<T: DeserializeOwned>(mut response: Response, bytes_max: usize) -> Result<T, HubError> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| HubError::Unreachable(chain(&error)))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(HubError::Malformed(format!("it is longer than {bytes_max} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    if status == StatusCode::NO_CONTENT {
        return serde_json::from_slice(b"null").map_err(|error| HubError::Malformed(error.to_string()));
    }
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| HubError::Malformed(error.to_string()));
    }
    let answer = serde_json::from_slice(&body).unwrap_or_else(|_| ApiError {
        code: "no_reason_given".to_owned(),
        message: "the answer is not of the hub's form; is something else listening at that address?"
            .to_owned(),
    });
    Err(HubError::Refused { status: status.as_u16(), answer })
}
