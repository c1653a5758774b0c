//! `POST /hosts/{host_id}/ops`: the form that hands in a signed operation. All it does is queue bytes.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use felhom_shared::id::HostId;
use serde::Deserialize;

use crate::signed::{self, UploadError, Uploader};
use crate::state::AppState;
use crate::web::page::{nothing_here, refusal, store_failed};
use crate::web::session::Operator;

/// An envelope in a form: each of its bytes can take three, each line end six.
pub(in crate::web) const FORM_BYTES_MAX: usize = 4 * felhom_shared::limits::ENVELOPE_BYTES_MAX + 1024;

#[derive(Deserialize)]
pub(in crate::web) struct Sent {
    csrf: String,
    envelope: String,
}

pub(in crate::web) async fn hand_in(
    State(state): State<AppState>,
    operator: Operator,
    Path(host_id): Path<String>,
    Form(sent): Form<Sent>,
) -> Response {
    let Ok(host_id) = host_id.parse::<HostId>() else { return nothing_here().await };
    if let Some(refused) = operator.refuses(&sent.csrf) {
        return refused;
    }
    let envelope = signed::from_form(&sent.envelope).into_bytes();
    match signed::hand_in(&state, host_id, envelope, Uploader::now(operator.name)).await {
        Ok(_) => Redirect::to(&format!("/hosts/{host_id}#signed")).into_response(),
        Err(UploadError::Store(error)) => store_failed(&error),
        Err(UploadError::NoHost) => nothing_here().await,
        Err(refused) => {
            let status = match refused {
                UploadError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                UploadError::QueueFull => StatusCode::CONFLICT,
                _ => StatusCode::BAD_REQUEST,
            };
            let text = format!("Nothing was queued: {refused}.");
            refusal(status, "Not taken", &text)
        }
    }
}
