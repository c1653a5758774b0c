//! Events on their way to the hub: appended here first, gone only when the hub holds them durably.

use std::cmp::Ordering;

use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, GuestId, OutboxId};
use felhom_shared::limits::cut_text;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{State, StateError};

const OUTBOX_ID: &str = "outbox_id";
/// Events kept for a hub that takes none: some megabytes, months of an ordinary box.
const OUTBOX_MAX: u32 = 10_000;
const OUTBOX_FULL: &str = "the hub has not taken events for so long that the box keeps no more; what came after this is in the box's journal";

/// An event before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Stable word.
    pub kind: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The guest concerned.
    pub guest_id: Option<GuestId>,
    /// One sentence.
    pub text: String,
}

impl Telling {
    /// An event of the whole host.
    #[must_use]
    pub fn of_host(kind: &'static str, severity: Severity, text: String) -> Self {
        Self { kind, severity, guest_id: None, text }
    }

    /// An event of one guest.
    #[must_use]
    pub fn of_guest(kind: &'static str, severity: Severity, guest_id: GuestId, text: String) -> Self {
        Self { kind, severity, guest_id: Some(guest_id), text }
    }
}

/// What is stored: the event without its number, which the row gives.
#[derive(Serialize, Deserialize)]
struct Told {
    event_id: EventId,
    at: Timestamp,
    kind: String,
    severity: Severity,
    guest_id: Option<GuestId>,
    text: String,
}

impl State {
    /// This outbox's identity, made with the state: a box that lost its state begins a new outbox.
    pub fn outbox_id(&self) -> Result<OutboxId, StateError> {
        if let Some(id) = self.get(OUTBOX_ID)? {
            return Ok(id);
        }
        self.begin_new_outbox()
    }

    /// Gives the outbox a new identity, under which what is in it is told again: the hub has lost the old one's
    /// beginning, and would refuse the rest as a gap for ever.
    pub fn begin_new_outbox(&self) -> Result<OutboxId, StateError> {
        let id = OutboxId(Uuid::new_v4());
        self.put(OUTBOX_ID, &id)?;
        Ok(id)
    }

    /// Appends an event. When this returns, it will be told, unless the hub has taken none for so long that the
    /// outbox is full: then that is the last event in it, and the rest is only in the log.
    pub fn tell(&self, telling: &Telling, now: Timestamp) -> Result<(), StateError> {
        let kept: u32 = self.sql().query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        let full = Telling::of_host("outbox_full", Severity::Error, OUTBOX_FULL.to_owned());
        let telling = match kept.cmp(&(OUTBOX_MAX - 1)) {
            Ordering::Less => telling,
            Ordering::Equal => &full,
            Ordering::Greater => {
                tracing::warn!(kind = telling.kind, "the outbox is full, not told: {}", telling.text);
                return Ok(());
            }
        };
        let told = Told {
            event_id: EventId(Uuid::new_v4()),
            at: now,
            kind: telling.kind.to_owned(),
            severity: telling.severity,
            guest_id: telling.guest_id,
            text: cut_text(&telling.text),
        };
        let text = serde_json::to_string(&told).expect("an event is plain data with string keys");
        self.sql().execute("INSERT INTO outbox (event) VALUES (?1)", [text])?;
        Ok(())
    }

    /// The oldest events not yet acknowledged.
    pub fn untold(&self, most: usize) -> Result<Vec<Event>, StateError> {
        if self.memory().outbox_empty {
            return Ok(Vec::new());
        }
        let events = self.read_outbox(most)?;
        self.remember(|memory| memory.outbox_empty = events.is_empty());
        Ok(events)
    }

    fn read_outbox(&self, most: usize) -> Result<Vec<Event>, StateError> {
        let sql = self.sql();
        let mut statement = sql.prepare_cached("SELECT seq, event FROM outbox ORDER BY seq LIMIT ?1")?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows =
            statement.query_map([most], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (seq, text) = row?;
            let told: Told = serde_json::from_str(&text)
                .map_err(|error| StateError::Damaged { what: "event", text: error.to_string() })?;
            Ok(Event {
                seq: seq.cast_unsigned(),
                event_id: told.event_id,
                at: told.at,
                kind: told.kind,
                severity: told.severity,
                guest_id: told.guest_id,
                text: told.text,
            })
        })
        .collect()
    }

    /// Forgets what the hub holds.
    pub fn acknowledged(&self, seq: u64) -> Result<(), StateError> {
        self.sql().execute("DELETE FROM outbox WHERE seq <= ?1", params![seq.cast_signed()])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_that_nobody_empties_ends_with_saying_so() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.sql().pragma_update(None, "synchronous", "OFF").unwrap();
        let telling = Telling::of_host("op_rejected", Severity::Warning, "noise".to_owned());
        for _ in 0..OUTBOX_MAX + 5 {
            state.tell(&telling, Timestamp::UNIX_EPOCH).unwrap();
        }
        let events = state.untold(20_000).unwrap();
        assert_eq!(events.len(), 10_000);
        assert_eq!(events.last().unwrap().kind, "outbox_full");
        state.acknowledged(events.last().unwrap().seq).unwrap();
        state.tell(&telling, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(state.untold(5).unwrap().len(), 1, "and goes on once the hub takes them");
    }
}
