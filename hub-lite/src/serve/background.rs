//! What the hub does by the clock: looks again at what it may have missed, and writes down and forgets what is due.

use std::future::Future;
use std::time::Duration;

use felhom_shared::id::HostId;
use felhom_shared::text::chain;
use tokio::sync::watch;

use crate::checks::{staleness, undelivered};
use crate::clock::now_ms;
use crate::state::AppState;
use crate::store::{StoreError, host_metrics, host_reports, hosts, sessions, signed_ops};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long a forgotten session lies in the table.
const SESSION_KEPT_DAYS: i64 = 7;
/// How long it can be looked up what became of a signed operation.
const SIGNED_OPS_KEPT_DAYS: i64 = 400;

/// Runs a piece of work again and again until the hub stops. A failure is logged and tried again.
pub(super) async fn every<F, W>(seconds: u64, mut stopped: watch::Receiver<bool>, state: AppState, work: W)
where
    F: Future<Output = Result<(), StoreError>> + Send,
    W: Fn(AppState) -> F + Send,
{
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = work(state.clone()).await {
            tracing::error!("background work failed, it is tried again: {}", chain(&error));
        }
    }
}

pub(super) async fn check(state: AppState) -> Result<(), StoreError> {
    // The poke of a command line may have got lost; a key that was taken away must not outlive this.
    state.keys.forget();
    state.reload_all().await?;
    undelivered::check(&state).await?;
    staleness::check(&state).await
}

pub(super) async fn tidy(state: AppState) -> Result<(), StoreError> {
    flush(&state).await?;
    let before_ms = now_ms() - i64::from(state.config.keep_reports_days) * DAY_MS;
    // Whether a session still counts is the pages' decision; one this old counts for nobody.
    let session_before_ms = now_ms() - SESSION_KEPT_DAYS * DAY_MS;
    let ops_before_ms = now_ms() - SIGNED_OPS_KEPT_DAYS * DAY_MS;
    let pruned = state.store.write(move |sql| {
        host_reports::prune(sql, before_ms)?;
        signed_ops::prune(sql, ops_before_ms)?;
        sessions::prune(sql, session_before_ms, session_before_ms)
    });
    pruned.await.map(drop)
}

/// Writes down what is only in memory. An idle hub writes nothing.
pub(super) async fn flush(state: &AppState) -> Result<(), StoreError> {
    let unwritten = state.live.take_unwritten();
    if unwritten.is_empty() {
        return Ok(());
    }
    let host_ids: Vec<HostId> = unwritten.iter().map(|host| host.host_id).collect();
    let written = state.store.write(move |sql| {
        for host in &unwritten {
            hosts::set_last_seen(sql, host.host_id, host.last_seen_ms)?;
            if let Some(sample) = &host.sample {
                host_metrics::put(sql, host.host_id, sample)?;
            }
        }
        Ok(())
    });
    written.await.inspect_err(|_| state.live.not_written(&host_ids))
}
