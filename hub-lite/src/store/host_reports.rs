//! Reports that said something new, as they were sent. Pruned by age, except each host's latest.

use std::io::Read;

use felhom_shared::id::HostId;
use felhom_shared::limits::REPORT_BYTES_MAX;
use rusqlite::{Connection, Row, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE host_reports (
    report_id INTEGER PRIMARY KEY,
    host_id TEXT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    encoding TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX host_reports_host ON host_reports (host_id, report_id);";

/// A body as it travelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they are compressed with zstd.
    pub zstd: bool,
}

impl Body {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { bytes: row.get(at)?, zstd: row.get::<_, String>(at + 1)? == "zstd" })
    }

    /// The JSON text, bounded: a body that unpacks to more than a report may have is damaged.
    pub fn plain(&self) -> Result<Vec<u8>, StoreError> {
        if !self.zstd {
            return Ok(self.bytes.clone());
        }
        let damaged = |text: String| StoreError::Damaged { what: "report body", text };
        let decoder =
            zstd::stream::read::Decoder::new(&self.bytes[..]).map_err(|error| damaged(error.to_string()))?;
        let mut plain = Vec::new();
        let most = REPORT_BYTES_MAX as u64 + 1;
        decoder.take(most).read_to_end(&mut plain).map_err(|error| damaged(error.to_string()))?;
        if plain.len() > REPORT_BYTES_MAX {
            return Err(damaged(format!("more than {REPORT_BYTES_MAX} bytes unpacked")));
        }
        Ok(plain)
    }
}

/// One stored report.
#[derive(Debug, Clone)]
pub struct StoredReport {
    /// Its number.
    pub report_id: i64,
    /// When it came, milliseconds.
    pub received_at_ms: i64,
    /// As sent.
    pub body: Body,
}

/// Stores a report and returns its number.
pub(super) fn insert(sql: &Connection, host_id: HostId, body: &Body, now_ms: i64) -> Result<i64, StoreError> {
    let encoding = if body.zstd { "zstd" } else { "json" };
    let mut statement = sql.prepare_cached(
        "INSERT INTO host_reports (host_id, received_at_ms, encoding, body) VALUES ($1, $2, $3, $4) RETURNING report_id",
    )?;
    Ok(statement.query_row(params![host_id.to_string(), now_ms, encoding, body.bytes], |row| row.get(0))?)
}

/// The newest reports of a host, newest first.
pub fn recent(sql: &Connection, host_id: HostId, most: u32) -> Result<Vec<StoredReport>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT report_id, received_at_ms, body, encoding FROM host_reports WHERE host_id = $1
         ORDER BY report_id DESC LIMIT $2",
    )?;
    let rows = statement.query_map(params![host_id.to_string(), most], |row| {
        Ok(StoredReport { report_id: row.get(0)?, received_at_ms: row.get(1)?, body: Body::read(row, 2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets reports older than `before_ms` that are not a host's latest.
pub fn prune(sql: &Connection, before_ms: i64) -> Result<usize, StoreError> {
    Ok(sql.execute(
        "DELETE FROM host_reports WHERE received_at_ms < $1
         AND report_id NOT IN (SELECT report_id FROM host_state)",
        [before_ms],
    )?)
}
