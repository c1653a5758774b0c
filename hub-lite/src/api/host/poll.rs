//! `GET host/poll`: parked until there is another document than the agent has seen.
//!
//! Whether the document may replace the agent's is the agent's decision; the hub answers as soon as it differs,
//! also when its number is lower, so that a restored hub becomes visible instead of silent.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use felhom_shared::id::{Generation, HostId};
use felhom_shared::limits::POLL_WAIT_S_MAX;
use felhom_shared::wire::PollQuery;
use tokio::time::Instant;

use crate::auth::HostAuth;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::desired_history::{self, Published};

pub(crate) async fn poll(
    State(state): State<AppState>,
    HostAuth(host_id): HostAuth,
    query: Result<Query<PollQuery>, QueryRejection>,
) -> Result<Response, ApiFailure> {
    let Query(query) = query
        .map_err(|refused| ApiFailure::new(StatusCode::BAD_REQUEST, "poll_malformed", refused.body_text()))?;
    let deadline = Instant::now() + Duration::from_secs(query.wait.min(POLL_WAIT_S_MAX));
    let news = state.live.news(host_id);
    loop {
        // Registered before looking: a publish between look and wait is not missed.
        let mut woken = std::pin::pin!(news.notified());
        woken.as_mut().enable();
        let intent = state.live.intent(host_id);
        if differs(&query, intent.generation, intent.digest.as_ref()) {
            if let Some(body) = state.live.take_fresh(host_id) {
                return Ok(json(body));
            }
            // Boxed, so that the many who are parked do not hold the room of the few who are answered.
            if let Some(answer) = Box::pin(answer(&state, host_id, &query)).await? {
                return Ok(json(answer));
            }
        }
        if state.live.is_stopping() || tokio::time::timeout_at(deadline, woken).await.is_err() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
}

/// Whether the agent has not seen what is published. Without a digest it is asked for the number alone.
fn differs(query: &PollQuery, generation: Option<Generation>, digest: Option<&String>) -> bool {
    let other_digest = query.digest.is_some() && query.digest.as_ref() != digest;
    generation.is_some() && (query.have != generation || other_digest)
}

async fn answer(state: &AppState, host_id: HostId, query: &PollQuery) -> Result<Option<Bytes>, ApiFailure> {
    let current = state.store.read(move |sql| desired_history::current(sql, host_id)).await?;
    let Some(document) = current else { return Ok(None) };
    // Published since the poll was woken: the agent may have just this one, and would be told it in circles.
    if !differs(query, Some(document.generation), Some(&document.digest)) {
        return Ok(None);
    }
    let paused = state.live.intent(host_id).paused;
    Ok(Some(body(host_id, &document, state.config.poll_interval_s, paused)))
}

/// A [`felhom_shared::wire::PollAnswer`] around the document's bytes. They were parsed when they were published;
/// parsing them again for every box that fetches them would be the most expensive part of the answer.
pub(crate) fn body(host_id: HostId, document: &Published, poll_interval_s: u64, blocked: bool) -> Bytes {
    let generation = document.generation;
    let mut body =
        format!("{{\"host_id\":\"{host_id}\",\"generation\":{generation},\"desired\":").into_bytes();
    body.extend_from_slice(&document.bytes);
    body.extend_from_slice(
        format!(",\"poll_interval_s\":{poll_interval_s},\"blocked\":{blocked}}}").as_bytes(),
    );
    body.into()
}

fn json(body: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use felhom_shared::wire::PollAnswer;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn the_body_is_the_wire_message() {
        let bytes = br#"{"version": 1, "identity": {"name": "box"}}"#.to_vec();
        let document = Published {
            generation: Generation(7),
            bytes: bytes.clone(),
            digest: String::new(),
            author: String::new(),
            note: None,
            published_at_ms: 0,
        };
        let host_id = HostId(uuid::Uuid::from_u128(9));
        let message = PollAnswer {
            host_id,
            generation: Some(Generation(7)),
            desired: Some(RawValue::from_string(String::from_utf8(bytes).unwrap()).unwrap()),
            ops: Vec::new(),
            keysets: Vec::new(),
            ledger_seen: None,
            poll_interval_s: 60,
            blocked: true,
        };
        assert_eq!(body(host_id, &document, 60, true), serde_json::to_vec(&message).unwrap());
    }
}
