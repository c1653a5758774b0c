//! The ledger of signed operations: what was accepted, begun and ended, in rows chained by hash.
//!
//! A nonce is on disk before its operation may do anything, and leaves only when the replay floor rises above
//! it. A row that does not match the chain makes the whole ledger *damaged*: nothing signed runs until a person
//! has looked. A ledger that is full refuses; it never forgets to make room.

use std::cell::Ref;

use felhom_shared::id::GuestId;
use felhom_shared::report::{LedgerHead, ReceiptState};
use felhom_shared::signed::{Op, OpId, Rejection, Request};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::book::{Book, Standing};
use super::{Boundary, State, StateError};

/// Most operations whose nonces the ledger holds at a time.
const OPS_MAX: usize = 4096;
/// From this many on, the finished ones that are over for a week are cleared, and the floor raised above them.
const CLEARED_FROM: usize = 1024;
const CHAIN_DOMAIN: &[u8] = b"felhom/ledger/v1\0";

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub(super) enum Row {
    /// An operation is accepted: its nonce is used.
    Reserved {
        op_id: OpId,
        op: String,
        guest_id: Option<GuestId>,
        nonce: String,
        issued_at: u64,
        expires_at: u64,
        at: Timestamp,
    },
    /// It begins: from here on it runs at most once.
    Begun { op_id: OpId, at: Timestamp },
    /// It ended.
    Ended { op_id: OpId, state: ReceiptState, code: Option<String>, text: Option<String>, at: Timestamp },
    /// Operations issued at or before `floor` are void.
    Floor { floor: u64, at: Timestamp },
    /// After a roll-back, a root key lets the box go on.
    Rebased { from_seq: u64, at: Timestamp },
}

/// The hash of a row: over everything before it, its number and its text.
pub(super) fn chained(previous: &[u8], seq: u64, text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(CHAIN_DOMAIN);
    hash.update(previous);
    hash.update(seq.to_be_bytes());
    hash.update(text.as_bytes());
    hash.finalize().into()
}

