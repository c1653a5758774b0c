//! What is known of the hosts between two writes: when each was last heard, its numbers, and who waits for news.
//!
//! Kept in memory so that an unchanged report costs no write. Losing it costs at most one flush interval of
//! charts; everything that matters is in the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use felhom_shared::id::{Generation, HostId};
use felhom_shared::report::{LedgerHead, Metrics};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::host_metrics::Sample;

/// How often in a row the same operations or keysets are handed out at once. A box that comes back for them again
/// does not take them, and gets them from then on as rarely as it gets no news; one that lost an answer, or was
/// killed over it, does not wait.
const OFFERS_AT_ONCE: u8 = 3;

/// The hosts as this process knows them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hosts: Mutex<HashMap<HostId, Entry>>,
    since: Instant,
    stopping: AtomicBool,
    /// The newest keyset's version; 0 where there is none.
    newest_keyset: AtomicU64,
}

#[derive(Debug, Default)]
struct Entry {
    /// By the wall clock, to be shown and written down.
    last_seen_ms: Option<i64>,
    /// By the clock that only goes forward, to be judged by; `None` until heard by this process.
    heard: Option<Instant>,
    state: Option<StoredState>,
    intent: Intent,
    /// The answer to a parked poll, until it has been fetched once.
    fresh: Option<Bytes>,
    metrics: Option<Sample>,
    unwritten: bool,
    news: Arc<Notify>,
    /// The furthest end of its ledger; boxed, because most boxes have none.
    ledger: Option<Box<LedgerHead>>,
    offered: Offered,
}

/// How often in a row signed things were handed to a box that trusts this keyset.
#[derive(Debug, Default, Clone, Copy)]
struct Offered {
    keyset: u64,
    times: u8,
}

#[derive(Debug, Clone, Copy)]
struct StoredState {
    report_id: i64,
    digest: [u8; 32],
}

/// What the operator wants of a host, as far as answering an agent needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// Newest published generation.
    pub generation: Option<Generation>,
    /// SHA-256 of it.
    pub digest: Option<String>,
    /// Observe and report only.
    pub paused: bool,
    /// Signed operations that the box has not taken.
    pub queued: u32,
}

impl Intent {
    /// Whether a poll answered with one could not have been answered with the other.
    #[must_use]
    pub fn same_document(&self, other: &Self) -> bool {
        self.generation == other.generation && self.digest == other.digest
    }
}

/// What the operator wants of a host now, where that is not what it was.
#[derive(Debug)]
pub struct OtherIntent {
    /// Whose.
    pub host_id: HostId,
    /// What is wanted.
    pub intent: Intent,
    /// Whether the document is another one.
    pub other_document: bool,
    /// Whether a poll of this host is parked.
    pub parked: bool,
}

/// How long a host has not been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Its length.
    pub lasts: Duration,
    /// Whether this process has heard the host at all; if not, the length is what the wall clock says.
    pub heard_since_start: bool,
}

/// What a flush writes down of one host.
#[derive(Debug)]
pub struct Unwritten {
    /// Whose.
    pub host_id: HostId,
    /// When it was last heard.
    pub last_seen_ms: i64,
    /// The newest numbers.
    pub sample: Option<Sample>,
}

impl Default for Live {
    fn default() -> Self {
        let hosts = Mutex::default();
        let (stopping, newest_keyset) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { hosts, since: Instant::now(), stopping, newest_keyset }) }
    }
}

impl Live {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Entry>> {
        // A panic while holding the lock leaves single fields whole; going on is right.
        self.shared.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over when the store last heard of a host, when the hub starts.
    pub fn remember_seen(&self, host_id: HostId, last_seen_ms: Option<i64>) {
        self.hosts().entry(host_id).or_default().last_seen_ms = last_seen_ms;
    }

    /// Of these intents the ones that are not what was wanted before.
    #[must_use]
    pub fn others_of(&self, read: Vec<(HostId, Intent)>) -> Vec<OtherIntent> {
        let (hosts, nothing) = (self.hosts(), Intent::default());
        let others = read.into_iter().filter_map(|(host_id, intent)| {
            let entry = hosts.get(&host_id);
            let before = entry.map_or(&nothing, |entry| &entry.intent);
            (*before != intent).then(|| OtherIntent {
                host_id,
                other_document: !before.same_document(&intent),
                // The poll holds the bell that it waits for.
                parked: entry.is_some_and(|entry| Arc::strong_count(&entry.news) > 1),
                intent,
            })
        });
        others.collect()
    }

    /// Takes over what the operator wants, with the answer that a parked poll will get, and wakes that poll.
    /// `false`: it is what was wanted before.
    pub fn set_intent(&self, host_id: HostId, intent: Intent, answer: Option<Bytes>) -> bool {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        let new = entry.intent != intent;
        if new {
            if entry.intent.queued != intent.queued {
                entry.offered.times = 0;
            }
            entry.intent = intent;
            entry.fresh = answer;
            entry.news.notify_waiters();
        }
        new
    }

    /// The answer made when the intent changed; given once, so that memory holds only what is on its way.
    #[must_use]
    pub fn take_fresh(&self, host_id: HostId) -> Option<Bytes> {
        self.hosts().get_mut(&host_id).and_then(|entry| entry.fresh.take())
    }

    /// Takes over which keyset is the newest, and wakes every parked poll if it is a new one. Returns whom that
    /// concerns.
    #[must_use]
    pub fn set_newest_keyset(&self, version: u64) -> Vec<HostId> {
        if self.shared.newest_keyset.swap(version, Ordering::AcqRel) == version {
            return Vec::new();
        }
        let mut hosts = self.hosts();
        for entry in hosts.values_mut() {
            entry.offered.times = 0;
            entry.news.notify_waiters();
        }
        hosts.keys().copied().collect()
    }

