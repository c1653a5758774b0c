//! `POST host/report`: what a box says of itself.
//!
//! A state that is byte for byte the last one is noted in memory and written nowhere. Anything else is stored as
//! it was sent and answered after the commit.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use felhom_shared::id::HostId;
use felhom_shared::report::{GenerationState, Metrics};
use felhom_shared::wire::ControlEnvelope;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::body;
use crate::auth::HostAuth;
use crate::clock::now_ms;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::host_state::{self, Changed};

/// As much of a report as every report is read for.
#[derive(Deserialize)]
struct Envelope<'a> {
    metrics: Metrics,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// As much of a state as the host's row needs.
#[derive(Deserialize)]
struct Head {
    host_id: HostId,
    generation: GenerationState,
}

pub(crate) async fn report(
    State(state): State<AppState>,
    HostAuth(host_id): HostAuth,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<ControlEnvelope>, ApiFailure> {
    let (sent, plain) = body::open(&headers, bytes)?;
    let envelope: Envelope<'_> = serde_json::from_slice(&plain).map_err(|error| malformed(&error))?;
    let digest: [u8; 32] = Sha256::digest(envelope.state.get().as_bytes()).into();
    let now_ms = now_ms();
    if !state.live.is_stored(host_id, &digest) {
        let head: Head = serde_json::from_str(envelope.state.get()).map_err(|error| malformed(&error))?;
        if head.host_id != host_id {
            return Err(ApiFailure::not_found());
        }
        // The whole of it must be readable, or the page would show nothing later.
        serde_json::from_str::<felhom_shared::report::HostState>(envelope.state.get())
            .map_err(|error| malformed(&error))?;
        let changed = Changed { host_id, digest, body: sent, generation: head.generation, now_ms };
        state.store.write(move |sql| host_state::put(sql, &changed)).await?;
        state.live.stored(host_id, digest);
    }
    state.live.heard(host_id, envelope.metrics, now_ms);
    state.changed(host_id);
    let intent = state.live.intent(host_id);
    Ok(Json(ControlEnvelope {
        desired_generation: intent.generation,
        has_ops: false,
        poll_interval_s: state.config.poll_interval_s,
        blocked: intent.paused,
    }))
}

fn malformed(error: &serde_json::Error) -> ApiFailure {
    ApiFailure::new(
        StatusCode::BAD_REQUEST,
        "report_malformed",
        format!("the report cannot be read: {error}"),
    )
}
