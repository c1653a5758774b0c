//! What every handler reads: store, configuration, what is live, and the bell for pages.

use std::sync::Arc;

use felhom_shared::id::HostId;
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;

use crate::api::host::poll::{self, News};
use crate::auth::Keys;
use crate::checks::staleness::{self, Liveness};
use crate::clock::now_ms;
use crate::config::Config;
use crate::live::{Intent, Live, OtherIntent};
use crate::metrics::Counters;
use crate::store::hosts::{self, Overview, Wanted};
use crate::store::{Store, StoreError, desired_history, keysets, signed_ops};

/// How many parked polls get their answer in one go.
const ANSWERS_AT_ONCE: usize = 256;

/// Handed to every handler. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The database.
    pub store: Store,
    /// The configuration.
    pub config: Arc<Config>,
    /// What is known between writes.
    pub live: Live,
    /// Verification of API keys.
    pub keys: Keys,
    /// What is counted, for `/metrics`.
    pub counters: Arc<Counters>,
    /// Rings when something about a host has changed, for the pages.
    pub changes: broadcast::Sender<HostId>,
    /// One reload at a time: an older reading must not come to rest over a newer one.
    pub(crate) reloading: Arc<Mutex<()>>,
}

impl AppState {
    /// Reads what the operator wants of a host, after somebody changed it.
    pub async fn reload(&self, host_id: HostId) -> Result<(), StoreError> {
        let _turn = self.reloading.lock().await;
        let host = self.store.read(move |sql| {
            let Some(wanted) = hosts::wanted(sql, host_id)? else { return Ok(None) };
            Ok(Some((host_id, intent(wanted, signed_ops::queued_count(sql, host_id)?))))
        });
        self.take_over(host.await?.into_iter().collect()).await
    }

    /// Reads what the operator wants of every host.
    pub async fn reload_all(&self) -> Result<(), StoreError> {
        let _turn = self.reloading.lock().await;
        let read = self.store.read(|sql| {
            let queued = signed_ops::queued_counts(sql)?;
            let count = |wanted: Wanted| {
                let queued = queued.get(&wanted.host_id).copied().unwrap_or(0);
                (wanted.host_id, intent(wanted, queued))
            };
            let hosts: Vec<_> = hosts::all_wanted(sql)?.into_iter().map(count).collect();
            Ok((hosts, keysets::newest(sql)?))
        });
        let (hosts, newest) = read.await?;
        self.take_over_keyset(newest);
        self.take_over(hosts).await
    }

    /// Reads which keyset is the newest, after somebody uploaded one.
    pub async fn reload_keysets(&self) -> Result<(), StoreError> {
        let _turn = self.reloading.lock().await;
        let newest = self.store.read(keysets::newest).await?;
        self.take_over_keyset(newest);
        Ok(())
    }

    fn take_over_keyset(&self, newest: u64) {
        self.live.set_newest_keyset(newest).into_iter().for_each(|host_id| self.changed(host_id));
    }

    /// Takes over what is new of these hosts and of their queues, with the answers for their parked polls. A piece at a
    /// time: the first boxes have their answer while the last are still read, and it takes no memory for all of them.
    async fn take_over(&self, hosts: Vec<(HostId, Intent)>) -> Result<(), StoreError> {
        let mut others = self.live.others_of(hosts).into_iter();
        loop {
            let piece: Vec<_> = others.by_ref().take(ANSWERS_AT_ONCE).collect();
            if piece.is_empty() {
                return Ok(());
            }
            self.tell(piece).await?;
        }
    }

    /// Where operations are queued the poll makes its own answer.
    async fn tell(&self, news: Vec<OtherIntent>) -> Result<(), StoreError> {
        let frame = |news: &OtherIntent| {
            (news.other_document && news.parked && news.intent.queued == 0)
                .then(|| poll::Frame::of(self, news.host_id, news.intent.paused))
        };
        let news: Vec<_> = news.into_iter().map(|news| (frame(&news), news)).collect();
        let keys = self.keys.clone();
        let answers = self.store.read(move |sql| {
            // One transaction for all of them: the locks of one for each cost as much as the reading.
            let snapshot = sql.unchecked_transaction()?;
            let answer = |(frame, news): (Option<poll::Frame>, OtherIntent)| -> Result<_, StoreError> {
                let Some(frame) = frame else { return Ok((news, None)) };
                let Some(document) = desired_history::current_document(&snapshot, news.host_id)? else {
                    return Ok((news, None));
                };
                let answer = frame.around(&News::of(&snapshot, &keys, news.host_id, document)?);
                Ok((news, Some(answer)))
            };
            news.into_iter().map(answer).collect::<Result<Vec<_>, _>>()
        });
        for (news, body) in answers.await? {
            if self.live.set_intent(news.host_id, news.intent, body) {
                self.changed(news.host_id);
            }
        }
        Ok(())
    }

    /// All hosts by name, with what is only in memory put in: for the pages.
    pub async fn overview(&self) -> Result<Vec<(Overview, Liveness)>, StoreError> {
        let mut rows = Vec::new();
        for mut row in self.store.read(hosts::overview).await? {
            row.host.last_seen_ms = self.live.last_seen_ms(row.host.host_id);
            let liveness = self.liveness(row.host.host_id);
            rows.push((row, liveness));
        }
        Ok(rows)
    }

    /// Whether a host is heard, as this process knows it.
    #[must_use]
    pub fn liveness(&self, host_id: HostId) -> Liveness {
        let silence = self.live.silence(host_id, Instant::now(), now_ms());
        staleness::liveness(silence.map(|silence| silence.lasts), &self.config)
    }

    /// Rings the bell of the pages. Nobody listening is no failure.
    pub fn changed(&self, host_id: HostId) {
        let _ = self.changes.send(host_id);
    }
}

fn intent(wanted: Wanted, queued: u32) -> Intent {
    Intent { generation: wanted.generation, digest: wanted.digest, paused: wanted.paused, queued }
}
