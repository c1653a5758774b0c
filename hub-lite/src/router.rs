//! Every route of the hub, one a line.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use felhom_shared::limits::BODY_BYTES_MAX;
use felhom_shared::wire::{EVENTS_PATH, POLL_PATH, REPORT_PATH};

use crate::api::host;
use crate::error::ApiFailure;
use crate::state::AppState;

/// The whole hub as one service.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route(POLL_PATH, get(host::poll::poll))
        .route(REPORT_PATH, post(host::report::report))
        .route(EVENTS_PATH, post(host::events::events))
        .route("/api/{*rest}", get(nothing).post(nothing))
        .merge(crate::web::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

async fn nothing() -> ApiFailure {
    ApiFailure::not_found()
}
