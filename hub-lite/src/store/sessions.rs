//! Sessions of the pages. The cookie itself is nowhere: only its SHA-256.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE sessions (
    cookie_sha256 BLOB PRIMARY KEY,
    operator TEXT NOT NULL,
    csrf TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    used_at_ms BIGINT NOT NULL
);";

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub operator: String,
    /// What every form of theirs must carry.
    pub csrf: String,
    /// When it began, milliseconds.
    pub created_at_ms: i64,
    /// When it was last used, milliseconds; written down now and then.
    pub used_at_ms: i64,
}

/// Begins a session.
pub fn insert(sql: &Connection, cookie: &[u8; 32], session: &Session) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO sessions (cookie_sha256, operator, csrf, created_at_ms, used_at_ms) VALUES ($1, $2, $3, $4, $5)",
        params![cookie, session.operator, session.csrf, session.created_at_ms, session.used_at_ms],
    )?;
    Ok(())
}

/// A session that is neither idle nor old, and whose operator still is one.
pub fn get(
    sql: &Connection,
    cookie: &[u8; 32],
    used_since_ms: i64,
    created_since_ms: i64,
) -> Result<Option<Session>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT operator, csrf, created_at_ms, used_at_ms FROM sessions
         WHERE cookie_sha256 = $1 AND used_at_ms >= $2 AND created_at_ms >= $3
         AND operator IN (SELECT name FROM operators)",
    )?;
    let row = statement.query_row(params![cookie, used_since_ms, created_since_ms], |row| {
        Ok(Session {
            operator: row.get(0)?,
            csrf: row.get(1)?,
            created_at_ms: row.get(2)?,
            used_at_ms: row.get(3)?,
        })
    });
    Ok(row.optional()?)
}

/// Notes that a session is in use.
pub fn touch(sql: &Connection, cookie: &[u8; 32], now_ms: i64) -> Result<(), StoreError> {
    sql.execute("UPDATE sessions SET used_at_ms = $1 WHERE cookie_sha256 = $2", params![now_ms, cookie])?;
    Ok(())
}

/// Ends a session.
pub fn remove(sql: &Connection, cookie: &[u8; 32]) -> Result<(), StoreError> {
    sql.execute("DELETE FROM sessions WHERE cookie_sha256 = $1", params![cookie])?;
    Ok(())
}

/// Ends all sessions of an operator.
pub fn remove_all(sql: &Connection, operator: &str) -> Result<(), StoreError> {
    sql.execute("DELETE FROM sessions WHERE operator = $1", [operator])?;
    Ok(())
}

/// Forgets sessions that are idle or old.
pub fn prune(sql: &Connection, used_since_ms: i64, created_since_ms: i64) -> Result<usize, StoreError> {
    Ok(sql.execute(
        "DELETE FROM sessions WHERE used_at_ms < $1 OR created_at_ms < $2",
        params![used_since_ms, created_since_ms],
    )?)
}
