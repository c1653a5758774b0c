//! Hosts: what the operator says of them, and the little that is known of them between reports.

use std::collections::HashMap;

use felhom_shared::id::{Generation, HostId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::host_state::Summary;
use super::{StoreError, ledger_heads, signed_ops};

pub(super) const SCHEMA: &str = "
CREATE TABLE hosts (
    host_id TEXT PRIMARY KEY,           -- intent
    name TEXT NOT NULL UNIQUE,          -- intent
    customer TEXT,                      -- intent
    paused BIGINT NOT NULL DEFAULT 0,   -- intent
    created_at_ms BIGINT NOT NULL,      -- intent
    desired_generation BIGINT,          -- intent: the newest in desired_history
    desired_digest TEXT,                -- intent
    last_seen_ms BIGINT,                -- observed by the hub
    told_liveness TEXT,                 -- the hub's own: what was last told of it
    told_conflict BIGINT NOT NULL DEFAULT 0   -- the hub's own: whether a conflict was told
);";

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Identity.
    pub host_id: HostId,
    /// The operator's name for it.
    pub name: String,
    /// Whose it is.
    pub customer: Option<String>,
    /// Observe and report only.
    pub paused: bool,
    /// When it was added, milliseconds.
    pub created_at_ms: i64,
    /// Newest published generation.
    pub desired: Option<Generation>,
    /// SHA-256 of it.
    pub desired_digest: Option<String>,
    /// Newest generation the box accepted.
    pub received: Option<Generation>,
    /// SHA-256 of what it accepted.
    pub received_digest: Option<String>,
    /// Newest generation the box has fully reached.
    pub reached: Option<Generation>,
    /// Last report, as far as it was written down; the running hub knows better.
    pub last_seen_ms: Option<i64>,
    /// What was last told of its liveness.
    #[serde(skip)]
    pub told_liveness: Option<String>,
    /// Whether a conflict was told and is not over.
    #[serde(skip)]
    pub told_conflict: bool,
}

impl Host {
    /// The box holds what this hub does not: a hub restored from an old backup. Nothing is published over it
    /// until a person resumes.
    #[must_use]
    pub fn in_conflict(&self) -> bool {
        match (self.desired, self.received) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(desired), Some(received)) => {
                received > desired || (received == desired && self.received_other_bytes())
            }
        }
    }

    /// A box that does not say what it received is not accused of anything.
    fn received_other_bytes(&self) -> bool {
        self.received_digest.is_some() && self.received_digest != self.desired_digest
    }
}

/// A host with the short form of its latest state, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The host.
    pub host: Host,
    /// Its latest state in short; `None` before the first report, and where this hub cannot read it.
    pub summary: Option<Summary>,
    /// Since when its state is what it is, milliseconds.
    pub changed_at_ms: Option<i64>,
    /// Signed operations that it has not taken.
    pub queued: u32,
    /// Its ledger of signed operations is shorter than it was, or another one.
    pub rolled_back: bool,
}

/// Every column of a host, with what its latest state says of generations (box-reported, in a table of its own:
/// a report then changes one row and not two).
const SELECT: &str = "SELECT h.host_id, h.name, h.customer, h.paused, h.created_at_ms, h.desired_generation,
    h.desired_digest, s.received_generation, s.received_digest, s.reached_generation,
    CASE WHEN s.changed_at_ms > coalesce(h.last_seen_ms, 0) THEN s.changed_at_ms ELSE h.last_seen_ms END,
    h.told_liveness, h.told_conflict
    FROM hosts h LEFT JOIN host_state s ON s.host_id = h.host_id";

fn read_id(row: &Row<'_>) -> rusqlite::Result<HostId> {
    row.get_ref(0)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Host> {
    let generation =
        |column| row.get::<_, Option<i64>>(column).map(|value| value.map(|n| Generation(n.cast_unsigned())));
    Ok(Host {
        host_id: read_id(row)?,
        name: row.get(1)?,
        customer: row.get(2)?,
        paused: row.get::<_, i64>(3)? != 0,
        created_at_ms: row.get(4)?,
        desired: generation(5)?,
        desired_digest: row.get(6)?,
        received: generation(7)?,
        received_digest: row.get(8)?,
        reached: generation(9)?,
        last_seen_ms: row.get(10)?,
        told_liveness: row.get(11)?,
        told_conflict: row.get::<_, i64>(12)? != 0,
    })
}

/// What the operator wants of a host, as far as answering its agent needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub host_id: HostId,
    /// Newest published generation.
    pub generation: Option<Generation>,
    /// SHA-256 of it.
    pub digest: Option<String>,
    /// Observe and report only.
    pub paused: bool,
}

const WANTED: &str = "SELECT host_id, desired_generation, desired_digest, paused FROM hosts";

