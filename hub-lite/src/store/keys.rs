//! API keys: found by their lookup part, proven by an HMAC. The key itself is nowhere.

use felhom_shared::id::HostId;
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE keys (
    lookup TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    hmac BLOB NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX keys_owner ON keys (kind, owner);";

/// A host's key as stored.
#[derive(Debug, Clone)]
pub struct HostKey {
    /// Whose it is.
    pub host_id: HostId,
    /// HMAC-SHA256 of the whole key.
    pub hmac: Vec<u8>,
}

/// Stores a host's key in place of those it had.
pub fn replace_host_key(
    sql: &Connection,
    host_id: HostId,
    lookup: &str,
    hmac: &[u8],
    now_ms: i64,
) -> Result<(), StoreError> {
    sql.execute("DELETE FROM keys WHERE kind = 'h' AND owner = $1", [host_id.to_string()])?;
    sql.execute(
        "INSERT INTO keys (lookup, kind, owner, hmac, created_at_ms) VALUES ($1, 'h', $2, $3, $4)",
        params![lookup, host_id.to_string(), hmac, now_ms],
    )?;
    Ok(())
}

/// Finds a host's key.
pub fn host_key(sql: &Connection, lookup: &str) -> Result<Option<HostKey>, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT owner, hmac FROM keys WHERE lookup = $1 AND kind = 'h'")?;
    let row = statement.query_row([lookup], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)));
    let Some((owner, hmac)) = row.optional()? else { return Ok(None) };
    let host_id = owner
        .parse()
        .map_err(|error: uuid::Error| StoreError::Damaged { what: "key owner", text: error.to_string() })?;
    Ok(Some(HostKey { host_id, hmac }))
}
