//! `POST host/report`: what a box says of itself.
//!
//! A state that is byte for byte the last one is noted in memory and written nowhere. Anything else is stored as
//! it was sent and answered after the commit. Only what the hub acts on must be readable: a state with words that
//! this hub does not know is kept, and shown as unreadable rather than refused.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_shared::id::HostId;
use felhom_shared::report::{GenerationState, Metrics};
use felhom_shared::wire::ControlEnvelope;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::body::Sent;
use super::known::Known;
use crate::auth::HostAuth;
use crate::checks::{conflict, ledger};
use crate::clock::now_ms;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::host_reports::Body;
use crate::store::host_state::{self, Changed};

/// Beyond this a generation does not fit the store's numbers; no honest box is near it.
const GENERATION_MAX: u64 = 1 << 62;

/// As much of a report as every report is read for.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(rename = "sent_at")]
    _sent_at: Timestamp,
    metrics: Metrics,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// As much of a state as the hub acts on.
#[derive(Deserialize)]
struct Head {
    host_id: HostId,
    generation: GenerationState,
}

pub(crate) async fn report(
    State(state): State<AppState>,
    HostAuth(host_id): HostAuth,
    sent: Sent,
) -> Result<Json<ControlEnvelope>, ApiFailure> {
    let now_ms = now_ms();
    let envelope: Envelope<'_> = serde_json::from_slice(&sent.plain).map_err(|error| malformed(&error))?;
    let digest: [u8; 32] = Sha256::digest(envelope.state.get().as_bytes()).into();
    let is_new = !state.live.is_stored(host_id, &digest);
    if is_new {
        let changed = changed(host_id, digest, envelope.state.get(), sent.body, now_ms)?;
        store(&state, changed).await?;
    }
    state.counters.report(is_new);
    let wanted = state.live.heard(host_id, envelope.metrics, now_ms, |intent| ControlEnvelope {
        desired_generation: intent.generation,
        has_ops: intent.queued > 0,
        poll_interval_s: state.config.poll_interval_s,
        blocked: intent.paused,
    });
    state.changed(host_id);
    Ok(Json(wanted))
}

fn changed(
    host_id: HostId,
    digest: [u8; 32],
    state: &str,
    body: Body,
    now_ms: i64,
) -> Result<Changed, ApiFailure> {
    let whole = serde_json::from_str::<Known>(state);
    let (head, summary, ledger) = match whole {
        Ok(state) => {
            let summary = state.summary();
            (Head { host_id: state.host_id, generation: state.generation }, Some(summary), state.ops.ledger)
        }
        Err(whole) => {
            let head = serde_json::from_str::<Head>(state).map_err(|error| malformed(&error))?;
            tracing::warn!(host.id = %host_id, "a state is kept but not understood: {whole}");
            (head, None, None)
        }
    };
    if head.host_id != host_id {
        return Err(ApiFailure::not_found());
    }
    let GenerationState { received, reached, .. } = head.generation;
    if received.max(reached).is_some_and(|generation| generation.0 > GENERATION_MAX) {
        return Err(malformed(&"a generation is beyond 2^62"));
    }
    Ok(Changed { host_id, digest, body, generation: head.generation, summary, ledger, now_ms })
}

async fn store(state: &AppState, changed: Changed) -> Result<(), ApiFailure> {
    let (host_id, digest) = (changed.host_id, changed.digest);
    if state.config.commit.nothing {
        state.live.stored(host_id, 0, digest);
        return Ok(());
    }
    let (report_id, furthest) = state
        .store
        .write(move |sql| {
            let put = host_state::put(sql, &changed)?;
            // A report begins or ends a conflict only by what the box received.
            if put.received_another {
                conflict::check(sql, changed.host_id)?;
            }
            Ok((put.report_id, ledger::check(sql, changed.host_id, changed.ledger.as_ref())?))
        })
        .await?;
    if let Some(furthest) = furthest {
        state.live.set_ledger(host_id, furthest);
    }
    state.live.stored(host_id, report_id, digest);
    Ok(())
}

fn malformed(reason: &dyn std::fmt::Display) -> ApiFailure {
    let text = format!("the report cannot be read: {reason}");
    ApiFailure::new(StatusCode::BAD_REQUEST, "report_malformed", text)
}
