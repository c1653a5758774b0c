//! `POST` and `GET operator/hosts/{host_id}/ops`: hand in a signed operation, and see what became of each.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use felhom_shared::id::HostId;
use felhom_shared::signed::OpId;
use felhom_shared::wire::QueueState;
use jiff::Timestamp;
use serde::Serialize;

use crate::api::host::body::Sent;
use crate::auth::OperatorKey;
use crate::error::ApiFailure;
use crate::signed::{KEPT_PER_HOST_MAX, Uploader, hand_in};
use crate::state::AppState;
use crate::store::hosts;
use crate::store::signed_ops::{self, SignedOp};

/// The answer to an upload.
#[derive(Serialize)]
pub(crate) struct Queued {
    op_id: OpId,
    state: QueueState,
}

/// An operation of the queue, as programs see it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    op_id: OpId,
    state: QueueState,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    uploaded_by: String,
    uploaded_at: Timestamp,
    changed_at: Timestamp,
}

impl From<SignedOp> for Listed {
    fn from(op: SignedOp) -> Self {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
        Self {
            op_id: op.op_id,
            state: op.state,
            code: op.code,
            text: op.text,
            uploaded_by: op.uploaded_by,
            uploaded_at: at(op.uploaded_at_ms),
            changed_at: at(op.changed_at_ms),
        }
    }
}

pub(crate) async fn put(
    State(state): State<AppState>,
    operator: OperatorKey,
    host_id: Result<Path<HostId>, PathRejection>,
    sent: Sent,
) -> Result<(StatusCode, Json<Queued>), ApiFailure> {
    let Ok(Path(host_id)) = host_id else { return Err(ApiFailure::not_found()) };
    let by = Uploader::now(operator.name);
    let uploaded = hand_in(&state, host_id, sent.plain, by).await?;
    let status = if uploaded.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Queued { op_id: uploaded.op_id, state: uploaded.state })))
}

pub(crate) async fn list(
    State(state): State<AppState>,
    _operator: OperatorKey,
    host_id: Result<Path<HostId>, PathRejection>,
) -> Result<Json<Vec<Listed>>, ApiFailure> {
    let Ok(Path(host_id)) = host_id else { return Err(ApiFailure::not_found()) };
    let ops = state.store.read(move |sql| {
        let Some(_) = hosts::get(sql, host_id)? else { return Ok(None) };
        signed_ops::list(sql, host_id, KEPT_PER_HOST_MAX).map(Some)
    });
    let ops = ops.await?.ok_or_else(ApiFailure::not_found)?;
    Ok(Json(ops.into_iter().map(Listed::from).collect()))
}
