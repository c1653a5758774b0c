//! Signed operations on their way to a box. Blobs: nothing in this crate reads what is inside one.
//!
//! A row moves from queued over delivered to one of three final states, or straight to one, and never back.

use std::collections::HashMap;

use felhom_shared::id::HostId;
use felhom_shared::signed::OpId;
use felhom_shared::wire::{OpReceipt, QueueState, QueuedOp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE signed_ops (
    host_id TEXT NOT NULL REFERENCES hosts (host_id),
    op_id TEXT NOT NULL,            -- SHA-256 of the blob
    blob TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT,                      -- box-reported, or the hub's own when the box said nothing
    text TEXT,
    uploaded_by TEXT NOT NULL,
    uploaded_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (host_id, op_id)
);
CREATE INDEX signed_ops_state ON signed_ops (state, changed_at_ms);";

/// Most rows forgotten in one go.
const PRUNED_AT_ONCE: u32 = 5_000;

/// An operation in the queue, without its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOp {
    /// SHA-256 of the blob.
    pub op_id: OpId,
    /// How far it has come.
    pub state: QueueState,
    /// Why it is not done.
    pub code: Option<String>,
    /// The sentence to the code.
    pub text: Option<String>,
    /// Whose key or session brought it.
    pub uploaded_by: String,
    /// When, milliseconds.
    pub uploaded_at_ms: i64,
    /// When its state last changed, milliseconds.
    pub changed_at_ms: i64,
}

/// The stable word of a state, as the table holds it.
#[must_use]
pub fn word(state: QueueState) -> &'static str {
    match state {
        QueueState::Queued => "queued",
        QueueState::Delivered => "delivered",
        QueueState::Applied => "applied",
        QueueState::Rejected => "rejected",
        QueueState::Expired => "expired",
    }
}

/// Whether nothing changes this state any more.
#[must_use]
pub fn is_final(state: QueueState) -> bool {
    matches!(state, QueueState::Applied | QueueState::Rejected | QueueState::Expired)
}

fn state_of(word: &str) -> Result<QueueState, StoreError> {
    Ok(match word {
        "queued" => QueueState::Queued,
        "delivered" => QueueState::Delivered,
        "applied" => QueueState::Applied,
        "rejected" => QueueState::Rejected,
        "expired" => QueueState::Expired,
        other => return Err(StoreError::Damaged { what: "op state", text: other.to_owned() }),
    })
}

fn id_of<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged { what, text: text.to_owned() })
}

type Columns = (String, String, Option<String>, Option<String>, String, i64, i64);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
}

fn op_of(
    (op_id, state, code, text, uploaded_by, uploaded_at_ms, changed_at_ms): Columns,
) -> Result<SignedOp, StoreError> {
    let (op_id, state) = (id_of(&op_id, "op id")?, state_of(&state)?);
    Ok(SignedOp { op_id, state, code, text, uploaded_by, uploaded_at_ms, changed_at_ms })
}

const COLUMNS: &str = "op_id, state, code, text, uploaded_by, uploaded_at_ms, changed_at_ms";

/// Puts a blob into a host's queue.
pub fn insert(
    sql: &Connection,
    host_id: HostId,
    op: &QueuedOp,
    (uploaded_by, now_ms): (&str, i64),
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO signed_ops (host_id, op_id, blob, state, uploaded_by, uploaded_at_ms, changed_at_ms)
         VALUES ($1, $2, $3, 'queued', $4, $5, $5)",
        params![host_id.to_string(), op.op_id.as_str(), op.blob, uploaded_by, now_ms],
    )?;
    Ok(())
}

/// One operation of a host.
pub fn get(sql: &Connection, host_id: HostId, op_id: &OpId) -> Result<Option<SignedOp>, StoreError> {
    let mut statement =
        sql.prepare_cached(&format!("SELECT {COLUMNS} FROM signed_ops WHERE host_id = $1 AND op_id = $2"))?;
    let row = statement.query_row(params![host_id.to_string(), op_id.as_str()], columns).optional()?;
    row.map(op_of).transpose()
}