    /// The newest keyset's version; 0 where there is none.
    #[must_use]
    pub fn newest_keyset(&self) -> u64 {
        self.shared.newest_keyset.load(Ordering::Acquire)
    }

    /// Whether signed operations and keysets are handed out now to a box that trusts this keyset. `patient`: its
    /// poll has waited as long as it wanted to.
    #[must_use]
    pub fn may_offer(&self, host_id: HostId, keyset: u64, patient: bool) -> bool {
        let mut hosts = self.hosts();
        let offered = &mut hosts.entry(host_id).or_default().offered;
        if offered.keyset != keyset {
            *offered = Offered { keyset, times: 0 };
        }
        if offered.times >= OFFERS_AT_ONCE {
            return patient;
        }
        offered.times += 1;
        true
    }

    /// The furthest that a box's ledger was ever seen.
    #[must_use]
    pub fn ledger(&self, host_id: HostId) -> Option<LedgerHead> {
        self.hosts().get(&host_id).and_then(|entry| entry.ledger.as_deref().cloned())
    }

    /// Remembers how far a box's ledger was seen; never backwards.
    pub fn set_ledger(&self, host_id: HostId, head: LedgerHead) {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        if entry.ledger.as_ref().is_none_or(|known| known.seq < head.seq) {
            entry.ledger = Some(Box::new(head));
        }
    }

    /// What the operator wants.
    #[must_use]
    pub fn intent(&self, host_id: HostId) -> Intent {
        self.look_at_intent(host_id, Intent::clone)
    }

    /// Looks at what the operator wants, without a copy of it.
    pub fn look_at_intent<T>(&self, host_id: HostId, look: impl FnOnce(&Intent) -> T) -> T {
        match self.hosts().get(&host_id) {
            Some(entry) => look(&entry.intent),
            None => look(&Intent::default()),
        }
    }

    /// Whether this state is the one last stored.
    #[must_use]
    pub fn is_stored(&self, host_id: HostId, digest: &[u8; 32]) -> bool {
        self.hosts().get(&host_id).and_then(|entry| entry.state).is_some_and(|state| state.digest == *digest)
    }

    /// Notes that a state is durable. Of two that overtake each other on the way here the later stored one counts.
    pub fn stored(&self, host_id: HostId, report_id: i64, digest: [u8; 32]) {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        if entry.state.is_none_or(|state| state.report_id < report_id) {
            entry.state = Some(StoredState { report_id, digest });
        }
    }

    /// Notes a report, and looks at what is wanted of the box that sent it.
    pub fn heard<T>(
        &self,
        host_id: HostId,
        metrics: Metrics,
        now_ms: i64,
        look: impl FnOnce(&Intent) -> T,
    ) -> T {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        entry.last_seen_ms = Some(now_ms);
        entry.heard = Some(Instant::now());
        entry.metrics = Some(Sample { at_ms: now_ms, metrics });
        entry.unwritten = true;
        look(&entry.intent)
    }

    /// When a host was last heard, by the wall clock.
    #[must_use]
    pub fn last_seen_ms(&self, host_id: HostId) -> Option<i64> {
        self.hosts().get(&host_id).and_then(|entry| entry.last_seen_ms)
    }

    /// How long a host has been silent; `None` if it was never heard.
    #[must_use]
    pub fn silence(&self, host_id: HostId, now: Instant, now_ms: i64) -> Option<Silence> {
        let hosts = self.hosts();
        let entry = hosts.get(&host_id)?;
        if let Some(heard) = entry.heard {
            return Some(Silence { lasts: now.saturating_duration_since(heard), heard_since_start: true });
        }
        let ms = now_ms.saturating_sub(entry.last_seen_ms?);
        Some(Silence {
            lasts: Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
            heard_since_start: false,
        })
    }

    /// How long this process has been listening.
    #[must_use]
    pub fn listening_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.shared.since)
    }

    /// A host's newest numbers.
    #[must_use]
    pub fn metrics(&self, host_id: HostId) -> Option<Sample> {
        self.hosts().get(&host_id).and_then(|entry| entry.metrics.clone())
    }

    /// Where a parked poll of this host waits.
    #[must_use]
    pub fn news(&self, host_id: HostId) -> Arc<Notify> {
        Arc::clone(&self.hosts().entry(host_id).or_default().news)
    }

    /// How many polls wait.
    #[must_use]
    pub fn parked(&self) -> usize {
        // A poll holds the bell that it waits for.
        self.hosts().values().filter(|entry| Arc::strong_count(&entry.news) > 1).count()
    }

    /// Whether parked polls are to be let go.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Lets every parked poll go.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        for entry in self.hosts().values() {
            entry.news.notify_waiters();
        }
    }

    /// Takes back that hosts were written down, after a flush that failed.
    pub fn not_written(&self, host_ids: &[HostId]) {
        let mut hosts = self.hosts();
        for host_id in host_ids {
            if let Some(entry) = hosts.get_mut(host_id) {
                entry.unwritten = true;
            }
        }
    }

    /// What has been heard since the last flush.
    #[must_use]
    pub fn take_unwritten(&self) -> Vec<Unwritten> {
        let mut unwritten = Vec::new();
        for (host_id, entry) in self.hosts().iter_mut().filter(|(_, entry)| entry.unwritten) {
            entry.unwritten = false;
            if let Some(last_seen_ms) = entry.last_seen_ms {
                unwritten.push(Unwritten { host_id: *host_id, last_seen_ms, sample: entry.metrics.clone() });
            }
        }
        unwritten
    }
}
