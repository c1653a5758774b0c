//! What every handler reads: store, configuration, what is live, and the bell for pages.

use std::sync::Arc;

use felhom_shared::id::HostId;
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;

use crate::api::host::poll;
use crate::auth::Keys;
use crate::checks::staleness::{self, Liveness};
use crate::clock::now_ms;
use crate::config::Config;
use crate::live::{Intent, Live};
use crate::store::hosts::{self, Host, Overview};
use crate::store::{Store, StoreError, desired_history};

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
    /// Rings when something about a host has changed, for the pages.
    pub changes: broadcast::Sender<HostId>,
    /// One reload at a time: an older reading must not come to rest over a newer one.
    pub(crate) reloading: Arc<Mutex<()>>,
}

impl AppState {
    /// Reads what the operator wants of a host, after somebody changed it.
    pub async fn reload(&self, host_id: HostId) -> Result<(), StoreError> {
        let _turn = self.reloading.lock().await;
        let host = self.store.read(move |sql| hosts::get(sql, host_id)).await?;
        self.take_over(host.into_iter().collect()).await
    }

    /// Reads what the operator wants of every host.
    pub async fn reload_all(&self) -> Result<(), StoreError> {
        let _turn = self.reloading.lock().await;
        let hosts = self.store.read(hosts::list).await?;
        self.take_over(hosts).await
    }

    /// Takes over what is new of these hosts, with the answers for their parked polls read in one go.
    async fn take_over(&self, mut hosts: Vec<Host>) -> Result<(), StoreError> {
        hosts.retain(|host| self.live.intent(host.host_id) != intent(host));
        if hosts.is_empty() {
            return Ok(());
        }
        let parked = hosts.iter().map(|host| self.live.is_parked(host.host_id)).collect::<Vec<_>>();
        let poll_interval_s = self.config.poll_interval_s;
        let answers = self.store.read(move |sql| {
            let answer = |(host, parked): (Host, bool)| -> Result<_, StoreError> {
                let document = if parked { desired_history::current(sql, host.host_id)? } else { None };
                let body = document
                    .map(|document| poll::body(host.host_id, &document, poll_interval_s, host.paused));
                Ok((host, body))
            };
            hosts.into_iter().zip(parked).map(answer).collect::<Result<Vec<_>, _>>()
        });
        for (host, body) in answers.await? {
            if self.live.set_intent(host.host_id, intent(&host), body) {
                self.changed(host.host_id);
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

fn intent(host: &Host) -> Intent {
    Intent { generation: host.desired, digest: host.desired_digest.clone(), paused: host.paused }
}
