//! `POST host/events`: the next events of a box's outbox, kept exactly once, acknowledged when durable.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_shared::limits::{EVENTS_PER_POST_MAX, TEXT_BYTES_MAX};
use felhom_shared::wire::{EventsAck, EventsPost};

use super::body::Sent;
use crate::auth::HostAuth;
use crate::clock::now_ms;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::events::{self, Appended, HUB_OUTBOX};

pub(crate) async fn events(
    State(state): State<AppState>,
    HostAuth(host_id): HostAuth,
    sent: Sent,
) -> Result<Json<EventsAck>, ApiFailure> {
    let post: EventsPost = serde_json::from_slice(&sent.plain)
        .map_err(|error| malformed(&format!("it cannot be read: {error}")))?;
    check(&post).map_err(malformed)?;
    let (now_ms, count) = (now_ms(), post.events.len());
    let appended = state
        .store
        .write(move |sql| events::append(sql, host_id, post.outbox_id, &post.events, now_ms))
        .await?;
    state.changed(host_id);
    match appended {
        Appended::UpTo(acked_seq) => {
            state.counters.events(count);
            Ok(Json(EventsAck { acked_seq }))
        }
        Appended::Gap(held) => {
            let text = format!("the hub holds this outbox up to {held}; send on from {}", held + 1);
            Err(ApiFailure::new(StatusCode::CONFLICT, "events_gap", text))
        }
    }
}

fn check(post: &EventsPost) -> Result<(), &'static str> {
    if post.outbox_id == HUB_OUTBOX {
        return Err("the outbox's id is the hub's own");
    }
    if post.events.len() > EVENTS_PER_POST_MAX {
        return Err("it carries more events than one post may");
    }
    if post.events.iter().any(|event| event.seq == 0 || event.seq > i64::MAX.unsigned_abs()) {
        return Err("a seq is not between 1 and 2^63");
    }
    if !post.events.is_sorted_by(|a, b| a.seq < b.seq) {
        return Err("its events are not ascending by seq");
    }
    if post.events.iter().any(|event| event.text.len() > TEXT_BYTES_MAX || event.kind.len() > 64) {
        return Err("an event's text or kind is too long");
    }
    Ok(())
}

fn malformed(text: &str) -> ApiFailure {
    ApiFailure::new(StatusCode::BAD_REQUEST, "events_malformed", format!("the events: {text}"))
}
