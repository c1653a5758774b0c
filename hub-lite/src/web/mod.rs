//! The operator's pages.

use axum::Router;

use crate::state::AppState;

/// Every page, one a line.
pub fn routes() -> Router<AppState> {
    Router::new()
}
