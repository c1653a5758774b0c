//! The agent's life: wait for news or for the time, run a cycle, report. One thread, no work while waiting.
//!
//! A poll is always parked at the hub, also beside a cycle, so a published document starts its cycle within the round
//! trip, or right after the one that runs. Without the hub the box goes on converging the document in force.

use std::future::Future;
use std::time::Duration;

use felhom_shared::id::HostId;
use felhom_shared::wire::{PollAnswer, PollQuery};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::POLL_WAIT_S_MAX;
use crate::cycle::Cycle;
use crate::hub::{Hub, HubError};
use crate::metrics::Textfile;
use crate::node::Gauges;
use crate::ops::Told;
use crate::pulse::Pulse;
use crate::pve::Pve;
use crate::state::{State, StateError};

mod deliver;
mod hear;

use deliver::{report, report_progress};

const FIRST_INTERVAL_S: u64 = 60;
/// From one poll to the next, at the least: a hub that answers everything at once does not keep the box busy.
const POLL_SPACING: Duration = Duration::from_millis(200);
/// How long the journal is kept.
const JOURNAL_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Before asking again after a document that was not taken.
const UNWANTED_PAUSE: Duration = Duration::from_secs(5);
/// From one time that a missing secret is asked for to the next.
const SECRET_PAUSE: Duration = Duration::from_secs(60);
/// Receipts kept for an unreachable hub; what the ledger holds is kept there.
const RECEIPTS_KEPT: usize = 256;
/// Between cycles while a task of ours still runs.
const UNSETTLED_PAUSE: Duration = Duration::from_secs(5);
const RECONNECT_FIRST: Duration = Duration::from_secs(1);
const RECONNECT_LONGEST: Duration = Duration::from_secs(120);

/// A running agent.
pub struct Daemon {
    host_id: HostId,
    hub: Hub,
    pve: Pve,
    state: State,
    cycle: Cycle,
    gauges: Gauges,
    blocked: bool,
    interval: Duration,
    /// The next pause should the hub be out of reach again.
    reconnect: Duration,
    unsettled: bool,
    /// How long a poll stays parked.
    poll_wait_s: u64,
    /// How long the next poll waits before it is sent.
    poll_pause: Duration,
    /// When the last poll was made.
    polled_at: Option<Instant>,
    /// When a secret was last asked for.
    secret_asked_at: Option<Instant>,
    /// What the hub's queue is still to be told of operations that the ledger does not hold.
    receipts: Vec<Told>,
    metrics: Option<Textfile>,
}

/// A task of its own: a cycle may take longer than the poll's time limit, and nobody looks at it meanwhile.
type Poll = JoinHandle<Result<Option<PollAnswer>, HubError>>;

impl Daemon {
    /// An agent about to start.
    #[must_use]
    pub fn new(host_id: HostId, hub: Hub, pve: Pve, state: State, cycle: Cycle) -> Self {
        let interval = Duration::from_secs(FIRST_INTERVAL_S);
        Self {
            host_id,
            hub,
            pve,
            state,
            cycle,
            gauges: Gauges::new(),
            blocked: false,
            interval,
            reconnect: RECONNECT_FIRST,
            poll_wait_s: POLL_WAIT_S_MAX,
            poll_pause: Duration::ZERO,
            unsettled: false,
            polled_at: None,
            secret_asked_at: None,
            receipts: Vec::new(),
            metrics: None,
        }
    }

