//! `GET host/poll`: parked until there is another document than the agent has seen, a signed operation that it
//! has not taken, or a keyset after the one it trusts.
//!
//! Whether the document may replace the agent's is the agent's decision; the hub answers as soon as it differs,
//! also when its number is lower, so that a restored hub becomes visible instead of silent.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query, Request};
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use felhom_shared::id::{Generation, HostId};
use felhom_shared::limits::{ENVELOPE_BYTES_MAX, KEYSETS_PER_POLL_MAX, OPS_PER_POLL_MAX, POLL_WAIT_S_MAX};
use felhom_shared::report::LedgerHead;
use felhom_shared::secret::{SecretName, SecretValue};
use felhom_shared::wire::{PollQuery, QueuedOp};
use rusqlite::Connection;
use serde::Serialize;
use tokio::time::Instant;

use crate::auth::{HostAuth, Keys};
use crate::error::ApiFailure;
use crate::secrets;
use crate::state::AppState;
use crate::store::desired_history::{self, Document, Published};
use crate::store::{StoreError, keysets, signed_ops};

/// Most bytes of operations, and of keysets, in one answer.
const BLOB_BYTES_PER_POLL_MAX: usize = 8 * ENVELOPE_BYTES_MAX;

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers a poll by its head alone. By hand: a handler made of extractors holds room for a request's head as long
/// as its poll is parked.
pub(crate) fn poll(head: Parts, state: AppState) -> Answering {
    let asked = Box::pin(Asked::read(head, state));
    Box::pin(async move {
        match asked.await {
            Ok(asked) => asked.answered().await.into_response(),
            Err(refused) => refused.into_response(),
        }
    })
}

/// The same as a route. The hub's own listener goes past the router: its layers would hold room as well.
#[derive(Clone, Copy)]
pub(crate) struct Poll;

impl Handler<(), AppState> for Poll {
    type Future = Answering;

    fn call(self, request: Request, state: AppState) -> Answering {
        poll(request.into_parts().0, state)
    }
}

/// A poll that may wait.
struct Asked {
    state: AppState,
    host_id: HostId,
    query: PollQuery,
}

impl Asked {
    async fn read(mut head: Parts, state: AppState) -> Result<Self, ApiFailure> {
        let HostAuth(host_id) = HostAuth::from_request_parts(&mut head, &state).await?;
        let query = Query::<PollQuery>::from_request_parts(&mut head, &state).await;
        let Query(query) = query.map_err(|refused| {
            ApiFailure::new(StatusCode::BAD_REQUEST, "poll_malformed", refused.body_text())
        })?;
        Ok(Self { state, host_id, query })
    }

    async fn answered(self) -> Result<Response, ApiFailure> {
        let Self { state, host_id, query } = self;
        let deadline = Instant::now() + Duration::from_secs(query.wait.min(POLL_WAIT_S_MAX));
        let news = state.live.news(host_id);
        let mut patient = false;
        loop {
            // Registered before looking: a publish between look and wait is not missed.
            let mut woken = std::pin::pin!(news.notified());
            woken.as_mut().enable();
            let due = Due::of(&state, host_id, &query, patient);
            if due.document || due.signed {
                let fresh = state.live.take_fresh(host_id);
                if let Some(body) = fresh.filter(|_| due.document && !due.signed) {
                    return Ok(json(body));
                }
                // Boxed, so that the many who are parked do not hold the room of the few who are answered.
                if let Some(answer) = Box::pin(answer(&state, host_id, &query, due.signed)).await? {
                    return Ok(json(answer));
                }
            }
            if patient || state.live.is_stopping() {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
            // Once more at the end: what is not handed out in haste is handed out then.
            patient = tokio::time::timeout_at(deadline, woken).await.is_err();
        }
    }
}

/// What there is for a box that asks.
struct Due {
    document: bool,
    /// Signed operations or keysets.
    signed: bool,
}

impl Due {
    fn of(state: &AppState, host_id: HostId, query: &PollQuery, patient: bool) -> Self {
        let (document, queued) = state.live.look_at_intent(host_id, |intent| {
            (differs(query, intent.generation, intent.digest.as_ref()), intent.queued > 0)
        });
        let trusted = query.keyset.unwrap_or(0);
        let signed = queued || state.live.newest_keyset() > trusted;
        Self { document, signed: signed && state.live.may_offer(host_id, trusted, patient) }
    }
}

/// Whether the agent has not seen what is published. Without a digest it is asked for the number alone.
fn differs(query: &PollQuery, generation: Option<Generation>, digest: Option<&String>) -> bool {
    let other_digest = query.digest.is_some() && query.digest.as_ref() != digest;
    generation.is_some() && (query.have != generation || other_digest)
}

/// What a poll is answered with.
#[derive(Debug, Default)]
pub(crate) struct News {
    document: Option<Document>,
    ops: Vec<QueuedOp>,
    keysets: Vec<String>,
    /// With the document or not at all.
    secrets: BTreeMap<SecretName, SecretValue>,
}

impl News {
    /// A document with the secrets that it names.
    pub(crate) fn of(
        sql: &Connection,
        keys: &Keys,
        host_id: HostId,
        document: Document,
    ) -> Result<Self, StoreError> {
        let secrets = secrets::deliver(sql, keys, host_id, &document.secrets)?;
        Ok(Self { document: Some(document), secrets, ..Self::default() })
    }

