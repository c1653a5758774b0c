//! Secrets of hosts, sealed. Names and hashes are readable, values are not: see `crate::seal`.

use felhom_shared::id::{HostId, Sha256Hex};
use felhom_shared::secret::{SecretName, SecretRef};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE secrets (
    host_id TEXT NOT NULL REFERENCES hosts (host_id),
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    sealed BLOB NOT NULL,
    put_at_ms BIGINT NOT NULL,
    PRIMARY KEY (host_id, name, sha256)
);";

/// What may be said of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What it is called.
    pub name: SecretName,
    /// Of its value.
    pub sha256: Sha256Hex,
    /// When it was put here, milliseconds.
    pub put_at_ms: i64,
}

/// Stores a value beside those that the name has.
pub fn put(
    sql: &Connection,
    host_id: HostId,
    secret: &SecretRef,
    (sealed, now_ms): (&[u8], i64),
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO secrets (host_id, name, sha256, sealed, put_at_ms) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (host_id, name, sha256) DO UPDATE SET sealed = $4, put_at_ms = $5",
        params![host_id.to_string(), secret.secret.as_str(), secret.sha256.as_str(), sealed, now_ms],
    )?;
    Ok(())
}

/// A sealed value.
pub fn sealed(sql: &Connection, host_id: HostId, secret: &SecretRef) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT sealed FROM secrets WHERE host_id = $1 AND name = $2 AND sha256 = $3")?;
    let key = params![host_id.to_string(), secret.secret.as_str(), secret.sha256.as_str()];
    Ok(statement.query_row(key, |row| row.get(0)).optional()?)
}

/// All of a host, by name and age.
pub fn list(sql: &Connection, host_id: HostId) -> Result<Vec<Listed>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT name, sha256, put_at_ms FROM secrets WHERE host_id = $1 ORDER BY name, put_at_ms",
    )?;
    let rows = statement.query_map([host_id.to_string()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
    })?;
    let mut listed = Vec::new();
    for row in rows {
        let (name, sha256, put_at_ms) = row?;
        let damaged = |error: felhom_shared::id::InvalidId| StoreError::Damaged {
            what: "secret",
            text: error.to_string(),
        };
        let (name, sha256) =
            (SecretName::new(name).map_err(damaged)?, Sha256Hex::new(sha256).map_err(damaged)?);
        listed.push(Listed { name, sha256, put_at_ms });
    }
    Ok(listed)
}

/// Removes one value.
pub fn remove(sql: &Connection, host_id: HostId, secret: &SecretRef) -> Result<(), StoreError> {
    sql.execute(
        "DELETE FROM secrets WHERE host_id = $1 AND name = $2 AND sha256 = $3",
        params![host_id.to_string(), secret.secret.as_str(), secret.sha256.as_str()],
    )?;
    Ok(())
}
