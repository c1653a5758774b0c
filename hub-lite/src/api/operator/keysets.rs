//! `PUT operator/keysets/{version}` and `GET operator/keysets`: who may sign, on its way to every box.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;

use crate::api::host::body::Sent;
use crate::auth::OperatorKey;
use crate::error::ApiFailure;
use crate::signed::{Uploader, hand_in_keyset};
use crate::state::AppState;
use crate::store::keysets;

/// A keyset with its number.
#[derive(Serialize)]
pub(crate) struct Numbered {
    version: u64,
    blob: String,
}

pub(crate) async fn put(
    State(state): State<AppState>,
    operator: OperatorKey,
    version: Result<Path<u64>, PathRejection>,
    sent: Sent,
) -> Result<StatusCode, ApiFailure> {
    let Ok(Path(version)) = version else { return Err(ApiFailure::not_found()) };
    let by = Uploader::now(operator.name);
    let new = hand_in_keyset(&state, version, sent.plain, by).await?;
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK })
}

pub(crate) async fn list(
    State(state): State<AppState>,
    _operator: OperatorKey,
) -> Result<Json<Vec<Numbered>>, ApiFailure> {
    let stored = state.store.read(|sql| keysets::after(sql, 0, usize::MAX)).await?;
    let numbered = |keyset: keysets::StoredKeyset| Numbered { version: keyset.version, blob: keyset.blob };
    Ok(Json(stored.into_iter().map(numbered).collect()))
}
