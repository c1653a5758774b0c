//! Which report holds each host's latest state. A mirror: shown, never taken for intent.

use felhom_shared::id::HostId;
use felhom_shared::report::{HostReport, HostState};
use rusqlite::{Connection, OptionalExtension, params};

use super::host_reports::{self, Body};
use super::{StoreError, hosts};

pub(super) const SCHEMA: &str = "
CREATE TABLE host_state (
    host_id TEXT PRIMARY KEY REFERENCES hosts (host_id),
    digest BLOB NOT NULL,
    report_id BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL
);";

/// A report that says something new.
#[derive(Debug)]
pub struct Changed {
    /// Whose.
    pub host_id: HostId,
    /// SHA-256 of its `state`.
    pub digest: [u8; 32],
    /// The report as it was sent.
    pub body: Body,
    /// How far the box has come, for the host's row.
    pub generation: felhom_shared::report::GenerationState,
    /// When it came.
    pub now_ms: i64,
}

/// The latest state of a host.
#[derive(Debug, Clone)]
pub struct Latest {
    /// What it is.
    pub state: HostState,
    /// Since when, milliseconds.
    pub changed_at_ms: i64,
}

/// Stores a changed report and makes it the host's latest.
pub fn put(sql: &Connection, changed: &Changed) -> Result<(), StoreError> {
    let report_id = host_reports::insert(sql, changed.host_id, &changed.body, changed.now_ms)?;
    let mut statement = sql.prepare_cached(
        "INSERT INTO host_state (host_id, digest, report_id, changed_at_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (host_id) DO UPDATE SET digest = $2, report_id = $3, changed_at_ms = $4",
    )?;
    statement.execute(params![changed.host_id.to_string(), changed.digest, report_id, changed.now_ms])?;
    hosts::set_reported(sql, changed.host_id, &changed.generation, changed.now_ms)
}

/// The latest state of a host, if it has reported.
pub fn latest(sql: &Connection, host_id: HostId) -> Result<Option<Latest>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT r.body, r.encoding, s.changed_at_ms FROM host_state s
         JOIN host_reports r ON r.report_id = s.report_id WHERE s.host_id = $1",
    )?;
    let row =
        statement.query_row([host_id.to_string()], |row| Ok((Body::read(row, 0)?, row.get::<_, i64>(2)?)));
    let Some((body, changed_at_ms)) = row.optional()? else { return Ok(None) };
    let report: HostReport = serde_json::from_slice(&body.plain()?)
        .map_err(|error| StoreError::Damaged { what: "report", text: error.to_string() })?;
    Ok(Some(Latest { state: report.state, changed_at_ms }))
}

/// The digest of every host's latest state, for a hub that starts.
pub fn digests(sql: &Connection) -> Result<Vec<(HostId, [u8; 32])>, StoreError> {
    let mut statement = sql.prepare("SELECT host_id, digest FROM host_state")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?)))?;
    rows.map(|row| {
        let (id, digest) = row?;
        let host_id = id
            .parse()
            .map_err(|error: uuid::Error| StoreError::Damaged { what: "host id", text: error.to_string() })?;
        Ok((host_id, digest))
    })
    .collect()
}
