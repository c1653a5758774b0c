//! `POST /logout`: the session ends on the hub, not only in the browser.

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::page::{refusal, store_failed};
use super::session::Operator;
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct Sent {
    csrf: String,
}

pub(super) async fn logout(
    State(state): State<AppState>,
    operator: Operator,
    Form(sent): Form<Sent>,
) -> Response {
    if !operator.sent(&sent.csrf) {
        let text = "The form belongs to another session. Nothing was done; reload the page and try again.";
        return refusal(StatusCode::FORBIDDEN, "Not from here", text);
    }
    match operator.end(&state.store).await {
        Ok(cookie) => ([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response(),
        Err(error) => store_failed(&error),
    }
}
