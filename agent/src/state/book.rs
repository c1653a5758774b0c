//! The ledger read into memory: how every operation stands, which nonces are used, where the chain ends.
//!
//! Made only from rows, in their order; it can always be made again.

use std::collections::{BTreeMap, BTreeSet};

use felhom_shared::id::GuestId;
use felhom_shared::report::{LedgerHead, Receipt, ReceiptState};
use felhom_shared::signed::OpId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::StateError;
use super::op_ledger::{Row, chained};

/// How an operation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The envelope's id.
    pub op_id: OpId,
    /// E.g. `guest.destroy`.
    pub op: String,
    /// The guest it is about.
    pub guest_id: Option<GuestId>,
    /// When it was issued, milliseconds since 1970.
    pub issued_at: u64,
    /// Until when it may begin, milliseconds since 1970.
    pub expires_at: u64,
    /// How far it came.
    pub state: ReceiptState,
    /// Why it did not come further.
    pub code: Option<String>,
    /// The same as a sentence.
    pub text: Option<String>,
    /// When it came there.
    pub at: Timestamp,
}

impl Standing {
    /// As it is reported.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt {
            op_id: self.op_id.to_string(),
            op: self.op.clone(),
            guest_id: self.guest_id,
            state: self.state,
            code: self.code.clone(),
            text: self.text.clone(),
            at: self.at,
        }
    }

    /// Whether it has not been begun and may still be.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.state == ReceiptState::Accepted
    }

    fn is_over(&self) -> bool {
        !matches!(self.state, ReceiptState::Accepted | ReceiptState::Started)
    }
}

