//! API keys: found by their lookup part, proven by an HMAC. The key itself is nowhere.

use felhom_shared::id::HostId;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

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

/// An operator's key as stored.
#[derive(Debug, Clone)]
pub struct StoredOperatorKey {
    /// Whose it is.
    pub operator: String,
    /// HMAC-SHA256 of the whole key.
    pub hmac: Vec<u8>,
}

/// What may be said of an operator's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedOperatorKey {
    /// What it is found by; not secret.
    pub lookup: String,
    /// Whose it is.
    pub operator: String,
    /// When it was made, milliseconds.
    pub created_at_ms: i64,
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

/// Stores a key of an operator beside those they have.
pub fn add_operator_key(
    sql: &Connection,
    operator: &str,
    (lookup, hmac): (&str, &[u8]),
    now_ms: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO keys (lookup, kind, owner, hmac, created_at_ms) VALUES ($1, 'o', $2, $3, $4)",
        params![lookup, operator, hmac, now_ms],
    )?;
    Ok(())
}

/// Finds a key of somebody who is still an operator.
pub fn operator_key(sql: &Connection, lookup: &str) -> Result<Option<StoredOperatorKey>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT owner, hmac FROM keys WHERE lookup = $1 AND kind = 'o' AND owner IN (SELECT name FROM operators)",
    )?;
    let row = statement
        .query_row([lookup], |row| Ok(StoredOperatorKey { operator: row.get(0)?, hmac: row.get(1)? }));
    Ok(row.optional()?)
}

/// All keys of operators, by owner and age.
pub fn operator_keys(sql: &Connection) -> Result<Vec<ListedOperatorKey>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT lookup, owner, created_at_ms FROM keys WHERE kind = 'o' ORDER BY owner, created_at_ms",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(ListedOperatorKey { lookup: row.get(0)?, operator: row.get(1)?, created_at_ms: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes an operator's key away and returns whose it was.
pub fn revoke_operator_key(sql: &Connection, lookup: &str) -> Result<Option<String>, StoreError> {
    let mut statement =
        sql.prepare_cached("DELETE FROM keys WHERE lookup = $1 AND kind = 'o' RETURNING owner")?;
    Ok(statement.query_row([lookup], |row| row.get(0)).optional()?)
}

/// Takes every key of an operator away.
pub fn revoke_all_of_operator(sql: &Connection, operator: &str) -> Result<(), StoreError> {
    sql.execute("DELETE FROM keys WHERE kind = 'o' AND owner = $1", [operator])?;
    Ok(())
}