fn read_wanted(row: &Row<'_>) -> rusqlite::Result<Wanted> {
    let generation: Option<i64> = row.get(1)?;
    Ok(Wanted {
        host_id: read_id(row)?,
        generation: generation.map(|number| Generation(number.cast_unsigned())),
        digest: row.get(2)?,
        paused: row.get::<_, i64>(3)? != 0,
    })
}

/// What is wanted of one host.
pub fn wanted(sql: &Connection, host_id: HostId) -> Result<Option<Wanted>, StoreError> {
    let mut statement = sql.prepare_cached(&format!("{WANTED} WHERE host_id = $1"))?;
    Ok(statement.query_row([host_id.to_string()], read_wanted).optional()?)
}

/// What is wanted of every host.
pub fn all_wanted(sql: &Connection) -> Result<Vec<Wanted>, StoreError> {
    let mut statement = sql.prepare_cached(WANTED)?;
    let wanted = statement.query_map([], read_wanted)?.collect::<Result<_, _>>()?;
    Ok(wanted)
}

/// Adds a host; a name that is taken is the database's refusal.
pub fn add(
    sql: &Connection,
    host_id: HostId,
    name: &str,
    customer: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO hosts (host_id, name, customer, created_at_ms) VALUES ($1, $2, $3, $4)",
        params![host_id.to_string(), name, customer, now_ms],
    )?;
    Ok(())
}

/// All hosts by name.
pub fn list(sql: &Connection) -> Result<Vec<Host>, StoreError> {
    let mut statement = sql.prepare_cached(&format!("{SELECT} ORDER BY h.name"))?;
    let hosts = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    Ok(hosts)
}

/// All hosts by name, each with the short form of its latest state.
pub fn overview(sql: &Connection) -> Result<Vec<Overview>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT host_id, summary, changed_at_ms FROM host_state")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, (row.get(1)?, row.get(2)?))))?;
    let queued = signed_ops::queued_counts(sql)?;
    let rolled_back = ledger_heads::rolled_back(sql)?;
    let states: HashMap<String, (Option<String>, i64)> = rows.collect::<Result<_, _>>()?;
    let overview = list(sql)?.into_iter().map(|host| {
        let state = states.get(&host.host_id.to_string());
        let text = state.and_then(|(text, _)| text.as_deref());
        let summary = text
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| StoreError::Damaged { what: "summary", text: error.to_string() })?;
        let queued = queued.get(&host.host_id).copied().unwrap_or(0);
        let rolled_back = rolled_back.contains(&host.host_id);
        let changed_at_ms = state.map(|(_, at_ms)| *at_ms);
        Ok(Overview { host, summary, changed_at_ms, queued, rolled_back })
    });
    overview.collect()
}

/// One host by id.
pub fn get(sql: &Connection, host_id: HostId) -> Result<Option<Host>, StoreError> {
    let mut statement = sql.prepare_cached(&format!("{SELECT} WHERE h.host_id = $1"))?;
    Ok(statement.query_row([host_id.to_string()], read).optional()?)
}

/// One host by its name, or by its id as text.
pub fn find(sql: &Connection, wanted: &str) -> Result<Option<Host>, StoreError> {
    let mut statement = sql.prepare_cached(&format!("{SELECT} WHERE h.name = $1 OR h.host_id = $1"))?;
    Ok(statement.query_row([wanted], read).optional()?)
}

/// Pauses a host, or lets it go on.
pub fn set_paused(sql: &Connection, host_id: HostId, paused: bool) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE hosts SET paused = $1 WHERE host_id = $2",
        params![i64::from(paused), host_id.to_string()],
    )?;
    Ok(())
}

/// Notes what was published.
pub(super) fn set_desired(
    sql: &Connection,
    host_id: HostId,
    generation: Generation,
    digest: &str,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE hosts SET desired_generation = $1, desired_digest = $2 WHERE host_id = $3",
        params![generation.0.cast_signed(), digest, host_id.to_string()],
    )?;
    Ok(())
}

/// Writes down when a host was last heard; never backwards.
pub fn set_last_seen(sql: &Connection, host_id: HostId, at_ms: i64) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE hosts SET last_seen_ms = $1 WHERE host_id = $2 AND (last_seen_ms IS NULL OR last_seen_ms < $1)",
        params![at_ms, host_id.to_string()],
    )?;
    Ok(())
}

/// Writes down what was told of a host's liveness, so that a restarted hub does not tell it again.
pub fn set_told_liveness(sql: &Connection, host_id: HostId, word: &str) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE hosts SET told_liveness = $1 WHERE host_id = $2",
        params![word, host_id.to_string()],
    )?;
    Ok(())
}

/// Writes down whether a conflict was told.
pub fn set_told_conflict(sql: &Connection, host_id: HostId, told: bool) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE hosts SET told_conflict = $1 WHERE host_id = $2",
        params![i64::from(told), host_id.to_string()],
    )?;
    Ok(())
}