impl State {
    /// What the ledger says, in memory.
    pub fn book(&self) -> Ref<'_, Book> {
        self.book.borrow()
    }

    /// The ledger's end, for the report.
    #[must_use]
    pub fn ledger_head(&self) -> Option<LedgerHead> {
        self.book().head()
    }

    /// Whether an operation may still be taken: not below the floor, neither it nor its nonce used before, and
    /// room for it.
    pub fn check_fresh(&self, op_id: &OpId, op: &Op) -> Result<(), Rejection> {
        let book = self.book();
        if book.is_damaged() {
            return Err(Rejection::LedgerDamaged);
        }
        if book.standing(op_id).is_some() || book.has_nonce(&String::from(op.nonce)) {
            return Err(Rejection::Replayed);
        }
        if op.issued_at <= book.floor() {
            return Err(Rejection::Stale);
        }
        // What makes room must find room.
        if book.standings().len() >= OPS_MAX && !matches!(op.request, Request::VoidBefore(_)) {
            return Err(Rejection::LedgerFull);
        }
        Ok(())
    }

    /// Puts an operation's nonce and envelope on disk, and what `also` does at once with them: a power cut leaves
    /// all of it or nothing.
    pub fn reserve(
        &self,
        (op_id, blob): (&OpId, &str),
        op: &Op,
        now: Timestamp,
        also: impl FnOnce(&Connection, &State) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.boundary(Boundary::BeforeReserve);
        let row = Row::Reserved {
            op_id: op_id.clone(),
            op: op.request.word().to_owned(),
            guest_id: op.target.guest_id,
            nonce: op.nonce.into(),
            issued_at: op.issued_at,
            expires_at: op.expires_at,
            at: now,
        };
        self.in_one(|sql, state| {
            sql.execute(
                "INSERT OR REPLACE INTO op_blobs (op_id, blob) VALUES (?1, ?2)",
                params![op_id.as_str(), blob],
            )?;
            sql.execute("DELETE FROM op_held WHERE op_id = ?1", [op_id.as_str()])?;
            state.append(sql, row)?;
            also(sql, state)
        })?;
        self.boundary(Boundary::AfterReserve);
        Ok(())
    }

    /// The envelope of a reserved operation, for the second look at it.
    pub fn blob(&self, op_id: &OpId) -> Result<String, StateError> {
        let sql = self.sql();
        Ok(sql.query_row("SELECT blob FROM op_blobs WHERE op_id = ?1", [op_id.as_str()], |row| row.get(0))?)
    }

    /// Ends an operation that was not begun.
    pub fn end_op(
        &self,
        op_id: &OpId,
        end: (ReceiptState, Option<&Rejection>),
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.in_one(|sql, this| this.end_op_in(sql, op_id, end, now))
    }

    /// The same within a transaction: how an operation on the host ends, together with its effect.
    pub(crate) fn end_op_in(
        &self,
        sql: &Connection,
        op_id: &OpId,
        (state, rejection): (ReceiptState, Option<&Rejection>),
        now: Timestamp,
    ) -> Result<(), StateError> {
        let row = Row::Ended {
            op_id: op_id.clone(),
            state,
            code: rejection.map(|rejection| rejection.code().to_owned()),
            text: rejection.map(ToString::to_string),
            at: now,
        };
        self.append(sql, row)
    }

    /// Voids operations issued at or before `floor`; the floor never falls.
    pub(crate) fn raise_floor(&self, sql: &Connection, floor: u64, now: Timestamp) -> Result<(), StateError> {
        if floor > self.book().floor() { self.append(sql, Row::Floor { floor, at: now }) } else { Ok(()) }
    }

    /// Goes on above a row that the hub has seen and this box has lost.
    pub(crate) fn rebase(&self, sql: &Connection, seq: u64, now: Timestamp) -> Result<(), StateError> {
        let from_seq = self.book().seq();
        self.book.borrow_mut().skip_to(seq);
        self.append(sql, Row::Rebased { from_seq, at: now })
    }

    /// Clears operations that ended and were issued more than a week before `now_ms`, or are void. The floor goes
    /// above them and is written anew, for the row that last said it may be among the cleared: no clearing ever
    /// makes a replay possible.
    pub fn clear_ledger(&self, now_ms: u64, week_ms: u64, now: Timestamp) -> Result<(), StateError> {
        let (until, floor) = {
            let book = self.book();
            if book.is_damaged() || book.standings().len() < CLEARED_FROM {
                return Ok(());
            }
            let before = now_ms.saturating_sub(week_ms).max(book.floor().saturating_add(1));
            let Some((until, issued)) = book.clearable(before) else { return Ok(()) };
            (until, issued.max(book.floor()))
        };
        self.in_one(|sql, state| {
            state.append(sql, Row::Floor { floor, at: now })?;
            let base = state.book().chain_at(until);
            let Some(base) = base else { return Ok(()) };
            sql.execute(
                "INSERT INTO op_base (id, seq, chain) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET seq = ?1, chain = ?2",
                params![until.cast_signed(), base.as_slice()],
            )?;
            sql.execute("DELETE FROM op_ledger WHERE seq <= ?1", [until.cast_signed()])?;
            for table in ["op_blobs", "op_told"] {
                let gone = "WHERE op_id NOT IN (SELECT op_id FROM op_ledger WHERE op_id IS NOT NULL)";
                sql.execute(&format!("DELETE FROM {table} {gone}"), [])?;
            }
            Ok(())
        })?;
        self.reload_book()
    }

    /// What a reserved operation's envelope was told to the hub as.
    pub fn untold_standings(&self) -> Result<Vec<Standing>, StateError> {
        let book = self.book();
        Ok(book
            .standings()
            .filter(|standing| book.told(&standing.op_id) != Some(standing.state))
            .cloned()
            .collect())
    }

    /// Notes that the hub knows how far an operation came.
    pub fn told_standing(&self, op_id: &OpId, state: ReceiptState) -> Result<(), StateError> {
        let word = serde_json::to_string(&state).expect("a unit variant");
        self.sql().execute(
            "INSERT INTO op_told (op_id, state) VALUES (?1, ?2) ON CONFLICT (op_id) DO UPDATE SET state = ?2",
            params![op_id.as_str(), word],
        )?;
        self.book.borrow_mut().tell(op_id.clone(), state);
        Ok(())
    }

    /// Appends a row within the transaction of `sql`, and to the book.
    pub(super) fn append(&self, sql: &Connection, row: Row) -> Result<(), StateError> {
        let text = serde_json::to_string(&row).expect("rows have string keys and no failing parts");
        let mut book = self.book.borrow_mut();
        let seq = book.seq() + 1;
        let chain = chained(book.chain(), seq, &text);
        let (op_id, nonce) = match &row {
            Row::Reserved { op_id, nonce, .. } => (Some(op_id.as_str()), Some(nonce.as_str())),
            Row::Begun { op_id, .. } | Row::Ended { op_id, .. } => (Some(op_id.as_str()), None),
            Row::Floor { .. } | Row::Rebased { .. } => (None, None),
        };
        sql.execute(
            "INSERT INTO op_ledger (seq, op_id, nonce, row, chain) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![seq.cast_signed(), op_id, nonce, text, chain.as_slice()],
        )?;
        book.take(seq, chain, row);
        Ok(())
    }

    /// Runs `work` in one transaction. What fails leaves neither row nor memory of it.
    pub(crate) fn in_one(
        &self,
        work: impl FnOnce(&Connection, &State) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let done = (|| {
            let sql = self.sql();
            let transaction = sql.unchecked_transaction()?;
            work(&transaction, self)?;
            transaction.commit()?;
            Ok(())
        })();
        if done.is_err() && self.reload_book().is_err() {
            // What the book says and what is on disk may differ: nothing signed runs on a guess.
            self.book.borrow_mut().distrust();
        }
        done
    }

    /// Begins a new ledger above a damaged one; everything issued until `floor` is void. At the console only.
    pub fn begin_new_ledger(&self, floor: u64, now: Timestamp) -> Result<(), StateError> {
        self.in_one(|sql, state| {
            let last = sql.query_row("SELECT coalesce(max(seq), 0) FROM op_ledger", [], |row| row.get::<_, i64>(0))?;
            sql.execute_batch(
                "DELETE FROM op_ledger; DELETE FROM op_base; DELETE FROM op_blobs; DELETE FROM op_held; DELETE FROM op_told;",
            )?;
            *state.book.borrow_mut() = Book::default();
            state.rebase(sql, last.cast_unsigned(), now)?;
            state.raise_floor(sql, floor, now)
        })
    }

    /// Reads the ledger from disk and checks its chain.
    pub(super) fn reload_book(&self) -> Result<(), StateError> {
        let book = Book::read(&self.sql())?;
        *self.book.borrow_mut() = book;
        Ok(())
    }
}

