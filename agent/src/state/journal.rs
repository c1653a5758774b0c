//! `intent_before_effect`: a step is on disk before PVE hears of it, and its outcome after.
//!
//! An entry without an outcome is *open*: the agent was stopped in between, and adoption must find out what
//! became of it before anything else happens to that guest.

use felhom_shared::id::Vmid;
use felhom_shared::report::{Failure, ReceiptState, StepOutcome};
use jiff::Timestamp;
use rusqlite::params;
use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;

use super::memory::JournalSummary;
use super::op_ledger::Row;
use super::{State, StateError};
use crate::item::{Item, ItemId};
use crate::pve::Upid;
use crate::step::Step;

/// An entry's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(i64);

/// What is about to be done.
#[derive(Debug, Clone)]
pub struct JournalEntry<'a> {
    /// To what.
    pub item: Item,
    /// The step.
    pub step: &'a Step,
    /// The cycle it belongs to: guests changed are counted per cycle.
    pub cycle: u64,
    /// When.
    pub now: Timestamp,
}

/// An entry without an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEntry {
    /// Its number.
    pub id: EntryId,
    /// To what.
    pub item: Item,
    /// The step.
    pub step: Step,
    /// When it began.
    pub began_at: Timestamp,
    /// PVE's task, if it had answered.
    pub upid: Option<Upid>,
}

/// An entry as it is told to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastStep {
    /// The step.
    pub step: Step,
    /// When it began.
    pub began_at: Timestamp,
    /// How it ended; open when it has not.
    pub outcome: Option<StepOutcome>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// The places between which a crash leaves different traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// A signed operation is accepted, its nonce not on disk.
    BeforeReserve,
    /// Its nonce is on disk.
    AfterReserve,
    /// Nothing written yet.
    BeforeBegin,
    /// The intent is on disk, PVE has heard nothing.
    AfterBegin,
    /// PVE has answered, the UPID is not on disk.
    AfterCall,
    /// The UPID is on disk, the task runs.
    AfterTask,
    /// The task has ended, the outcome is not on disk.
    BeforeEnd,
    /// The outcome is on disk.
    AfterEnd,
    /// The hub has not heard what became of an operation.
    BeforeTold,
    /// It has, and that is not on disk.
    AfterTold,
}

impl State {
    /// Tells a test's probe that this boundary is passed.
    pub fn boundary(&self, boundary: Boundary) {
        if let Some(probe) = &self.probe {
            probe(boundary);
        }
    }

