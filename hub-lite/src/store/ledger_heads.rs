//! How far each box's ledger was ever seen to reach. A box that was restored from an image has forgotten which
//! operations it ran; that its ledger is shorter than it was is how anybody can tell.

use std::collections::HashSet;

use felhom_shared::id::HostId;
use felhom_shared::report::LedgerHead;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE ledger_heads (
    host_id TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,                        -- the highest ever reported
    head TEXT NOT NULL,
    told_rolled_back BIGINT NOT NULL DEFAULT 0  -- the hub's own: whether a rollback was told and is not over
);";

/// What is remembered of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its furthest end.
    pub furthest: LedgerHead,
    /// Whether the box has since reported another end that does not lie beyond it.
    pub rolled_back: bool,
}

fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Remembered> {
    let furthest = LedgerHead { seq: row.get::<_, i64>(at)?.cast_unsigned(), head: row.get(at + 1)? };
    Ok(Remembered { furthest, rolled_back: row.get::<_, i64>(at + 2)? != 0 })
}

/// What is remembered of a host's ledger.
pub fn get(sql: &Connection, host_id: HostId) -> Result<Option<Remembered>, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT seq, head, told_rolled_back FROM ledger_heads WHERE host_id = $1")?;
    Ok(statement.query_row([host_id.to_string()], |row| read(row, 0)).optional()?)
}

/// What is remembered of every ledger, for a hub that starts.
pub fn all(sql: &Connection) -> Result<Vec<(HostId, LedgerHead)>, StoreError> {
    let mut statement = sql.prepare("SELECT host_id, seq, head, told_rolled_back FROM ledger_heads")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, read(row, 1)?)))?;
    rows.map(|row| {
        let (id, remembered) = row?;
        Ok((host_id_of(&id)?, remembered.furthest))
    })
    .collect()
}

/// The hosts whose ledger is not what it was.
pub fn rolled_back(sql: &Connection) -> Result<HashSet<HostId>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT host_id FROM ledger_heads WHERE told_rolled_back <> 0")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|id| host_id_of(&id?)).collect()
}

fn host_id_of(id: &str) -> Result<HostId, StoreError> {
    id.parse().map_err(|error: uuid::Error| StoreError::Damaged { what: "host id", text: error.to_string() })
}

/// Remembers what a host's ledger is to be compared with.
pub fn put(sql: &Connection, host_id: HostId, remembered: &Remembered) -> Result<(), StoreError> {
    let Remembered { furthest, rolled_back } = remembered;
    sql.execute(
        "INSERT INTO ledger_heads (host_id, seq, head, told_rolled_back) VALUES ($1, $2, $3, $4)
         ON CONFLICT (host_id) DO UPDATE SET seq = $2, head = $3, told_rolled_back = $4",
        params![host_id.to_string(), furthest.seq.cast_signed(), furthest.head, i64::from(*rolled_back)],
    )?;
    Ok(())
}
