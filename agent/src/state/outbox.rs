//! Events on their way to the hub: appended here first, gone only when the hub holds them durably.

use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, GuestId, OutboxId};
use felhom_shared::limits::cut_text;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{State, StateError};

const OUTBOX_ID: &str = "outbox_id";

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

    /// Appends an event. When this returns, it will be told.
    pub fn tell(&self, telling: &Telling, now: Timestamp) -> Result<(), StateError> {
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