    /// Writes the intent. When this returns, it survives a power cut.
    pub fn begin(&self, entry: &JournalEntry<'_>) -> Result<EntryId, StateError> {
        self.boundary(Boundary::BeforeBegin);
        let step = serde_json::to_string(entry.step).expect("a step is plain data with string keys");
        let mut id = EntryId(0);
        // A guarded step and its operation begin in one write: never one without the other.
        self.in_one(|sql, state| {
            sql.execute(
                "INSERT INTO journal (item, vmid, kind, step, cycle, began_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    entry.item.id().to_string(),
                    entry.item.guest().map(|(vmid, _)| vmid.get()),
                    entry.item.guest().map(|(_, kind)| kind.as_str()),
                    step,
                    entry.cycle.cast_signed(),
                    entry.now.as_millisecond()
                ],
            )?;
            id = EntryId(sql.last_insert_rowid());
            match entry.step.grant() {
                Some(op_id) => state.append(sql, Row::Begun { op_id: op_id.clone(), at: entry.now }),
                None => Ok(()),
            }
        })?;
        self.boundary(Boundary::AfterBegin);
        Ok(id)
    }

    /// Writes which task PVE made of the step.
    pub fn task(&self, id: EntryId, upid: &Upid) -> Result<(), StateError> {
        let changed = self
            .sql()
            .execute("UPDATE journal SET upid = ?2 WHERE id = ?1", params![id.0, upid.to_string()])?;
        one_row(changed)
    }

    /// Whether an entry already names this task.
    pub fn knows_task(&self, upid: &Upid) -> Result<bool, StateError> {
        let sql = self.sql();
        let count =
            sql.query_row("SELECT count(*) FROM journal WHERE upid = ?1", [upid.to_string()], |row| {
                row.get::<_, i64>(0)
            })?;
        Ok(count > 0)
    }

    /// Writes the outcome of a step, and with it that of the operation that released it.
    pub fn end(
        &self,
        (id, step): (EntryId, &Step),
        outcome: StepOutcome,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.boundary(Boundary::BeforeEnd);
        self.in_one(|sql, state| {
            let text = failure.map(|failure| serde_json::to_string(failure).expect("two strings"));
            let changed = sql.execute(
                "UPDATE journal SET outcome = ?2, failure = ?3, ended_at_ms = ?4 WHERE id = ?1",
                params![id.0, word(&outcome), text, now.as_millisecond()],
            )?;
            one_row(changed)?;
            let Some(op_id) = step.grant() else { return Ok(()) };
            let row = Row::Ended {
                op_id: op_id.clone(),
                state: receipt_state(outcome),
                code: failure.map(|failure| failure.code.clone()),
                text: failure.map(|failure| failure.text.clone()),
                at: now,
            };
            state.append(sql, row)
        })?;
        self.boundary(Boundary::AfterEnd);
        Ok(())
    }

    /// Entries without an outcome, oldest first.
    pub fn open_entries(&self) -> Result<Vec<OpenEntry>, StateError> {
        if self.summary()?.open == 0 {
            return Ok(Vec::new());
        }
        let sql = self.sql();
        let mut statement = sql.prepare_cached(
            "SELECT id, item, vmid, kind, step, began_at_ms, upid FROM journal WHERE outcome IS NULL ORDER BY id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                (row.get::<_, String>(1)?, row.get::<_, Option<u32>>(2)?, row.get::<_, Option<String>>(3)?),
                (row.get::<_, String>(4)?, row.get::<_, i64>(5)?, row.get::<_, Option<String>>(6)?),
            ))
        })?;
        rows.map(|row| {
            let (id, item, (step, began_at_ms, upid)) = row?;
            Ok(OpenEntry {
                id: EntryId(id),
                item: read_item(item)?,
                step: serde_json::from_str(&step).map_err(damaged)?,
                began_at: Timestamp::from_millisecond(began_at_ms).map_err(damaged)?,
                upid: upid.map(|upid| upid.parse()).transpose().map_err(damaged)?,
            })
        })
        .collect()
    }

    /// How many entries are open.
    pub fn open_count(&self) -> Result<u64, StateError> {
        Ok(self.summary()?.open)
    }

    fn summary(&self) -> Result<JournalSummary, StateError> {
        if let Some(summary) = self.memory().journal {
            return Ok(summary);
        }
        let summary = self.sql().query_row(
            "SELECT (SELECT count(*) FROM journal WHERE outcome IS NULL),
                    (SELECT coalesce(max(cycle), 0) FROM journal), (SELECT max(began_at_ms) FROM journal)",
            [],
            |row| {
                Ok(JournalSummary {
                    open: row.get::<_, i64>(0)?.cast_unsigned(),
                    last_cycle: row.get::<_, i64>(1)?.cast_unsigned(),
                    newest_began_ms: row.get::<_, Option<i64>>(2)?.unwrap_or(i64::MIN),
                })
            },
        )?;
        self.remember(|memory| memory.journal = Some(summary));
        Ok(summary)
    }

    /// Guests changed since `since`, counting a guest once per cycle: what the change budget is spent on.
    pub fn changes_since(&self, since: Timestamp) -> Result<u32, StateError> {
        if self.summary()?.newest_began_ms < since.as_millisecond() {
            return Ok(0);
        }
        let sql = self.sql();
        let mut statement = sql.prepare_cached(
            "SELECT count(*) FROM (SELECT DISTINCT item, cycle FROM journal WHERE began_at_ms >= ?1 AND vmid IS NOT NULL)",
        )?;
        Ok(statement.query_row([since.as_millisecond()], |row| row.get::<_, u32>(0))?)
    }

    /// The number of the next cycle.
    pub fn next_cycle(&self) -> Result<u64, StateError> {
        Ok(self.summary()?.last_cycle + 1)
    }

    /// The newest entries of an item.
    pub fn history(&self, item: &ItemId, most: u32) -> Result<Vec<PastStep>, StateError> {
        let sql = self.sql();
        let mut statement = sql.prepare_cached(
            "SELECT step, began_at_ms, outcome, failure FROM journal WHERE item = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![item.to_string(), most], |row| {
            let texts = (row.get::<_, String>(0)?, row.get::<_, Option<String>>(2)?);
            Ok((texts, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(3)?))
        })?;
        rows.map(|row| {
            let ((step, outcome), began_at_ms, failure) = row?;
            Ok(PastStep {
                step: serde_json::from_str(&step).map_err(damaged)?,
                began_at: Timestamp::from_millisecond(began_at_ms).map_err(damaged)?,
                outcome: outcome.map(|word| read_word(&word)).transpose()?,
                failure: failure.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?,
            })
        })
        .collect()
    }

    /// Forgets closed entries older than `before`, except what the change budget still counts.
    pub fn prune_journal(&self, before: Timestamp) -> Result<(), StateError> {
        self.sql().execute(
            "DELETE FROM journal WHERE outcome IS NOT NULL AND began_at_ms < ?1",
            [before.as_millisecond()],
        )?;
        Ok(())
    }
}

fn read_item((item, vmid, kind): (String, Option<u32>, Option<String>)) -> Result<Item, StateError> {
    match (item.parse().map_err(damaged)?, vmid, kind) {
        (ItemId::Guest(guest_id), Some(vmid), Some(kind)) => {
            Ok(Item::Guest { guest_id, vmid: Vmid::new(vmid).map_err(damaged)?, kind: read_word(&kind)? })
        }
        (ItemId::Storage(storage), None, None) => Ok(Item::Storage(storage)),
        (ItemId::Tunnel, None, None) => Ok(Item::Tunnel),
        (item, ..) => Err(damaged(format!("{item} has the wrong number or kind"))),
    }
}

/// An entry that is not there cannot be ended: what was begun would stay open without a word.
fn one_row(changed: usize) -> Result<(), StateError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StateError::Damaged { what: "journal entry", text: format!("{changed} rows have its number") })
}

/// How an operation ended whose step ended so. What was begun and is not known to be done is for a person to see.
fn receipt_state(outcome: StepOutcome) -> ReceiptState {
    match outcome {
        StepOutcome::Applied | StepOutcome::AlreadyTrue => ReceiptState::Applied,
        StepOutcome::Failed => ReceiptState::Failed,
        StepOutcome::Interrupted | StepOutcome::NotAttempted | StepOutcome::Running => {
            ReceiptState::Interrupted
        }
    }
}

fn word(outcome: &StepOutcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("a unit variant serialises to a string"),
    }
}

pub(super) fn read_word<T: DeserializeOwned>(word: &str) -> Result<T, StateError> {
    T::deserialize(StrDeserializer::<serde::de::value::Error>::new(word)).map_err(damaged)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub(super) fn damaged(error: impl ToString) -> StateError {
    StateError::Damaged { what: "journal entry", text: error.to_string() }
}
