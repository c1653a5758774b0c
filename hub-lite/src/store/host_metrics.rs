//! Numbers over time, for the charts: a ring of a week per host, written down in batches.
//!
//! A ring needs no pruning and cannot grow: a sample takes the place of the one a week before it.

use felhom_shared::id::HostId;
use felhom_shared::report::Metrics;
use rusqlite::{Connection, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE host_metrics (
    host_id TEXT NOT NULL,
    slot BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (host_id, slot)
);";

/// How far apart two samples are kept; of nearer ones the newer stays.
const SLOT_MS: i64 = 10 * 60 * 1000;
/// A week.
const SLOTS: i64 = 7 * 24 * 6;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it came, milliseconds.
    pub at_ms: i64,
    /// What it says.
    pub metrics: Metrics,
}

/// Stores a sample in its place of the ring.
pub fn put(sql: &Connection, host_id: HostId, sample: &Sample) -> Result<(), StoreError> {
    let text = serde_json::to_string(&sample.metrics).expect("metrics are plain numbers under string keys");
    let slot = sample.at_ms.div_euclid(SLOT_MS).rem_euclid(SLOTS);
    let mut statement = sql.prepare_cached(
        "INSERT INTO host_metrics (host_id, slot, at_ms, metrics) VALUES ($1, $2, $3, $4)
         ON CONFLICT (host_id, slot) DO UPDATE SET at_ms = $3, metrics = $4",
    )?;
    statement.execute(params![host_id.to_string(), slot, sample.at_ms, text])?;
    Ok(())
}

/// The samples of a host since a time, oldest first.
pub fn series(sql: &Connection, host_id: HostId, since_ms: i64) -> Result<Vec<Sample>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT at_ms, metrics FROM host_metrics WHERE host_id = $1 AND at_ms >= $2 ORDER BY at_ms",
    )?;
    let rows = statement.query_map(params![host_id.to_string(), since_ms], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (at_ms, text) = row?;
        let metrics = serde_json::from_str(&text)
            .map_err(|error| StoreError::Damaged { what: "metrics", text: error.to_string() })?;
        Ok(Sample { at_ms, metrics })
    })
    .collect()
}