    /// Published, queued or taken since the poll was woken: the agent may have just this one, and would be told it
    /// in circles.
    fn read(
        sql: &Connection,
        keys: &Keys,
        host_id: HostId,
        (query, signed): (&PollQuery, bool),
    ) -> Result<Self, StoreError> {
        let published = desired_history::current(sql, host_id)?
            .filter(|published| differs(query, Some(published.generation), Some(&published.digest)));
        let mut news = match published {
            Some(Published { generation, bytes, secrets, .. }) => {
                Self::of(sql, keys, host_id, Document { generation, bytes, secrets })?
            }
            None => Self::default(),
        };
        if signed {
            let newer = keysets::after(sql, query.keyset.unwrap_or(0), KEYSETS_PER_POLL_MAX)?;
            news.keysets = within(newer.into_iter().map(|keyset| keyset.blob), String::len);
            let queued = signed_ops::queued(sql, host_id, OPS_PER_POLL_MAX)?;
            news.ops = within(queued.into_iter(), |op| op.blob.len());
        }
        Ok(news)
    }

    fn is_none(&self) -> bool {
        self.document.is_none() && self.ops.is_empty() && self.keysets.is_empty()
    }
}

/// As many from the front as one answer may carry; the agent comes back for the rest.
fn within<T>(blobs: impl Iterator<Item = T>, len: impl Fn(&T) -> usize) -> Vec<T> {
    let mut room = BLOB_BYTES_PER_POLL_MAX;
    blobs
        .take_while(|blob| {
            let fits = len(blob) <= room;
            room = room.saturating_sub(len(blob));
            fits
        })
        .collect()
}

async fn answer(
    state: &AppState,
    host_id: HostId,
    query: &PollQuery,
    signed: bool,
) -> Result<Option<Bytes>, ApiFailure> {
    let asked = query.clone();
    let keys = state.keys.clone();
    let news = state.store.read(move |sql| News::read(sql, &keys, host_id, (&asked, signed))).await?;
    if news.is_none() {
        return Ok(None);
    }
    let paused = state.live.look_at_intent(host_id, |intent| intent.paused);
    Ok(Some(Frame::of(state, host_id, paused).around(&news)))
}

/// Room for the frame around a document, so that the answer is written without moving it.
const FRAME_BYTES: usize = 256;

/// What stands around the news in every answer.
pub(crate) struct Frame {
    host_id: HostId,
    ledger_seen: Option<LedgerHead>,
    poll_interval_s: u64,
    blocked: bool,
}

impl Frame {
    pub(crate) fn of(state: &AppState, host_id: HostId, blocked: bool) -> Self {
        let ledger_seen = state.live.ledger(host_id);
        Self { host_id, ledger_seen, poll_interval_s: state.config.poll_interval_s, blocked }
    }

