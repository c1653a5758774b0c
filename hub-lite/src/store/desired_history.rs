//! Every document ever published, byte for byte. Durable: never pruned.

use felhom_shared::id::{Generation, HostId};
use felhom_shared::secret::SecretRef;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{StoreError, hosts};

pub(super) const SCHEMA: &str = "
CREATE TABLE desired_history (
    host_id TEXT NOT NULL REFERENCES hosts (host_id),
    generation BIGINT NOT NULL,
    bytes BLOB NOT NULL,
    digest TEXT NOT NULL,
    author TEXT NOT NULL,
    note TEXT,
    published_at_ms BIGINT NOT NULL,
    PRIMARY KEY (host_id, generation)
);";

/// Which secrets a document names, as JSON; nothing where it names none, which is soon read.
pub(super) const SECRETS: &str = "ALTER TABLE desired_history ADD COLUMN secrets TEXT;";

/// One published document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Its number.
    pub generation: Generation,
    /// Exactly as published.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes.
    pub digest: String,
    /// Who published it.
    pub author: String,
    /// Why, in their words.
    pub note: Option<String>,
    /// When, milliseconds.
    pub published_at_ms: i64,
    /// The secrets that it names.
    pub secrets: Vec<SecretRef>,
}

/// A published document, as a box needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its number.
    pub generation: Generation,
    /// Exactly as published.
    pub bytes: Vec<u8>,
    /// The secrets that it names.
    pub secrets: Vec<SecretRef>,
}

const COLUMNS: &str = "generation, bytes, digest, author, note, published_at_ms, secrets";

fn read(row: &Row<'_>) -> rusqlite::Result<Published> {
    Ok(Published {
        generation: Generation(row.get::<_, i64>(0)?.cast_unsigned()),
        bytes: row.get(1)?,
        digest: row.get(2)?,
        author: row.get(3)?,
        note: row.get(4)?,
        published_at_ms: row.get(5)?,
        secrets: secrets(row, 6)?,
    })
}

fn secrets(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<SecretRef>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(Vec::new()) };
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// Publishes a document under its number and makes it the host's current one.
pub fn publish(sql: &Connection, host_id: HostId, document: &Published) -> Result<(), StoreError> {
    let named = (!document.secrets.is_empty())
        .then(|| serde_json::to_string(&document.secrets).expect("names and hashes"));
    sql.execute(
        "INSERT INTO desired_history (host_id, generation, bytes, digest, author, note, published_at_ms, secrets)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            host_id.to_string(),
            document.generation.0.cast_signed(),
            document.bytes,
            document.digest,
            document.author,
            document.note,
            document.published_at_ms,
            named
        ],
    )?;
    hosts::set_desired(sql, host_id, document.generation, &document.digest)
}

/// The newest document of a host.
pub fn current(sql: &Connection, host_id: HostId) -> Result<Option<Published>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM desired_history WHERE host_id = $1 ORDER BY generation DESC LIMIT 1"
    ))?;
    Ok(statement.query_row([host_id.to_string()], read).optional()?)
}

/// The newest document of a host, for those who ask for thousands.
pub fn current_document(sql: &Connection, host_id: HostId) -> Result<Option<Document>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT generation, bytes, secrets FROM desired_history WHERE host_id = $1 ORDER BY generation DESC LIMIT 1",
    )?;
    let row = statement.query_row([host_id.to_string()], |row| {
        let generation = Generation(row.get::<_, i64>(0)?.cast_unsigned());
        Ok(Document { generation, bytes: row.get(1)?, secrets: secrets(row, 2)? })
    });
    Ok(row.optional()?)
}

/// One document of a host.
pub fn get(
    sql: &Connection,
    host_id: HostId,
    generation: Generation,
) -> Result<Option<Published>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM desired_history WHERE host_id = $1 AND generation = $2"
    ))?;
    Ok(statement.query_row(params![host_id.to_string(), generation.0.cast_signed()], read).optional()?)
}

/// The newest documents of a host, newest first.
pub fn list(sql: &Connection, host_id: HostId, most: u32) -> Result<Vec<Published>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM desired_history WHERE host_id = $1 ORDER BY generation DESC LIMIT $2"
    ))?;
    let rows = statement.query_map(params![host_id.to_string(), most], read)?.collect::<Result<_, _>>()?;
    Ok(rows)
}
