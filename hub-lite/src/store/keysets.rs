//! Who may sign, as the operators uploaded it: one blob a version, never changed and never pruned, because a box
//! that slept for years walks the chain from where it stopped. The hub does not read them; the box does.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE keysets (
    version BIGINT PRIMARY KEY,
    blob TEXT NOT NULL,
    uploaded_by TEXT NOT NULL,
    uploaded_at_ms BIGINT NOT NULL
);";

/// A keyset as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKeyset {
    /// The number it was uploaded under.
    pub version: u64,
    /// The envelope.
    pub blob: String,
    /// Whose key or session brought it.
    pub uploaded_by: String,
    /// When, milliseconds.
    pub uploaded_at_ms: i64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredKeyset> {
    Ok(StoredKeyset {
        version: row.get::<_, i64>(0)?.cast_unsigned(),
        blob: row.get(1)?,
        uploaded_by: row.get(2)?,
        uploaded_at_ms: row.get(3)?,
    })
}

const COLUMNS: &str = "version, blob, uploaded_by, uploaded_at_ms";

/// Stores a keyset; a version that is taken is the database's refusal.
pub fn insert(sql: &Connection, keyset: &StoredKeyset) -> Result<(), StoreError> {
    let row = params![keyset.version.cast_signed(), keyset.blob, keyset.uploaded_by, keyset.uploaded_at_ms];
    sql.execute(
        "INSERT INTO keysets (version, blob, uploaded_by, uploaded_at_ms) VALUES ($1, $2, $3, $4)",
        row,
    )?;
    Ok(())
}

/// One keyset.
pub fn get(sql: &Connection, version: u64) -> Result<Option<StoredKeyset>, StoreError> {
    let mut statement = sql.prepare_cached(&format!("SELECT {COLUMNS} FROM keysets WHERE version = $1"))?;
    Ok(statement.query_row([version.cast_signed()], read).optional()?)
}

/// The newest version; 0 where there is none.
pub fn newest(sql: &Connection) -> Result<u64, StoreError> {
    let newest: Option<i64> = sql.query_row("SELECT max(version) FROM keysets", [], |row| row.get(0))?;
    Ok(newest.unwrap_or(0).cast_unsigned())
}

/// The keysets after `version`, ascending.
pub fn after(sql: &Connection, version: u64, most: usize) -> Result<Vec<StoredKeyset>, StoreError> {
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM keysets WHERE version > $1 ORDER BY version LIMIT $2"
    ))?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map([version, most], read)?.collect::<Result<_, _>>()?;
    Ok(rows)
}
