//! `POST host/ops/{op_id}/state`: what became of a signed operation, in the box's words. Final once.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use felhom_shared::id::HostId;
use felhom_shared::limits::cut_text;
use felhom_shared::signed::OpId;
use felhom_shared::wire::{OpReceipt, QueueState};
use rusqlite::Connection;

use super::body::Sent;
use crate::auth::HostAuth;
use crate::clock::now_ms;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::{StoreError, audit, hosts, signed_ops};

const CODE_BYTES_MAX: usize = 64;

enum Received {
    Moved,
    Same,
    Final(QueueState),
    Unknown,
}

pub(crate) async fn op_state(
    State(state): State<AppState>,
    HostAuth(host_id): HostAuth,
    op_id: Result<Path<OpId>, PathRejection>,
    sent: Sent,
) -> Result<StatusCode, ApiFailure> {
    let Ok(Path(op_id)) = op_id else { return Err(ApiFailure::not_found()) };
    let receipt = read(&sent.plain)?;
    let now_ms = now_ms();
    let received = state.store.write(move |sql| receive(sql, host_id, &op_id, (&receipt, now_ms))).await?;
    match received {
        Received::Moved => {
            state.reload(host_id).await?;
            state.changed(host_id);
            Ok(StatusCode::NO_CONTENT)
        }
        Received::Same => Ok(StatusCode::NO_CONTENT),
        Received::Unknown => Err(ApiFailure::not_found()),
        Received::Final(held) => {
            let text = format!("this operation is {} here, and that is final", signed_ops::word(held));
            Err(ApiFailure::new(StatusCode::CONFLICT, "op_final", text))
        }
    }
}

fn read(body: &[u8]) -> Result<OpReceipt, ApiFailure> {
    let malformed = |text: String| ApiFailure::new(StatusCode::BAD_REQUEST, "receipt_malformed", text);
    let mut receipt: OpReceipt = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the receipt cannot be read: {error}")))?;
    if receipt.state == QueueState::Queued {
        return Err(malformed("a box that has an operation cannot say that it is queued".to_owned()));
    }
    if receipt.code.as_ref().is_some_and(|code| code.len() > CODE_BYTES_MAX) {
        return Err(malformed("the receipt's code is too long".to_owned()));
    }
    receipt.text = receipt.text.as_deref().map(cut_text);
    Ok(receipt)
}

fn receive(
    sql: &Connection,
    host_id: HostId,
    op_id: &OpId,
    (receipt, now_ms): (&OpReceipt, i64),
) -> Result<Received, StoreError> {
    let Some(held) = signed_ops::get(sql, host_id, op_id)? else { return Ok(Received::Unknown) };
    if held.state == receipt.state {
        return Ok(Received::Same);
    }
    if signed_ops::is_final(held.state) {
        return Ok(Received::Final(held.state));
    }
    signed_ops::set_state(sql, host_id, op_id, (receipt, now_ms))?;
    let name = hosts::get(sql, host_id)?.map(|host| host.name).unwrap_or_default();
    let deed = format!("op_{}", signed_ops::word(receipt.state));
    let detail = match &receipt.code {
        Some(code) => format!("{op_id} {code}"),
        None => op_id.to_string(),
    };
    audit::append(sql, &format!("box {name}"), &deed, Some(host_id), (&detail, now_ms))?;
    Ok(Received::Moved)
}
