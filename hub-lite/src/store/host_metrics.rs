//! Numbers over time, for the charts: a few per hour, written down in batches, pruned by age.

use felhom_shared::id::HostId;
use felhom_shared::report::Metrics;
use rusqlite::{Connection, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE host_metrics (
    host_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (host_id, at_ms)
);";

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it came, milliseconds.
    pub at_ms: i64,
    /// What it says.
    pub metrics: Metrics,
}

/// Stores a sample; a second one of the same millisecond is dropped.
pub fn insert(sql: &Connection, host_id: HostId, sample: &Sample) -> Result<(), StoreError> {
    let text = serde_json::to_string(&sample.metrics).expect("metrics are plain numbers under string keys");
    let mut statement = sql.prepare_cached(
        "INSERT INTO host_metrics (host_id, at_ms, metrics) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )?;
    statement.execute(params![host_id.to_string(), sample.at_ms, text])?;
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

/// Forgets samples older than `before_ms`.
pub fn prune(sql: &Connection, before_ms: i64) -> Result<usize, StoreError> {
    Ok(sql.execute("DELETE FROM host_metrics WHERE at_ms < $1", [before_ms])?)
}
