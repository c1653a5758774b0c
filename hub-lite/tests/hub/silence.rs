//! Silence is told once, and its end.

use felhom_hub::store::hosts;
use rusqlite::Connection;

use crate::world::{Hub, eventually, report};

fn quick(config: &mut felhom_hub::config::Config) {
    (config.stale_after_s, config.down_after_s, config.check_every_s) = (2, 4, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_down_recovered_each_told_once() {
    let hub = Hub::start_with(quick).await;
    let (known, never) = (hub.add("box").await, hub.add("never-seen").await);
    hub.report(&known, &report(known.host_id, 1)).await;
    eventually("node_down", || hub.told(known.host_id).len() == 2).await;
    assert_eq!(hub.told(known.host_id), ["node_stale", "node_down"]);
    let hub = hub.restart().await;
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    assert_eq!(hub.told(known.host_id), ["node_stale", "node_down"], "a restart tells nothing twice");
    hub.report(&known, &report(known.host_id, 1)).await;
    eventually("node_recovered", || hub.told(known.host_id).len() == 3).await;
    assert_eq!(hub.told(known.host_id)[2], "node_recovered");
    assert!(hub.told(never.host_id).is_empty(), "a host that was never heard is no outage");
}

/// The hub was the silent one: a box that reports within the listening time was never out.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_was_away_listens_before_it_accuses() {
    let hub = Hub::start_with(|config| config.check_every_s = 1).await;
    let known = hub.add("box").await;
    let host_id = known.host_id;
    let long_ago = move |sql: &Connection| hosts::set_last_seen(sql, host_id, 1_000);
    hub.running.state.store.write(long_ago).await.unwrap();
    let hub = hub.restart().await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(hub.told(host_id).is_empty());
    hub.report(&known, &report(host_id, 1)).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(hub.told(host_id).is_empty(), "and there is nothing to recover from");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_host_was_last_heard_survives_an_orderly_stop() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.report(&known, &report(known.host_id, 1)).await;
    let first = hub.host(known.host_id).await.last_seen_ms.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    hub.report(&known, &report(known.host_id, 1)).await;
    assert_eq!(hub.host(known.host_id).await.last_seen_ms, Some(first), "known in memory only");
    let hub = hub.restart().await;
    assert!(hub.host(known.host_id).await.last_seen_ms.unwrap() > first);
}
