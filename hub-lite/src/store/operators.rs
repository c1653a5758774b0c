//! Operators: who may log in to the pages. Passwords only as argon2id hashes.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE operators (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);";

/// Adds an operator or changes the password of one.
pub fn put(sql: &Connection, name: &str, password: &str, now_ms: i64) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO operators (name, password, created_at_ms) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET password = $2",
        params![name, password, now_ms],
    )?;
    Ok(())
}

/// The password hash of an operator.
pub fn password(sql: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT password FROM operators WHERE name = $1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// All operators by name, with when they were added.
pub fn list(sql: &Connection) -> Result<Vec<(String, i64)>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT name, created_at_ms FROM operators ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes an operator; `false` if there was none.
pub fn remove(sql: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(sql.execute("DELETE FROM operators WHERE name = $1", [name])? == 1)
}
