//! Who did what on the hub. Appended in the transaction of the deed; never changed.

use felhom_shared::id::HostId;
use rusqlite::{Connection, Row, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    deed TEXT NOT NULL,
    host_id TEXT,
    detail TEXT NOT NULL
);";

/// The deeds of one host are looked for on its page.
pub(super) const BY_HOST: &str = "CREATE INDEX audit_host ON audit (host_id, audit_id);";

/// Appends a deed.
pub fn append(
    sql: &Connection,
    actor: &str,
    deed: &str,
    host_id: Option<HostId>,
    (detail, at_ms): (&str, i64),
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO audit (at_ms, actor, deed, host_id, detail) VALUES ($1, $2, $3, $4, $5)",
        params![at_ms, actor, deed, host_id.map(|id| id.to_string()), detail],
    )?;
    Ok(())
}

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// When, milliseconds.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What, a stable word.
    pub deed: String,
    /// What exactly.
    pub detail: String,
}

/// The newest deeds, newest first.
pub fn recent(sql: &Connection, most: u32) -> Result<Vec<Deed>, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT at_ms, actor, deed, detail FROM audit ORDER BY audit_id DESC LIMIT $1")?;
    let rows = statement.query_map([most], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest deeds that concern a host, newest first: its own, and those about who may sign or hand in.
pub fn of_host(sql: &Connection, host_id: HostId, most: u32) -> Result<Vec<Deed>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT at_ms, actor, deed, detail FROM audit WHERE host_id = $1 OR (host_id IS NULL
         AND deed IN ('keyset_uploaded', 'operator_key_made', 'operator_key_revoked'))
         ORDER BY audit_id DESC LIMIT $2",
    )?;
    let rows = statement.query_map(params![host_id.to_string(), most], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Deed> {
    Ok(Deed { at_ms: row.get(0)?, actor: row.get(1)?, deed: row.get(2)?, detail: row.get(3)? })
}