/// An operation and the first and last of its rows.
#[derive(Debug, Clone)]
struct Entry {
    first: u64,
    last: u64,
    standing: Standing,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Book {
    seq: u64,
    chain: Vec<u8>,
    chains: BTreeMap<u64, [u8; 32]>,
    standings: BTreeMap<OpId, Entry>,
    nonces: BTreeSet<String>,
    told: BTreeMap<OpId, ReceiptState>,
    floor: u64,
    rebased_above: u64,
    damaged: bool,
}

impl Book {
    /// Reads every row and checks the chain.
    pub(super) fn read(sql: &Connection) -> Result<Self, StateError> {
        let mut book = Self::default();
        let base = sql.query_row("SELECT seq, chain FROM op_base WHERE id = 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        if let Some((seq, chain)) = base.optional()? {
            (book.seq, book.chain) = (seq.cast_unsigned(), chain);
        }
        let mut statement = sql.prepare("SELECT seq, row, chain FROM op_ledger ORDER BY seq")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
        })?;
        for row in rows {
            let (seq, text, chain) = row?;
            let expected = chained(&book.chain, seq, &text);
            let Some(row) = serde_json::from_str::<Row>(&text).ok().filter(|_| expected == *chain) else {
                book.damaged = true;
                return Ok(book);
            };
            // Numbers are without a gap, except where a rebase has jumped above what was lost.
            book.damaged |= seq <= book.seq || (seq != book.seq + 1 && !matches!(row, Row::Rebased { .. }));
            book.take(seq, expected, row);
        }
        let mut statement = sql.prepare("SELECT op_id, state FROM op_told")?;
        let told = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        for row in told {
            let (op_id, state) = row?;
            if let (Ok(op_id), Ok(state)) = (op_id.parse(), serde_json::from_str(&state)) {
                book.told.insert(op_id, state);
            }
        }
        Ok(book)
    }

    /// Takes a row in.
    pub(super) fn take(&mut self, seq: u64, chain: [u8; 32], row: Row) {
        self.seq = seq;
        self.chain = chain.to_vec();
        self.chains.insert(seq, chain);
        match row {
            Row::Reserved { op_id, op, guest_id, nonce, issued_at, expires_at, at } => {
                self.nonces.insert(nonce);
                let standing = Standing {
                    op_id: op_id.clone(),
                    op,
                    guest_id,
                    issued_at,
                    expires_at,
                    state: ReceiptState::Accepted,
                    code: None,
                    text: None,
                    at,
                };
                self.standings.insert(op_id, Entry { first: seq, last: seq, standing });
            }
            Row::Begun { op_id, at } => {
                if let Some(standing) = self.moved(&op_id, seq) {
                    (standing.state, standing.at) = (ReceiptState::Started, at);
                }
            }
            Row::Ended { op_id, state, code, text, at } => {
                if let Some(standing) = self.moved(&op_id, seq) {
                    (standing.state, standing.code, standing.text, standing.at) = (state, code, text, at);
                }
            }
            Row::Floor { floor, .. } => self.floor = self.floor.max(floor),
            Row::Rebased { .. } => self.rebased_above = seq - 1,
        }
    }

    /// The operation that a row moves on. A row without the ones before it was not written by an agent.
    fn moved(&mut self, op_id: &OpId, seq: u64) -> Option<&mut Standing> {
        let Some(entry) = self.standings.get_mut(op_id) else {
            self.damaged = true;
            return None;
        };
        entry.last = seq;
        Some(&mut entry.standing)
    }

    /// How an operation stands.
    #[must_use]
    pub fn standing(&self, op_id: &OpId) -> Option<&Standing> {
        self.standings.get(op_id).map(|entry| &entry.standing)
    }

    /// Every operation in the ledger.
    pub fn standings(&self) -> impl ExactSizeIterator<Item = &Standing> {
        self.standings.values().map(|entry| &entry.standing)
    }

    /// The newest `most`, oldest first.
    #[must_use]
    pub fn receipts(&self, most: usize) -> Vec<Receipt> {
        let mut newest: Vec<_> = self.standings.values().collect();
        newest.sort_unstable_by_key(|entry| entry.last);
        let skipped = newest.len().saturating_sub(most);
        newest.into_iter().skip(skipped).map(|entry| entry.standing.receipt()).collect()
    }

    /// Whether a nonce was used.
    #[must_use]
    pub fn has_nonce(&self, nonce: &str) -> bool {
        self.nonces.contains(nonce)
    }

    /// Operations issued at or before this time are void, milliseconds since 1970.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The latest `issued_at` that was accepted, milliseconds since 1970.
    #[must_use]
    pub fn latest_issued(&self) -> u64 {
        self.standings().map(|standing| standing.issued_at).max().unwrap_or(0)
    }

    /// Whether a row did not match the chain.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// What is here may not be what is on disk.
    pub(super) fn distrust(&mut self) {
        self.damaged = true;
    }

    /// The last row's number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The last row's hash.
    pub(super) fn chain(&self) -> &[u8] {
        &self.chain
    }

    /// The hash at a row that is still here.
    #[must_use]
    pub fn chain_at(&self, seq: u64) -> Option<[u8; 32]> {
        self.chains.get(&seq).copied()
    }

    /// The end of the chain.
    #[must_use]
    pub fn head(&self) -> Option<LedgerHead> {
        (self.seq > 0)
            .then(|| LedgerHead { seq: self.seq, head: data_encoding::HEXLOWER.encode(&self.chain) })
    }

    /// Whether what the hub has seen of this box's ledger is part of it. What was cleared since cannot be
    /// compared any more, and is believed.
    #[must_use]
    pub fn contains(&self, seen: &LedgerHead) -> bool {
        if seen.seq > self.seq {
            return false;
        }
        if seen.seq <= self.rebased_above {
            return true;
        }
        let here = self.chain_at(seen.seq);
        here.is_none_or(|chain| data_encoding::HEXLOWER.encode(&chain) == seen.head)
    }

    /// What the hub was told of an operation last.
    #[must_use]
    pub fn told(&self, op_id: &OpId) -> Option<ReceiptState> {
        self.told.get(op_id).copied()
    }

    pub(super) fn tell(&mut self, op_id: OpId, state: ReceiptState) {
        self.told.insert(op_id, state);
    }

    /// The next row is the one after `seq`.
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    /// Up to which row everything is over and was issued before `before_ms`, and the latest `issued_at` among it.
    /// No operation is cut in two: a row without the ones before it would read as damage.
    pub(super) fn clearable(&self, before_ms: u64) -> Option<(u64, u64)> {
        let stays = |entry: &Entry| !entry.standing.is_over() || entry.standing.issued_at >= before_ms;
        let mut until = self.standings.values().filter(|entry| stays(entry)).map(|entry| entry.first).min();
        loop {
            let end = until.unwrap_or(self.seq + 1);
            let cut = self.standings.values().filter(|entry| entry.first < end && entry.last >= end);
            match cut.map(|entry| entry.first).min() {
                Some(first) => until = Some(first),
                None => break,
            }
        }
        let end = until.unwrap_or(self.seq + 1);
        let gone = self.standings.values().filter(|entry| entry.last < end);
        let floor = gone.map(|entry| entry.standing.issued_at).max()?;
        Some((end - 1, floor))
    }
}
