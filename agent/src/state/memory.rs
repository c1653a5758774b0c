//! What the state last read of its own file, so that a cycle in which nothing happened reads none of it.
//!
//! The agent holds the lock on its state, so nobody else writes; and SQLite counts the rows that this process
//! has written. While that count stands still what was read stays true, and when it moves all of it is forgotten:
//! no write needs to know what is remembered. Holds nothing that is not on disk.

use std::cell::RefMut;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{State, StateError};
use crate::accept::Accepted;

/// The journal in numbers: enough to say without a query that nothing is open and nothing is new.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalSummary {
    /// Entries without an outcome.
    pub(super) open: u64,
    /// The newest cycle that did something.
    pub(super) last_cycle: u64,
    /// When the newest entry began; the time before all times when there is none.
    pub(super) newest_began_ms: i64,
}

/// What was read since the last write; `None` and `false` where nothing was.
#[derive(Default)]
pub(super) struct Memory {
    rows_written: u64,
    /// Whether SQLite was told to let go of its pages since.
    shrunk: bool,
    pub(super) document: Option<Option<Rc<Accepted>>>,
    pub(super) ledger: BTreeMap<&'static str, Option<Rc<str>>>,
    pub(super) journal: Option<JournalSummary>,
    pub(super) outbox_empty: bool,
    pub(super) nothing_held: bool,
}

impl State {
    /// What still holds of what was read.
    pub(super) fn memory(&self) -> RefMut<'_, Memory> {
        let rows_written = self.sql().total_changes();
        let mut memory = self.memory.borrow_mut();
        if memory.rows_written != rows_written {
            *memory = Memory { rows_written, ..Memory::default() };
        }
        memory
    }

    /// Lets SQLite give back the pages that it keeps. In a cycle in which nothing happens none is read, so after one
    /// that wrote they would only lie there.
    pub fn shrink(&self) -> Result<(), StateError> {
        if self.memory().shrunk {
            return Ok(());
        }
        self.sql().execute_batch("PRAGMA shrink_memory")?;
        self.memory().shrunk = true;
        Ok(())
    }

    /// Remembers what was just read, unless a transaction is open, which may yet be undone.
    pub(super) fn remember(&self, keep: impl FnOnce(&mut Memory)) {
        if self.sql().is_autocommit() {
            keep(&mut self.memory());
        }
    }
}