    /// A [`felhom_shared::wire::PollAnswer`] around the document's bytes. They were parsed when they were
    /// published; parsing them again for every box that fetches them would be the most expensive part of the
    /// answer.
    pub(crate) fn around(&self, news: &News) -> Bytes {
        let document_bytes = news.document.as_ref().map_or(0, |document| document.bytes.len());
        let mut body = Vec::with_capacity(FRAME_BYTES + document_bytes);
        body.extend_from_slice(format!("{{\"host_id\":\"{}\"", self.host_id).as_bytes());
        if let Some(document) = &news.document {
            let head = format!(",\"generation\":{},\"desired\":", document.generation);
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&document.bytes);
        }
        if !news.secrets.is_empty() {
            member(&mut body, "secrets", &news.secrets);
        }
        if !news.ops.is_empty() {
            member(&mut body, "ops", &news.ops);
        }
        if !news.keysets.is_empty() {
            member(&mut body, "keysets", &news.keysets);
        }
        if let Some(ledger_seen) = &self.ledger_seen {
            member(&mut body, "ledger_seen", ledger_seen);
        }
        let (interval, blocked) = (self.poll_interval_s, self.blocked);
        let end = format!(",\"poll_interval_s\":{interval},\"blocked\":{blocked}}}");
        body.extend_from_slice(end.as_bytes());
        body.into()
    }
}

fn member(body: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    body.extend_from_slice(format!(",\"{name}\":").as_bytes());
    serde_json::to_writer(&mut *body, value).expect("plain data with string keys is written into memory");
}

fn json(body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use felhom_shared::signed::OpId;
    use felhom_shared::wire::PollAnswer;
    use serde_json::value::RawValue;

    use super::*;

    fn published(bytes: &[u8]) -> Document {
        Document { generation: Generation(7), bytes: bytes.to_vec(), secrets: Vec::new() }
    }

    #[test]
    fn the_body_is_the_wire_message() {
        let bytes = br#"{"version": 1, "identity": {"name": "box"}}"#;
        let host_id = HostId(uuid::Uuid::from_u128(9));
        let blob = "{\"op\":\"x\"}\n-----BEGIN\u{2028}\n".to_owned();
        let ops = vec![QueuedOp { op_id: OpId::of(blob.as_bytes()), blob: blob.clone() }];
        let ledger_seen = Some(LedgerHead { seq: 3, head: "a".repeat(64) });
        let token = SecretValue::new("eyJhIjoi").unwrap();
        let secrets = BTreeMap::from([(SecretName::new("tunnel-token").unwrap(), token)]);
        let whole = News { document: Some(published(bytes)), ops, keysets: vec![blob], secrets };
        for (news, ledger_seen) in [
            (News { document: Some(published(bytes)), ..News::default() }, None),
            (News { ops: whole.ops.clone(), ..News::default() }, ledger_seen.clone()),
            (whole, ledger_seen),
        ] {
            let frame =
                Frame { host_id, ledger_seen: ledger_seen.clone(), poll_interval_s: 60, blocked: true };
            let message = PollAnswer {
                host_id,
                generation: news.document.as_ref().map(|document| document.generation),
                desired: news.document.as_ref().map(|document| {
                    RawValue::from_string(String::from_utf8(document.bytes.clone()).unwrap()).unwrap()
                }),
                secrets: news.secrets.clone(),
                ops: news.ops.clone(),
                keysets: news.keysets.clone(),
                ledger_seen,
                poll_interval_s: 60,
                blocked: true,
            };
            assert_eq!(frame.around(&news), serde_json::to_vec(&message).unwrap());
        }
    }

    #[test]
    fn an_answer_carries_what_fits_and_at_least_one() {
        let blobs = |number: usize, size: usize| vec!["x".repeat(size); number].into_iter();
        assert_eq!(within(blobs(64, 1024), String::len).len(), 64);
        assert_eq!(within(blobs(64, ENVELOPE_BYTES_MAX), String::len).len(), 8);
    }
}