/// Where the agent takes up a held envelope again: an operation that could not be judged yet.
impl State {
    /// Keeps an envelope that cannot be judged yet; `false` when there are too many.
    pub fn hold(&self, op_id: &OpId, blob: &str) -> Result<bool, StateError> {
        const HELD_MAX: i64 = 64;
        let sql = self.sql();
        let held: i64 = sql.query_row("SELECT count(*) FROM op_held", [], |row| row.get(0))?;
        if held >= HELD_MAX {
            return Ok(false);
        }
        sql.execute(
            "INSERT INTO op_held (op_id, blob) VALUES (?1, ?2) ON CONFLICT (op_id) DO NOTHING",
            params![op_id.as_str(), blob],
        )?;
        Ok(true)
    }

    /// The envelopes that wait to be judged.
    pub fn held(&self) -> Result<Vec<String>, StateError> {
        if self.memory().nothing_held {
            return Ok(Vec::new());
        }
        let sql = self.sql();
        let mut statement = sql.prepare_cached("SELECT blob FROM op_held ORDER BY rowid")?;
        let held = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
        self.remember(|memory| memory.nothing_held = held.is_empty());
        Ok(held)
    }

    /// Forgets a held envelope: it was rejected.
    pub fn drop_held(&self, op_id: &OpId) -> Result<(), StateError> {
        self.sql().execute("DELETE FROM op_held WHERE op_id = ?1", [op_id.as_str()])?;
        Ok(())
    }
}
