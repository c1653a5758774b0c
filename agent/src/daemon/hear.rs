//! What the hub says: the poll's answer taken in, a document accepted or refused with its code.

use std::time::Duration;

use felhom_shared::event::Severity;
use felhom_shared::wire::{PollAnswer, QueueState};
use jiff::Timestamp;

use super::{Daemon, RECEIPTS_KEPT, RECONNECT_FIRST, RECONNECT_LONGEST, UNWANTED_PAUSE, jittered};
use crate::accept::{Offer, Verdict, accept};
use crate::hub::HubError;
use crate::state::{LastSeen, StateError, Telling};

impl Daemon {
    /// Takes the hub's answer in, and says whether there is something to do or to tell.
    pub(super) fn take(&mut self, answer: Result<Option<PollAnswer>, HubError>) -> Result<bool, StateError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.poll_pause = jittered(self.reconnect);
                tracing::warn!(
                    code = error.code(),
                    "poll failed, next try in {:?}: {error}",
                    self.poll_pause
                );
                self.reconnect = (self.reconnect * 2).min(RECONNECT_LONGEST);
                return Ok(false);
            }
        };
        self.heard();
        self.reconnect = RECONNECT_FIRST;
        self.poll_pause = Duration::ZERO;
        let Some(answer) = answer else { return Ok(false) };
        self.listen(answer.poll_interval_s, answer.blocked);
        let (ops, now) = (self.cycle.ops().clone(), Timestamp::now());
        ops.take_seen(answer.ledger_seen.as_ref(), now)?;
        ops.take_keysets(&answer.keysets, now)?;
        self.offer(&answer)?;
        self.cycle.take_secrets(&answer)?;
        let accepted = self.state.accepted()?;
        let told = ops.take_ops(&answer.ops, accepted.as_ref().map(|accepted| &accepted.desired), now)?;
        if told.iter().any(|(_, receipt)| receipt.state == QueueState::Rejected) {
            self.poll_pause = jittered(UNWANTED_PAUSE);
        }
        self.receipts.extend(told);
        self.receipts.truncate(RECEIPTS_KEPT);
        Ok(true)
    }

    fn offer(&mut self, answer: &PollAnswer) -> Result<(), StateError> {
        let (Some(generation), Some(desired)) = (answer.generation, &answer.desired) else { return Ok(()) };
        let bytes = desired.get().as_bytes();
        let offer = Offer { host_id: answer.host_id, generation, bytes };
        let last = self.state.accepted()?;
        let now = Timestamp::now();
        let verdict = accept(self.host_id, last.as_deref(), &offer);
        if !matches!(verdict, Verdict::Accept(_)) {
            // A hub that goes on offering what is not taken must not keep the box busy.
            self.poll_pause = jittered(UNWANTED_PAUSE);
        }
        match verdict {
            Verdict::Same => {}
            Verdict::Accept(accepted) => {
                self.state.put_accepted(&accepted, bytes)?;
                let text = format!("generation {} is in force", accepted.generation);
                tracing::info!(generation = accepted.generation.0, "{text}");
                self.state.tell(&Telling::of_host("document_accepted", Severity::Info, text), now)?;
                self.cycle.document_changed();
            }
            Verdict::Refuse(refusal) => {
                tracing::warn!(code = refusal.code, "document refused: {}", refusal.text);
                if let Some(metrics) = &mut self.metrics {
                    metrics.refused();
                }
                let text = format!("generation {} refused: {}", refusal.generation, refusal.text);
                self.state.tell(&Telling::of_host("document_refused", Severity::Error, text), now)?;
                self.state.put_refused(&refusal)?;
            }
        }
        let digest = felhom_shared::desired::digest(bytes);
        self.state.put_last_seen(&LastSeen { generation, digest })
    }

    /// How often the hub wants to hear, and whether the operator has paused the host.
    pub(super) fn listen(&mut self, poll_interval_s: u64, blocked: bool) {
        self.interval = Duration::from_secs(poll_interval_s.clamp(5, 3600));
        self.blocked = blocked;
    }

    /// The hub has answered.
    pub(super) fn heard(&mut self) {
        self.cycle.hub_heard();
        if let Some(metrics) = &mut self.metrics {
            metrics.heard();
        }
    }
}
