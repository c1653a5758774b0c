//! From a failure to a status and a body with a stable word. What went wrong inside is logged, not told.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use felhom_shared::text::chain;
use felhom_shared::wire::ApiError;

use crate::store::StoreError;

/// A refusal on its way to a client.
#[derive(Debug)]
pub struct ApiFailure {
    status: StatusCode,
    body: ApiError,
}

impl ApiFailure {
    /// A refusal with its status, stable word and sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ApiError { code: code.to_owned(), message: message.into() } }
    }

    /// What is not there, or not the key's: the same answer.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here for this key")
    }
}

impl From<StoreError> for ApiFailure {
    fn from(error: StoreError) -> Self {
        tracing::error!("store: {}", chain(&error));
        let text = "the hub could not store or read this; nothing was acknowledged, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", text)
    }
}

impl IntoResponse for ApiFailure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
