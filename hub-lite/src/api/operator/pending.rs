//! `GET operator/pending`: the steps that boxes hold until somebody signs them, as the boxes reported them.
//!
//! Who signs does not believe this: felhom-sign parses each anew and shows what it would sign.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use felhom_shared::id::HostId;
use felhom_shared::report::PendingOp;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::auth::OperatorKey;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::{StoreError, host_state, hosts};

#[derive(Deserialize)]
pub(crate) struct Wanted {
    host: Option<String>,
}

/// What one host holds.
#[derive(Serialize)]
pub(crate) struct Held {
    host_id: HostId,
    name: String,
    /// The keyset that the box trusts; none means that it accepts no signature at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    keyset_version: Option<u64>,
    pending: Vec<PendingOp>,
}

pub(crate) async fn pending(
    State(state): State<AppState>,
    _operator: OperatorKey,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<Held>>, ApiFailure> {
    let Query(wanted) = wanted.map_err(|refused| {
        ApiFailure::new(StatusCode::BAD_REQUEST, "query_malformed", refused.body_text())
    })?;
    let Some(name) = wanted.host else {
        return Ok(Json(state.store.read(of_all).await?));
    };
    let host = state.store.read(move |sql| hosts::find(sql, &name)).await?;
    let host = host.ok_or_else(ApiFailure::not_found)?;
    let held = state.store.read(move |sql| of(sql, host.host_id, host.name)).await;
    match held {
        Ok(held) => Ok(Json(vec![held])),
        Err(StoreError::Damaged { .. }) => {
            let text =
                "this hub cannot read the host's latest report: the agent is probably newer, update the hub";
            Err(ApiFailure::new(StatusCode::CONFLICT, "report_unreadable", text))
        }
        Err(error) => Err(error.into()),
    }
}

/// Every host that holds something. A report that this hub is too old for holds up nobody else's.
fn of_all(sql: &Connection) -> Result<Vec<Held>, StoreError> {
    let rows = hosts::overview(sql)?;
    let holding = rows.into_iter().filter(|row| row.summary.as_ref().is_some_and(|said| said.to_sign > 0));
    let mut held = Vec::new();
    for host in holding.map(|row| row.host) {
        match of(sql, host.host_id, host.name) {
            Ok(one) => held.push(one),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

fn of(sql: &Connection, host_id: HostId, name: String) -> Result<Held, StoreError> {
    let ops = host_state::latest(sql, host_id)?.map(|latest| latest.state.ops).unwrap_or_default();
    Ok(Held { host_id, name, keyset_version: ops.keyset_version, pending: ops.pending })
}
