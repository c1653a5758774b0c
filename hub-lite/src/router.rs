//! Every route of the hub, one a line.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{any, get, post, put};
use felhom_shared::limits::BODY_BYTES_MAX;
use felhom_shared::wire::{EVENTS_PATH, OPS_PATH, POLL_PATH, REPORT_PATH};

use crate::api::{host, operator};
use crate::error::ApiFailure;
use crate::metrics;
use crate::state::AppState;

/// The whole hub as one service.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route(POLL_PATH, get(host::poll::Poll))
        .route(REPORT_PATH, post(host::report::report))
        .route(EVENTS_PATH, post(host::events::events))
        .route(&format!("{OPS_PATH}/{{op_id}}/state"), post(host::op_state::op_state))
        .route(operator::PENDING_PATH, get(operator::pending::pending))
        .route(operator::OPS_PATH, get(operator::ops::list).post(operator::ops::put))
        .route(operator::KEYSETS_PATH, get(operator::keysets::list))
        .route(&format!("{}/{{version}}", operator::KEYSETS_PATH), put(operator::keysets::put))
        .route("/api/{*rest}", any(nothing))
        .route(metrics::PATH, get(metrics::for_operators))
        .merge(crate::web::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

async fn nothing() -> ApiFailure {
    ApiFailure::not_found()
}

async fn no_such_method() -> ApiFailure {
    let text = "this path does not take that method";
    ApiFailure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
}
