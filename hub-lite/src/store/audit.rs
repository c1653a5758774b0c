//! Who did what on the hub. Appended in the transaction of the deed; never changed.

use felhom_shared::id::HostId;
use rusqlite::{Connection, params};

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
