//! What is known of the hosts between two writes: when each was last heard, its numbers, and who waits for news.
//!
//! Kept in memory so that an unchanged report costs no write. Losing it costs at most one flush interval of
//! charts; everything that matters is in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use felhom_shared::id::{Generation, HostId};
use felhom_shared::report::Metrics;
use tokio::sync::Notify;

use crate::store::host_metrics::Sample;

/// The hosts as this process knows them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Live {
    hosts: Arc<Mutex<HashMap<HostId, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    last_seen_ms: Option<i64>,
    digest: Option<[u8; 32]>,
    intent: Intent,
    metrics: Option<Sample>,
    flushed_ms: i64,
    news: Arc<Notify>,
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

impl Live {
    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Entry>> {
        // A panic while holding the lock leaves single fields whole; going on is right.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the store knows, when the hub starts.
    pub fn remember(&self, host_id: HostId, last_seen_ms: Option<i64>, digest: Option<[u8; 32]>) {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        (entry.last_seen_ms, entry.digest) = (last_seen_ms, digest);
    }

    /// Takes over what the operator wants, and wakes the host's parked poll if that is new.
    pub fn set_intent(&self, host_id: HostId, intent: Intent) -> bool {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        let new = entry.intent != intent;
        if new {
            entry.intent = intent;
            entry.news.notify_waiters();
        }
        new
    }

    /// What the operator wants.
    #[must_use]
    pub fn intent(&self, host_id: HostId) -> Intent {
        self.hosts().get(&host_id).map(|entry| entry.intent.clone()).unwrap_or_default()
    }

    /// Whether this state is the one last stored.
    #[must_use]
    pub fn is_stored(&self, host_id: HostId, digest: &[u8; 32]) -> bool {
        self.hosts().get(&host_id).is_some_and(|entry| entry.digest.as_ref() == Some(digest))
    }

    /// Notes a report.
    pub fn heard(&self, host_id: HostId, metrics: Metrics, now_ms: i64) {
        let mut hosts = self.hosts();
        let entry = hosts.entry(host_id).or_default();
        entry.last_seen_ms = Some(now_ms);
        entry.metrics = Some(Sample { at_ms: now_ms, metrics });
    }

    /// Notes that a state is durable.
    pub fn stored(&self, host_id: HostId, digest: [u8; 32]) {
        self.hosts().entry(host_id).or_default().digest = Some(digest);
    }

    /// When a host was last heard.
    #[must_use]
    pub fn last_seen_ms(&self, host_id: HostId) -> Option<i64> {
        self.hosts().get(&host_id).and_then(|entry| entry.last_seen_ms)
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

    /// Wakes every parked poll.
    pub fn wake_all(&self) {
        for entry in self.hosts().values() {
            entry.news.notify_waiters();
        }
    }

    /// What has been heard since the last flush.
    #[must_use]
    pub fn take_unwritten(&self) -> Vec<Unwritten> {
        let mut unwritten = Vec::new();
        for (host_id, entry) in self.hosts().iter_mut() {
            if let Some(last_seen_ms) = entry.last_seen_ms.filter(|seen| *seen > entry.flushed_ms) {
                entry.flushed_ms = last_seen_ms;
                unwritten.push(Unwritten { host_id: *host_id, last_seen_ms, sample: entry.metrics.clone() });
            }
        }
        unwritten
    }
}