/// The newest operations of a host, newest first.
pub fn list(sql: &Connection, host_id: HostId, most: u32) -> Result<Vec<SignedOp>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM signed_ops WHERE host_id = $1 ORDER BY uploaded_at_ms DESC, op_id LIMIT $2"
    ))?;
    let rows = statement.query_map(params![host_id.to_string(), most], columns)?;
    rows.map(|row| op_of(row?)).collect()
}

/// The oldest blobs that a host has not taken, oldest first.
pub fn queued(sql: &Connection, host_id: HostId, most: usize) -> Result<Vec<QueuedOp>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT op_id, blob FROM signed_ops WHERE host_id = $1 AND state = 'queued'
         ORDER BY uploaded_at_ms, op_id LIMIT $2",
    )?;
    let rows = statement
        .query_map(params![host_id.to_string(), i64::try_from(most).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
    rows.map(|row| {
        let (op_id, blob) = row?;
        Ok(QueuedOp { op_id: id_of(&op_id, "op id")?, blob })
    })
    .collect()
}

/// How many operations a host has not taken.
pub fn queued_count(sql: &Connection, host_id: HostId) -> Result<u32, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT count(*) FROM signed_ops WHERE host_id = $1 AND state = 'queued'")?;
    Ok(statement.query_row([host_id.to_string()], |row| row.get(0))?)
}

/// How many operations each host has not taken; hosts without one are left out.
pub fn queued_counts(sql: &Connection) -> Result<HashMap<HostId, u32>, StoreError> {
    let mut statement = sql
        .prepare_cached("SELECT host_id, count(*) FROM signed_ops WHERE state = 'queued' GROUP BY host_id")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (host_id, count) = row?;
        Ok((id_of(&host_id, "host id")?, count))
    })
    .collect()
}

/// Forgets a host's oldest operations in a final state until it has fewer than `most` rows. `false`: it cannot.
pub fn make_room(sql: &Connection, host_id: HostId, most: u32) -> Result<bool, StoreError> {
    let held: u32 =
        sql.query_row("SELECT count(*) FROM signed_ops WHERE host_id = $1", [host_id.to_string()], |row| {
            row.get(0)
        })?;
    if held < most {
        return Ok(true);
    }
    let over = held - most + 1;
    let gone = sql.execute(
        "DELETE FROM signed_ops WHERE host_id = $1 AND op_id IN (
            SELECT op_id FROM signed_ops WHERE host_id = $1 AND state IN ('applied', 'rejected', 'expired')
            ORDER BY changed_at_ms LIMIT $2)",
        params![host_id.to_string(), over],
    )?;
    Ok(gone == over as usize)
}

/// Moves an operation on.
pub fn set_state(
    sql: &Connection,
    host_id: HostId,
    op_id: &OpId,
    (receipt, now_ms): (&OpReceipt, i64),
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE signed_ops SET state = $1, code = $2, text = $3, changed_at_ms = $4
         WHERE host_id = $5 AND op_id = $6",
        params![word(receipt.state), receipt.code, receipt.text, now_ms, host_id.to_string(), op_id.as_str()],
    )?;
    Ok(())
}

/// Operations that have stood in a state since before `before_ms`, of all hosts.
pub fn standing(
    sql: &Connection,
    state: QueueState,
    before_ms: i64,
    most: u32,
) -> Result<Vec<(HostId, OpId)>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT host_id, op_id FROM signed_ops WHERE state = $1 AND changed_at_ms < $2
         ORDER BY changed_at_ms LIMIT $3",
    )?;
    let rows = statement.query_map(params![word(state), before_ms, most], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (host_id, op_id) = row?;
        Ok((id_of(&host_id, "host id")?, id_of(&op_id, "op id")?))
    })
    .collect()
}

/// Forgets what reached a final state before `before_ms`. Returns how many.
pub fn prune(sql: &Connection, before_ms: i64) -> Result<usize, StoreError> {
    Ok(sql.execute(
        "DELETE FROM signed_ops WHERE (host_id, op_id) IN (
            SELECT host_id, op_id FROM signed_ops
            WHERE state IN ('applied', 'rejected', 'expired') AND changed_at_ms < $1 LIMIT $2)",
        params![before_ms, PRUNED_AT_ONCE],
    )?)
}
