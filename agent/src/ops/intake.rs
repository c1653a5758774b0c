//! What came from the hub: keysets, envelopes, and how far the hub has seen the ledger.

use felhom_shared::desired::DesiredState;
use felhom_shared::event::Severity;
use felhom_shared::limits::OPS_PER_POLL_MAX;
use felhom_shared::report::{LedgerHead, Receipt, ReceiptState};
use felhom_shared::signed::{self, Clock, Op, OpId, Rejection, Request, VerifiedOp};
use felhom_shared::wire::{OpReceipt, QueueState, QueuedOp};
use jiff::Timestamp;
use rusqlite::Connection;

use super::grants::{Grant, Grants};
use super::{Judge, Ops, clock};
use crate::item::ItemId;
use crate::state::{Standing, State, StateError, Telling};

/// Rejections remembered for the report, and told as events in an hour; more than this is somebody's noise.
const REJECTIONS_TOLD: usize = 20;
const HOUR_MS: u64 = 3600 * 1000;
/// The longest life of any operation: what was issued before that is over.
const WEEK_MS: u64 = felhom_shared::limits::OP_LIFE_MS_MAX;

/// What an envelope came to, for the hub's queue.
pub type Told = (OpId, OpReceipt);

impl Ops {
    /// Takes keysets in, in order, as far as each follows from the one before.
    pub fn take_keysets(&self, blobs: &[String], now: Timestamp) -> Result<(), StateError> {
        let Some(genesis) = &self.genesis_sha256 else { return Ok(()) };
        for blob in blobs {
            let next = match &*self.trusted() {
                None => signed::genesis(blob.as_bytes(), genesis),
                Some(trusted) => signed::next(trusted, blob.as_bytes()),
            };
            match next {
                Ok(next) => {
                    let version = next.keyset().version;
                    self.state.put_keyset(version, blob)?;
                    *self.trusted.borrow_mut() = Some(next);
                    let text = format!("keyset {version} is in force");
                    tracing::info!("{text}");
                    self.state.tell(&Telling::of_host("keyset_accepted", Severity::Warning, text), now)?;
                }
                Err(rejection) => {
                    self.refuse(&OpId::of(blob.as_bytes()), "keyset", &rejection, now)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Notes how far the hub has seen this box's ledger.
    pub fn take_seen(&self, seen: Option<&LedgerHead>, now: Timestamp) -> Result<(), StateError> {
        let was = self.rolled_back();
        if let Some(seen) = seen {
            *self.seen_by_hub.borrow_mut() = Some(seen.clone());
        }
        self.heard.set(true);
        if self.rolled_back() && !was {
            let text = Rejection::LedgerRolledBack.to_string();
            tracing::error!("{text}");
            self.state.tell(&Telling::of_host("ledger_rolled_back", Severity::Error, text), now)?;
        }
        Ok(())
    }

    /// Judges envelopes and reserves what is accepted. Returns what the hub's queue is told of each.
    pub fn take_ops(
        &self,
        queued: &[QueuedOp],
        desired: Option<&DesiredState>,
        now: Timestamp,
    ) -> Result<Vec<Told>, StateError> {
        self.state.clear_ledger(clock::reading(&self.state, now)?.now_ms(), WEEK_MS, now)?;
        let mut told = Vec::new();
        if queued.len() > OPS_PER_POLL_MAX {
            // Each costs a check and a line that is kept until the hub has it: so many at a time, and no more.
            tracing::warn!(
                "the hub sent {} operations at once, {OPS_PER_POLL_MAX} are looked at",
                queued.len()
            );
        }
        for op in queued.iter().take(OPS_PER_POLL_MAX) {
            // The id is made here: a hub that mislabels an envelope only confuses its own queue.
            let op_id = OpId::of(op.blob.as_bytes());
            told.extend(self.take(&op_id, &op.blob, desired, now)?);
        }
        Ok(told)
    }

    /// Judges what could not be judged before.
    pub fn take_held(&self, desired: Option<&DesiredState>, now: Timestamp) -> Result<Vec<Told>, StateError> {
        let mut told = Vec::new();
        for blob in self.state.held()? {
            told.extend(self.take(&OpId::of(blob.as_bytes()), &blob, desired, now)?);
        }
        Ok(told)
    }

    fn take(
        &self,
        op_id: &OpId,
        blob: &str,
        desired: Option<&DesiredState>,
        now: Timestamp,
    ) -> Result<Option<Told>, StateError> {
        if let Some(standing) = self.state.book().standing(op_id) {
            // It came before; what became of it stands.
            return Ok(Some((op_id.clone(), receipt_of(standing))));
        }
        let clock = clock::reading(&self.state, now)?;
        let judged = self.judge(blob, desired, clock).and_then(|verified| {
            self.state.check_fresh(op_id, verified.op())?;
            Ok(verified)
        });
        let delivered = OpReceipt { state: QueueState::Delivered, code: None, text: None };
        match judged {
            Ok(verified) => {
                self.accept(&verified, blob, now)?;
                let book = self.state.book();
                Ok(book.standing(op_id).map(|standing| (op_id.clone(), receipt_of(standing))))
            }
            Err(rejection) if rejection.is_held() => {
                let kept = self.state.hold(op_id, blob)?;
                tracing::warn!(
                    code = rejection.code(),
                    op_id = op_id.as_str(),
                    "operation waits: {rejection}"
                );
                Ok(kept.then(|| (op_id.clone(), delivered)))
            }
            Err(rejection) => {
                self.state.drop_held(op_id)?;
                self.refuse(op_id, "", &rejection, now)?;
                Ok(Some((op_id.clone(), rejected(&rejection))))
            }
        }
    }

    pub(super) fn judge(
        &self,
        blob: &str,
        desired: Option<&DesiredState>,
        clock: Clock,
    ) -> Result<VerifiedOp, Rejection> {
        let trusted = self.trusted();
        let judge = Judge {
            host_id: self.host_id,
            trusted: trusted.as_ref(),
            desired,
            clock,
            rolled_back: self.rolled_back(),
        };
        judge.judge(blob.as_bytes())
    }

    /// Reserves an operation. One on the box itself takes effect at once, in the same transaction: a box that
    /// died between would owe it for ever.
    fn accept(&self, verified: &VerifiedOp, blob: &str, now: Timestamp) -> Result<(), StateError> {
        let (op_id, op) = (verified.op_id(), verified.op());
        let word = op.request.word();
        if op.request.is_planned() {
            self.state.reserve((op_id, blob), op, now, |sql, state| clock::seen(state, sql, op.issued_at))?;
            tracing::info!(op = word, op_id = op_id.as_str(), "operation accepted");
            return Ok(());
        }
        self.state.reserve((op_id, blob), op, now, |sql, state| {
            take_effect(op, sql, state, now)?;
            state.end_op_in(sql, op_id, (ReceiptState::Applied, None), now)
        })?;
        if matches!(op.request, Request::LedgerRebase(_)) {
            *self.seen_by_hub.borrow_mut() = None;
        }
        if let Request::VoidBefore(params) = &op.request {
            self.void_until(params.before, now)?;
        }
        let text = format!("{word}: {}", op.request.consequence());
        tracing::warn!(op_id = op_id.as_str(), "{text}");
        self.state.tell(&Telling::of_host("op_applied", Severity::Warning, text), now)
    }

    /// Ends what was reserved and not begun, and is void now.
    fn void_until(&self, before: u64, now: Timestamp) -> Result<(), StateError> {
        for standing in self.waiting() {
            if standing.issued_at <= before {
                self.end_waiting(&standing.op_id, &Rejection::Stale, now)?;
            }
        }
        Ok(())
    }

    fn waiting(&self) -> Vec<Standing> {
        self.state.book().standings().filter(|standing| standing.is_waiting()).cloned().collect()
    }

    /// What may be done in this cycle. Looks at every reserved operation anew: what is no longer signed
    /// by a trusted key, asked for or in time, ends here.
    pub fn grants(&self, desired: &DesiredState, now: Timestamp) -> Result<Grants, StateError> {
        let mut grants = Grants::default();
        // Until the hub has said how far it has seen the ledger, a box that was rolled back cannot know it.
        if !self.heard.get() || self.state.book().is_damaged() {
            return Ok(grants);
        }
        let clock = clock::reading(&self.state, now)?;
        let mut waiting = self.waiting();
        waiting.sort_by_key(|standing| standing.issued_at);
        for standing in waiting {
            let blob = self.state.blob(&standing.op_id)?;
            match self.judge(&blob, Some(desired), clock) {
                Ok(verified) => {
                    if let Some(item) = item_of(verified.op()) {
                        grants.add(item, Grant::of(&verified));
                    }
                }
                Err(rejection) if rejection.is_held() || rejection == Rejection::LedgerRolledBack => {}
                Err(rejection) => self.end_waiting(&standing.op_id, &rejection, now)?,
            }
        }
        Ok(grants)
    }

    /// Ends a reserved operation that will not be begun.
    pub fn end_waiting(&self, op_id: &OpId, rejection: &Rejection, now: Timestamp) -> Result<(), StateError> {
        self.state.end_op(op_id, (ended_by(rejection), Some(rejection)), now)?;
        tracing::warn!(code = rejection.code(), op_id = op_id.as_str(), "operation ended: {rejection}");
        let text = format!("operation {}: {rejection}", &op_id.as_str()[..12]);
        self.state.tell(&Telling::of_host("op_rejected", Severity::Warning, text), now)
    }

    /// The same for one that may have been begun in the meantime, which then stands.
    pub fn end_if_waiting(
        &self,
        op_id: &OpId,
        rejection: &Rejection,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let waits = self.state.book().standing(op_id).is_some_and(Standing::is_waiting);
        if waits { self.end_waiting(op_id, rejection, now) } else { Ok(()) }
    }

    /// What the hub has not yet been told of operations in the ledger.
    pub fn untold(&self) -> Result<Vec<(Standing, OpReceipt)>, StateError> {
        let standings = self.state.untold_standings()?;
        Ok(standings.into_iter().map(|standing| (standing.clone(), receipt_of(&standing))).collect())
    }

    /// Logs, tells and reports a rejection. Costs the ledger nothing, and what comes again is not told again.
    fn refuse(
        &self,
        op_id: &OpId,
        op: &str,
        rejection: &Rejection,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let mut rejected = self.rejected.borrow_mut();
        let op_id_text = op_id.to_string();
        if rejected.iter().any(|receipt| receipt.op_id == op_id_text) {
            return Ok(());
        }
        let what = if op.is_empty() { "operation" } else { op };
        tracing::warn!(code = rejection.code(), op_id = op_id_text, "{what} rejected: {rejection}");
        if self.may_tell_rejection(now) {
            let text = format!("{what} {} rejected: {rejection}", &op_id_text[..12]);
            self.state.tell(&Telling::of_host("op_rejected", Severity::Warning, text), now)?;
        }
        rejected.push_back(Receipt {
            op_id: op_id_text,
            op: op.to_owned(),
            guest_id: None,
            state: ended_by(rejection),
            code: Some(rejection.code().to_owned()),
            text: Some(rejection.to_string()),
            at: now,
        });
        if rejected.len() > REJECTIONS_TOLD {
            rejected.pop_front();
        }
        Ok(())
    }
}

impl Ops {
    /// Whoever makes envelopes that are worth nothing shall not fill the box's disk with what is said of them.
    fn may_tell_rejection(&self, now: Timestamp) -> bool {
        let hour = clock::millis(now) / HOUR_MS;
        let (counted, count) = self.told_lately.get();
        let count = if counted == hour { count + 1 } else { 1 };
        self.told_lately.set((hour, count));
        count <= REJECTIONS_TOLD
    }
}

/// What an operation on the box itself changes.
fn take_effect(op: &Op, sql: &Connection, state: &State, now: Timestamp) -> Result<(), StateError> {
    match &op.request {
        Request::ClockReset(_) => {
            state.raise_floor(sql, op.issued_at, now)?;
            State::put_clock_floor_in(sql, op.issued_at)
        }
        Request::VoidBefore(params) => state.raise_floor(sql, params.before, now),
        Request::LedgerRebase(params) => {
            // What ran in the time that is lost may still be in its window, and its nonce is lost too.
            state.raise_floor(sql, op.issued_at, now)?;
            state.rebase(sql, params.seq, now)
        }
        Request::ResetGeneration(params) => State::reset_generation(sql, params.generation),
        Request::DestroyGuest(_)
        | Request::RollbackGuest(_)
        | Request::RestoreGuest(_)
        | Request::CreatePrivileged(_)
        | Request::FormatDrive(_)
        | Request::AssignStorage(_)
        | Request::DetachStorage(_)
        | Request::ReplaceDrive(_) => Ok(()),
    }
}

/// What an operation is about, where a plan carries it out.
fn item_of(op: &Op) -> Option<ItemId> {
    let storage = op.request.storage().cloned().map(ItemId::Storage);
    storage.or_else(|| op.target.guest_id.map(ItemId::Guest))
}

/// How an operation stands that was rejected.
fn ended_by(rejection: &Rejection) -> ReceiptState {
    if *rejection == Rejection::Expired { ReceiptState::Expired } else { ReceiptState::Rejected }
}

fn rejected(rejection: &Rejection) -> OpReceipt {
    let state = if *rejection == Rejection::Expired { QueueState::Expired } else { QueueState::Rejected };
    OpReceipt { state, code: Some(rejection.code().to_owned()), text: Some(rejection.to_string()) }
}

/// A standing in the words of the hub's queue.
fn receipt_of(standing: &Standing) -> OpReceipt {
    let (state, code) = match standing.state {
        ReceiptState::Accepted | ReceiptState::Started => (QueueState::Delivered, None),
        ReceiptState::Applied => (QueueState::Applied, None),
        ReceiptState::Expired => (QueueState::Expired, standing.code.clone()),
        ReceiptState::Failed => (QueueState::Rejected, Some("step_failed".to_owned())),
        ReceiptState::Interrupted => (QueueState::Rejected, Some("interrupted".to_owned())),
        ReceiptState::Rejected => (QueueState::Rejected, standing.code.clone()),
    };
    OpReceipt { state, code, text: standing.text.clone() }
}