    /// The same agent, which keeps its numbers in a file.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Option<Textfile>) -> Self {
        self.metrics = metrics;
        self
    }

    /// The same agent, whose polls stay parked for this long.
    #[must_use]
    pub fn with_poll_wait(mut self, poll_wait_s: u64) -> Self {
        self.poll_wait_s = poll_wait_s;
        self
    }

    /// Runs until `stop` resolves. Steps under way are left to PVE and adopted at the next start. `alive` is called
    /// where the loop has come on.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut alive: impl FnMut(),
    ) -> Result<(), StateError> {
        tokio::pin!(stop);
        let pulse = Pulse::new(&mut alive);
        let mut poll = self.start_poll()?;
        let mut due = Instant::now();
        loop {
            let news = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                answer = &mut poll => Some(answer.expect("a poll does not panic, and one that is aborted is not waited for")),
                () = self.cycle.drives_changed() => None,
                () = tokio::time::sleep_until(due) => None,
            };
            let run_cycle = match news {
                None => true,
                Some(answer) => {
                    let news = self.take(answer)?;
                    tokio::select! {
                        biased;
                        () = &mut stop => return Ok(()),
                        // Before the next poll, which would bring the same operations again.
                        sent = self.send_receipts(&pulse) => sent?,
                    }
                    poll = self.start_poll()?;
                    news
                }
            };
            if run_cycle {
                tokio::select! {
                    biased;
                    () = &mut stop => return Ok(()),
                    done = self.cycle_and_report(&pulse) => done?,
                }
                due = Instant::now() + self.pause();
                // The parked poll asks for what is newer; what it might have brought, the next one brings as well.
                if self.must_ask_for_secret() {
                    poll.abort();
                    poll = self.start_poll()?;
                }
            }
            pulse.beat();
        }
    }

    /// The next poll, after a pause when the hub was out of reach.
    fn start_poll(&mut self) -> Result<Poll, StateError> {
        let early = self.polled_at.map_or(Duration::ZERO, |at| POLL_SPACING.saturating_sub(at.elapsed()));
        let (hub, pause) = (self.hub.clone(), self.poll_pause.max(early));
        self.polled_at = Some(Instant::now());
        // A box that may have been rolled back asks as if it had nothing: only an answer says what the hub has seen.
        // So does one that has lost a secret, as seldom as it looks at everything: secrets come with their document.
        let for_secret = self.must_ask_for_secret();
        if for_secret {
            self.secret_asked_at = Some(Instant::now());
        }
        let anew = self.cycle.ops().must_hear() || for_secret;
        let seen = if anew { None } else { self.state.last_seen()? };
        let query = PollQuery {
            have: seen.as_ref().map(|seen| seen.generation),
            digest: seen.map(|seen| seen.digest),
            keyset: self.cycle.ops().keyset_version(),
            wait: self.poll_wait_s,
        };
        Ok(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            hub.poll(&query).await
        }))
    }

    fn must_ask_for_secret(&self) -> bool {
        let due = self.secret_asked_at.is_none_or(|at| at.elapsed() > SECRET_PAUSE);
        due && self.cycle.lacks_secret()
    }

    /// Runs a cycle, reporting beside it what is under way, and then what it came to.
    async fn cycle_and_report(&mut self, pulse: &Pulse<'_>) -> Result<(), StateError> {
        let now = Timestamp::now();
        if self.cycle.ops().note_time(now)? {
            self.state.prune_journal(now.saturating_sub(JOURNAL_KEPT).unwrap_or(Timestamp::UNIX_EPOCH))?;
        }
        let accepted = self.state.accepted()?;
        let told = self.cycle.ops().take_held(accepted.as_ref().map(|accepted| &accepted.desired), now)?;
        self.receipts.extend(told);
        let (progress, under_way) = watch::channel(None);
        let node = self.cycle.observer().node().cloned();
        let end = tokio::select! {
            biased;
            end = self.cycle.run_telling(self.blocked, |state| { progress.send_replace(Some(state)); }) => end?,
            never = report_progress(&self.hub, (&self.pve, &mut self.gauges), node, under_way) => match never {},
            never = pulse.follow(self.pve.exchanges_ended()) => match never {},
        };
        pulse.beat();
        self.unsettled = end.state.journal_open > 0 || self.cycle.on_trial();
        if end.cost.changing_requests > 0 {
            tracing::info!(
                requests = end.cost.requests,
                changing_requests = end.cost.changing_requests,
                duration_ms = end.cost.duration_ms,
                "cycle done"
            );
        }
        let kept = self.metrics.is_some().then(|| end.clone());
        let report = report(&self.pve, &mut self.gauges, self.cycle.observer().node(), end).await;
        match self.hub.report(&report).await {
            Ok(control) => {
                self.heard();
                self.listen(control.poll_interval_s, control.blocked);
            }
            Err(error) => tracing::warn!(code = error.code(), "report not delivered: {error}"),
        }
        self.send_receipts(pulse).await?;
        self.send_events(pulse).await?;
        self.state.shrink()?;
        if let (Some(metrics), Some(end)) = (&mut self.metrics, kept) {
            metrics.cycle_ended(end, self.blocked, self.interval);
        }
        Ok(())
    }

    /// Until the next cycle without news: the hub's interval, jittered, or a failed guest's next try.
    fn pause(&self) -> Duration {
        let longest = if self.unsettled { self.interval.min(UNSETTLED_PAUSE) } else { self.interval };
        let interval = jittered(longest);
        let Some(next_try) = self.cycle.next_try() else { return interval };
        let until = next_try.duration_since(Timestamp::now()).as_millis().max(1000);
        interval.min(Duration::from_millis(u64::try_from(until).unwrap_or(u64::MAX)))
    }
}

/// Nine to eleven tenths of a pause, so that a fleet does not march in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0u8];
    if getrandom::fill(&mut byte).is_err() {
        return pause;
    }
    pause.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_patience_is_longer_than_the_longest_honest_silence() {
        let unit = include_str!("../../systemd/felhom-agent.service");
        let minutes = unit.lines().find_map(|line| line.strip_prefix("WatchdogSec=")?.strip_suffix("min"));
        let patience = Duration::from_secs(60 * minutes.unwrap().parse::<u64>().unwrap());
        let poll = Duration::from_secs(POLL_WAIT_S_MAX) + crate::hub::ANSWER_TIMEOUT;
        let silence = RECONNECT_LONGEST.mul_f64(1.1) + poll;
        assert!(silence + Duration::from_secs(60) < patience, "{silence:?} of {patience:?}");
    }
}
