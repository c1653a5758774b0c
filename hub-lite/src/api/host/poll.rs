//! `GET host/poll`: parked until there is another document than the agent has seen.
//!
//! Whether the document may replace the agent's is the agent's decision; the hub answers as soon as it differs,
//! also when its number is lower, so that a restored hub becomes visible instead of silent.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use felhom_shared::id::{Generation, HostId};
use felhom_shared::limits::POLL_WAIT_S_MAX;
use felhom_shared::wire::{PollAnswer, PollQuery};
use tokio::time::Instant;

use crate::auth::HostAuth;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::{StoreError, desired_history};

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
            // Boxed, so that the many who are parked do not hold the room of the few who are answered.
            if let Some(answer) = Box::pin(answer(&state, host_id, &query)).await? {
                return Ok(Json(answer).into_response());
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

async fn answer(
    state: &AppState,
    host_id: HostId,
    query: &PollQuery,
) -> Result<Option<PollAnswer>, ApiFailure> {
    let current = state.store.read(move |sql| desired_history::current(sql, host_id)).await?;
    let Some(document) = current else { return Ok(None) };
    // Published since the poll was woken: the agent may have just this one, and would be told it in circles.
    if !differs(query, Some(document.generation), Some(&document.digest)) {
        return Ok(None);
    }
    let text = String::from_utf8(document.bytes);
    let desired = text.ok().and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    let desired =
        desired.ok_or_else(|| StoreError::Damaged { what: "document", text: "it is not JSON".to_owned() })?;
    Ok(Some(PollAnswer {
        host_id,
        generation: document.generation,
        desired,
        poll_interval_s: state.config.poll_interval_s,
        blocked: state.live.intent(host_id).paused,
    }))
}
