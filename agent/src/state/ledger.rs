//! The document in force, what was last seen of the hub's, and how far the box has come.

use std::collections::BTreeMap;
use std::rc::Rc;

use felhom_shared::desired::DesiredState;
use felhom_shared::id::{Generation, GuestId};
use felhom_shared::ordered;
use felhom_shared::report::{DocumentRefusal, GuestReport, HostState, Outcome};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{State, StateError};
use crate::accept::Accepted;

/// The document last seen, accepted or refused: what the next poll says it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// Its number.
    pub generation: Generation,
    /// SHA-256 of its bytes.
    pub digest: String,
}

const LAST_SEEN: &str = "last_seen";
const REACHED: &str = "reached";
const REFUSED: &str = "refused";
const LAST_REPORT: &str = "last_report";
const OUTCOMES: &str = "outcomes";
/// The long values are read at the start only: remembering them would cost the box memory for nothing.
const REMEMBERED_BYTES_MAX: usize = 256;
const CLOCK_FLOOR: &str = "clock_floor_ms";

type Outcomes = BTreeMap<GuestId, (Outcome, Timestamp)>;

impl State {
    /// The document in force.
    pub fn accepted(&self) -> Result<Option<Rc<Accepted>>, StateError> {
        if let Some(document) = &self.memory().document {
            return Ok(document.clone());
        }
        let document = self.read_document()?.map(Rc::new);
        self.remember(|memory| memory.document = Some(document.clone()));
        Ok(document)
    }

    /// The document in force, for somebody who makes another of it.
    pub(crate) fn document_anew(&self) -> Result<Option<DesiredState>, StateError> {
        Ok(self.read_document()?.map(|accepted| accepted.desired))
    }

    fn read_document(&self) -> Result<Option<Accepted>, StateError> {
        let row =
            self.sql().query_row("SELECT generation, digest, bytes FROM document WHERE id = 1", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
            });
        let Some((generation, digest, bytes)) = row.optional()? else { return Ok(None) };
        let desired = DesiredState::from_json(&bytes)
            .map_err(|error| StateError::Damaged { what: "document", text: error.to_string() })?;
        Ok(Some(Accepted { generation: Generation(generation.cast_unsigned()), digest, desired }))
    }

    /// Puts a document in force, in one transaction with forgetting the last refusal.
    pub fn put_accepted(&self, accepted: &Accepted, bytes: &[u8]) -> Result<(), StateError> {
        let mut sql = self.connection.borrow_mut();
        let transaction = sql.transaction()?;
        transaction.execute(
            "INSERT INTO document (id, generation, digest, bytes) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET generation = ?1, digest = ?2, bytes = ?3",
            params![accepted.generation.0.cast_signed(), accepted.digest, bytes],
        )?;
        transaction.execute("DELETE FROM ledger WHERE name = ?1", [REFUSED])?;
        transaction.commit()?;
        Ok(())
    }

    /// What the next poll says it has.
    pub fn last_seen(&self) -> Result<Option<LastSeen>, StateError> {
        self.get(LAST_SEEN)
    }

    /// Notes what was offered, whether or not it was accepted.
    pub fn put_last_seen(&self, seen: &LastSeen) -> Result<(), StateError> {
        self.put(LAST_SEEN, seen)
    }

    /// The newest generation of which every item was converged.
    pub fn reached(&self) -> Result<Option<Generation>, StateError> {
        self.get(REACHED)
    }

    /// Notes that a generation was reached.
    pub fn put_reached(&self, generation: Generation) -> Result<(), StateError> {
        self.put(REACHED, &generation)
    }

    /// The last refused document, until a newer one is accepted.
    pub fn refused(&self) -> Result<Option<DocumentRefusal>, StateError> {
        self.get(REFUSED)
    }

    /// Notes a refused document.
    pub fn put_refused(&self, refusal: &DocumentRefusal) -> Result<(), StateError> {
        self.put(REFUSED, refusal)
    }

    /// The last report as JSON text, for `felhom-agent status`.
    pub fn last_report<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        self.get(LAST_REPORT)
    }

    /// Keeps a report for `felhom-agent status`.
    pub fn put_last_report<T: Serialize>(&self, report: &T) -> Result<(), StateError> {
        self.put(LAST_REPORT, report)
    }

    /// Notes since when each guest has its outcome.
    pub fn put_outcomes(&self, state: &HostState, now: Timestamp) -> Result<(), StateError> {
        let before: Outcomes = self.get(OUTCOMES)?.unwrap_or_default();
        let since = |guest: &GuestReport| match before.get(&guest.guest_id) {
            Some((outcome, since)) if *outcome == guest.outcome => *since,
            _ => now,
        };
        let after = state.guests.iter().map(|guest| (guest.guest_id, (guest.outcome, since(guest))));
        self.put(OUTCOMES, &ordered::map(after))
    }

    /// The outcome a guest had after the last cycle, and since when.
    pub fn outcome_since(&self, guest_id: GuestId) -> Result<Option<(Outcome, Timestamp)>, StateError> {
        Ok(self.get::<Outcomes>(OUTCOMES)?.and_then(|outcomes| outcomes.get(&guest_id).copied()))
    }

    /// The latest time known to have passed, milliseconds since 1970.
    pub fn clock_floor(&self) -> Result<Option<u64>, StateError> {
        self.get(CLOCK_FLOOR)
    }

    /// Notes that a time has passed.
    pub fn put_clock_floor(&self, floor_ms: u64) -> Result<(), StateError> {
        Self::put_clock_floor_in(&self.sql(), floor_ms)
    }

    /// The same within a transaction.
    pub(crate) fn put_clock_floor_in(sql: &Connection, floor_ms: u64) -> Result<(), StateError> {
        put(sql, CLOCK_FLOOR, &floor_ms)
    }

    /// Lets the next document have `generation` or a higher number. The one in force stays in force.
    pub(crate) fn reset_generation(sql: &Connection, generation: Generation) -> Result<(), StateError> {
        let before = generation.0.saturating_sub(1).cast_signed();
        sql.execute("UPDATE document SET generation = ?1", [before])?;
        sql.execute("DELETE FROM ledger WHERE name IN (?1, ?2)", [LAST_SEEN, REFUSED])?;
        Ok(())
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StateError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| StateError::Damaged { what: name, text: error.to_string() })
    }

    fn text(&self, name: &'static str) -> Result<Option<Rc<str>>, StateError> {
        if let Some(text) = self.memory().ledger.get(name) {
            return Ok(text.clone());
        }
        let text = self
            .sql()
            .query_row("SELECT value FROM ledger WHERE name = ?1", [name], |row| row.get::<_, String>(0));
        let text: Option<Rc<str>> = text.optional()?.map(Rc::from);
        if text.as_ref().is_none_or(|text| text.len() <= REMEMBERED_BYTES_MAX) {
            self.remember(|memory| {
                memory.ledger.insert(name, text.clone());
            });
        }
        Ok(text)
    }

    pub(crate) fn put<T: Serialize>(&self, name: &'static str, value: &T) -> Result<(), StateError> {
        put(&self.sql(), name, value)
    }
}

fn put<T: Serialize>(sql: &Connection, name: &'static str, value: &T) -> Result<(), StateError> {
    let text =
        serde_json::to_string(value).expect("the ledger's values have string keys and no failing parts");
    sql.execute(
        "INSERT INTO ledger (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        params![name, text],
    )?;
    Ok(())
}
