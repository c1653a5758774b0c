//! Events, exactly once: (host, outbox, seq) is unique, and an outbox grows without gaps.

use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, HostId, OutboxId};
use felhom_shared::limits::cut_text;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::StoreError;

pub(super) const SCHEMA: &str = "
CREATE TABLE events (
    host_id TEXT NOT NULL,
    outbox_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (host_id, outbox_id, seq)
);
CREATE INDEX events_recent ON events (host_id, received_at_ms);";

/// The hub's own outbox: its events stand beside the box's under another id.
pub const HUB_OUTBOX: OutboxId = OutboxId(Uuid::nil());

/// An event as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// When it came, milliseconds.
    pub received_at_ms: i64,
    /// What it says.
    pub event: Event,
}

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Everything up to this number is held.
    UpTo(u64),
    /// The post begins beyond what is held, which ends here.
    Gap(u64),
}

/// The newest number held of an outbox.
pub fn newest_seq(sql: &Connection, host_id: HostId, outbox_id: OutboxId) -> Result<u64, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT max(seq) FROM events WHERE host_id = $1 AND outbox_id = $2")?;
    let newest = statement
        .query_row(params![host_id.to_string(), outbox_id.to_string()], |row| row.get::<_, Option<i64>>(0));
    Ok(newest.optional()?.flatten().unwrap_or(0).cast_unsigned())
}

/// Appends what is new. An outbox that the hub has never seen may begin at any number: the hub may have lost
/// its own beginning.
pub fn append(
    sql: &Connection,
    host_id: HostId,
    outbox_id: OutboxId,
    events: &[Event],
    now_ms: i64,
) -> Result<Appended, StoreError> {
    let mut newest = newest_seq(sql, host_id, outbox_id)?;
    let mut statement = sql.prepare_cached(
        "INSERT INTO events (host_id, outbox_id, seq, received_at_ms, event) VALUES ($1, $2, $3, $4, $5)",
    )?;
    let held = newest;
    for event in events.iter().filter(|event| event.seq > held) {
        if newest != 0 && event.seq != newest + 1 {
            return Ok(Appended::Gap(newest));
        }
        let text = serde_json::to_string(event).expect("an event is plain data with string keys");
        statement.execute(params![
            host_id.to_string(),
            outbox_id.to_string(),
            event.seq.cast_signed(),
            now_ms,
            text
        ])?;
        newest = event.seq;
    }
    Ok(Appended::UpTo(newest))
}

/// Appends an event of the hub's own about a host.
pub fn tell(
    sql: &Connection,
    host_id: HostId,
    kind: &str,
    severity: Severity,
    text: &str,
) -> Result<(), StoreError> {
    let seq = newest_seq(sql, host_id, HUB_OUTBOX)? + 1;
    let (at, event_id) = (Timestamp::now(), EventId(Uuid::new_v4()));
    let event =
        Event { seq, event_id, at, kind: kind.to_owned(), severity, guest_id: None, text: cut_text(text) };
    append(sql, host_id, HUB_OUTBOX, &[event], at.as_millisecond())?;
    Ok(())
}

/// The newest events of a host, newest first.
pub fn recent(sql: &Connection, host_id: HostId, most: u32) -> Result<Vec<StoredEvent>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT received_at_ms, event FROM events WHERE host_id = $1 ORDER BY received_at_ms DESC, seq DESC LIMIT $2",
    )?;
    let rows = statement.query_map(params![host_id.to_string(), most], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (received_at_ms, text) = row?;
        let event = serde_json::from_str(&text)
            .map_err(|error| StoreError::Damaged { what: "event", text: error.to_string() })?;
        Ok(StoredEvent { received_at_ms, event })
    })
    .collect()
}
