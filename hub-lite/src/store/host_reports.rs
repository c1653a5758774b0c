//! Reports that said something new, as they were sent. Pruned by age, except each host's latest.

use std::cell::RefCell;

use felhom_shared::id::HostId;
use felhom_shared::limits::REPORT_BYTES_MAX;
use rusqlite::{Connection, OptionalExtension, Row, params};
use zstd::bulk::Decompressor;

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE host_reports (
    report_id INTEGER PRIMARY KEY,
    host_id TEXT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    encoding TEXT NOT NULL,
    body BLOB NOT NULL,
    previous_id BIGINT      -- the same host's report before this one: an index by host would cost a page a report
);";

/// Most reports forgotten in one go, so that a hub that was off for long does not hold up its writers.
const PRUNED_AT_ONCE: usize = 5_000;
/// How many young reports end the search for old ones. More than one, because the hub's clock may have run ahead for
/// a while.
const YOUNG_IN_A_ROW: u32 = 1_000;

/// A body as it travelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they are compressed with zstd.
    pub zstd: bool,
}

thread_local! {
    /// Making a context costs more than unpacking a report with it.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

impl Body {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { bytes: row.get(at)?, zstd: row.get::<_, String>(at + 1)? == "zstd" })
    }

    /// The JSON text. Unpacked in one pass into a buffer of at most [`REPORT_BYTES_MAX`]: a body that promises or
    /// yields more fails, and the window that its frame asks for is never allocated.
    pub fn plain(&self) -> Result<Vec<u8>, StoreError> {
        if !self.zstd {
            return Ok(self.bytes.clone());
        }
        let damaged = |error: std::io::Error| StoreError::Damaged { what: "body", text: error.to_string() };
        DECOMPRESSOR.with_borrow_mut(|context| {
            let context = match context {
                Some(context) => context,
                None => context.insert(Decompressor::new().map_err(damaged)?),
            };
            context.decompress(&self.bytes, REPORT_BYTES_MAX).map_err(damaged)
        })
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

/// Stores a report and returns its number, which is higher than that of every report before.
pub(super) fn insert(
    sql: &Connection,
    host_id: &str,
    previous_id: Option<i64>,
    body: &Body,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let encoding = if body.zstd { "zstd" } else { "json" };
    let mut statement = sql.prepare_cached(
        "INSERT INTO host_reports (host_id, received_at_ms, encoding, body, previous_id)
         VALUES ($1, $2, $3, $4, $5)",
    )?;
    // Its number is asked for afterwards: RETURNING goes by way of a table of its own.
    Ok(statement.insert(params![host_id, now_ms, encoding, body.bytes, previous_id])?)
}

/// The newest reports of a host, newest first.
pub fn recent(sql: &Connection, host_id: HostId, most: u32) -> Result<Vec<StoredReport>, StoreError> {
    let mut latest = sql.prepare_cached("SELECT report_id FROM host_state WHERE host_id = $1")?;
    let mut next: Option<i64> = latest.query_row([host_id.to_string()], |row| row.get(0)).optional()?;
    let mut statement = sql.prepare_cached(
        "SELECT report_id, received_at_ms, body, encoding, previous_id FROM host_reports WHERE report_id = $1",
    )?;
    let mut reports = Vec::new();
    while let Some(report_id) = next.filter(|_| reports.len() < most as usize) {
        // Where the row before was pruned, the chain ends.
        let row = statement.query_row([report_id], |row| {
            let body = Body::read(row, 2)?;
            Ok((StoredReport { report_id: row.get(0)?, received_at_ms: row.get(1)?, body }, row.get(4)?))
        });
        let Some((report, previous)) = row.optional()? else { break };
        reports.push(report);
        next = previous;
    }
    Ok(reports)
}

/// Forgets reports older than `before_ms` that are not a host's latest. Returns how many.
///
/// They are looked for from the oldest number on, which is the order they came in: an index by age would be one more
/// page to write for every batch of reports.
pub fn prune(sql: &Connection, before_ms: i64) -> Result<usize, StoreError> {
    let mut walk = sql.prepare_cached(
        "SELECT report_id, received_at_ms FROM host_reports
         WHERE report_id NOT IN (SELECT report_id FROM host_state) ORDER BY report_id",
    )?;
    let mut rows = walk.query([])?;
    let (mut old, mut young) = (Vec::<i64>::new(), 0);
    while old.len() < PRUNED_AT_ONCE && young < YOUNG_IN_A_ROW {
        let Some(row) = rows.next()? else { break };
        if row.get::<_, i64>(1)? < before_ms {
            old.push(row.get(0)?);
            young = 0;
        } else {
            young += 1;
        }
    }
    drop(rows);
    let mut forget = sql.prepare_cached("DELETE FROM host_reports WHERE report_id = $1")?;
    for report_id in &old {
        forget.execute([report_id])?;
    }
    Ok(old.len())
}
