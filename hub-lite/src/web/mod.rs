//! The operator's pages: one page a file, its template beside it. Complete without scripts; a small script of our
//! own swaps in fresher pieces.
//!
//! They read the store and decide nothing; what a page changes is the operator's own session, the queue of signed
//! operations, where it can only add what a box then judges, and the next document, as `felhom-hub desired publish` does.
//! Nothing is loaded from anywhere else, and the content security policy holds us to it.

mod amount;
mod assets;
mod badge;
mod chart;
mod generation;
mod headers;
mod host;
mod hosts;
mod live;
mod login;
mod logout;
mod moment;
mod page;
mod same_origin;
mod session;
mod shown;
mod throttle;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};

use crate::state::AppState;

/// Login and logout; what else is sent here has a limit of its own.
const FORM_BYTES_MAX: usize = 8 * 1024;

/// Every page, one a line.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(hosts::hosts))
        .route("/live", get(live::all))
        .route("/hosts/{host_id}", get(host::host))
        .route("/hosts/{host_id}/live", get(live::one))
        .route("/hosts/{host_id}/generations/{generation}", get(generation::generation))
        .route("/hosts/{host_id}/ops", post(host::hand_in).layer(DefaultBodyLimit::max(host::FORM_BYTES_MAX)))
        .route("/hosts/{host_id}/storage", post(host::assign))
        .route("/login", get(login::form).post(login::login))
        .route("/logout", post(logout::logout))
        .route("/assets/{file}", get(assets::asset))
        .route("/{*rest}", get(page::nothing_here))
        .layer(Extension(Arc::new(login::Gate::default())))
        .layer(Extension(live::Seats::default()))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::from_fn(same_origin::guard))
        .layer(middleware::from_fn(headers::secure))
}
