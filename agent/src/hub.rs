//! The hub as the agent sees it: three calls on connections the agent opens, to a server known by its key.
//!
//! A hub that does not answer is no reason to stop converging; nothing here is retried except by the next cycle.
//! Answers are read strictly where they carry intent and bounded in size always.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use felhom_shared::event::Event;
use felhom_shared::id::OutboxId;
use felhom_shared::key::ApiKey;
use felhom_shared::limits::{BODY_BYTES_MAX, POLL_BYTES_MAX};
use felhom_shared::report::HostReport;
use felhom_shared::signed::OpId;
use felhom_shared::wire::{
    ApiError, ControlEnvelope, EVENTS_PATH, EventsAck, EventsPost, OPS_PATH, OpReceipt, POLL_PATH,
    PollAnswer, PollQuery, REPORT_PATH,
};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::Zeroizing;

use crate::https::{Allowance, Answer, ExchangeError, Manners, Peer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than the usual time between two reports, so that each does not begin with a handshake.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// One for the parked poll, one for reports.
const CONNECTIONS_MAX: usize = 2;
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
    peer: Arc<Peer>,
    authorization: HeaderValue,
}

impl Hub {
    /// A client of the hub at `url`, recognised by `tls`'s pins.
    pub fn new(url: &str, key: &ApiKey, tls: rustls::ClientConfig) -> Result<Self, HubError> {
        let manners = Manners {
            connect_timeout: CONNECT_TIMEOUT,
            idle_max: IDLE_MAX,
            idle_connections_max: CONNECTIONS_MAX,
        };
        let peer = Peer::new(url, tls, manners).map_err(|error| HubError::Setup(error.to_string()))?;
        let bearer = Zeroizing::new(format!("Bearer {}", key.expose()));
        let mut authorization =
            HeaderValue::from_str(&bearer).map_err(|error| HubError::Setup(error.to_string()))?;
        authorization.set_sensitive(true);
        Ok(Self { peer: Arc::new(peer), authorization })
    }

    /// Waits for news; `None` when there is none.
    pub async fn poll(&self, query: &PollQuery) -> Result<Option<PollAnswer>, HubError> {
        let mut pairs = vec![("wait", query.wait.to_string())];
        pairs.extend(query.have.map(|generation| ("have", generation.to_string())));
        pairs.extend(query.keyset.map(|version| ("keyset", version.to_string())));
        pairs.extend(query.digest.clone().map(|digest| ("digest", digest)));
        let query_text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let path = format!("{POLL_PATH}?{query_text}");
        let time = Duration::from_secs(query.wait) + ANSWER_TIMEOUT;
        let answer = self.get(&path, time).await?;
        if answer.status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        understood(&answer).map(Some)
    }

    /// The hub's clock, to the second: for telling a person that the box's is wrong, never for authority.
    pub async fn clock(&self) -> Result<Timestamp, HubError> {
        let answer = self.get(&format!("{POLL_PATH}?wait=0"), ANSWER_TIMEOUT).await?;
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok()).unwrap_or_default();
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
        let request = Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "zstd");
        let allowance = Allowance { time: ANSWER_TIMEOUT, bytes: BODY_BYTES_MAX };
        understood(&self.send(request, (path, body.into()), allowance).await?)
    }

    async fn get(&self, path: &str, time: Duration) -> Result<Answer, HubError> {
        let allowance = Allowance { time, bytes: POLL_BYTES_MAX };
        self.send(Request::builder().method(Method::GET), (path, Bytes::new()), allowance).await
    }

    async fn send(
        &self,
        request: Builder,
        content: (&str, Bytes),
        allowance: Allowance,
    ) -> Result<Answer, HubError> {
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let answer = self.peer.exchange(request, content, allowance).await;
        answer.map_err(|error| match error {
            ExchangeError::TooLong(_) => HubError::Malformed(error.to_string()),
            _ => HubError::Unreachable(error.to_string()),
        })
    }
}

fn understood<T: DeserializeOwned>(answer: &Answer) -> Result<T, HubError> {
    let malformed = |error: serde_json::Error| HubError::Malformed(error.to_string());
    match answer.status {
        StatusCode::NO_CONTENT => serde_json::from_slice(b"null").map_err(malformed),
        status if status.is_success() => serde_json::from_slice(&answer.body).map_err(malformed),
        status => {
            let reason = serde_json::from_slice(&answer.body).unwrap_or_else(|_| ApiError {
                code: "no_reason_given".to_owned(),
                message: "the answer is not of the hub's form; is something else listening at that address?"
                    .to_owned(),
            });
            Err(HubError::Refused { status: status.as_u16(), answer: reason })
        }
    }
}
