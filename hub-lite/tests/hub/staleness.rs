//! Silence is told when it begins to matter, when it gets worse and when it ends; never twice.

use std::time::Duration;

use felhom_hub::checks::staleness::{Liveness, check};
use felhom_hub::store::hosts;

use crate::house::{House, house_with, nothing_received, open, report};

/// Thresholds of one and two seconds of the test's own clock.
fn quick(config: &mut felhom_hub::config::Config) {
    (config.stale_after_s, config.down_after_s) = (1, 2);
}

async fn pass(seconds: f64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs_f64(seconds)).await;
    tokio::time::resume();
}

async fn look(house: &House) {
    check(&house.state).await.unwrap();
    check(&house.state).await.unwrap();
}

#[tokio::test]
async fn a_host_goes_stale_then_down_then_recovers_each_told_once() {
    let house = house_with(quick).await;
    let here = house.add("here").await;
    house.state.reload(here.host_id).await.unwrap();
    let text = report(here.host_id, 0.5, &nothing_received());
    here.report(&text).await;
    look(&house).await;
    assert_eq!(house.told(here.host_id).await, [""; 0]);
    pass(1.1).await;
    look(&house).await;
    assert_eq!(house.told(here.host_id).await, ["node_stale"]);
    assert_eq!(house.state.liveness(here.host_id), Liveness::Stale);
    pass(1.0).await;
    look(&house).await;
    assert_eq!(house.told(here.host_id).await, ["node_stale", "node_down"]);
    pass(1000.0).await;
    look(&house).await;
    here.report(&text).await;
    look(&house).await;
    assert_eq!(house.told(here.host_id).await, ["node_stale", "node_down", "node_recovered"]);
    assert_eq!(house.state.liveness(here.host_id), Liveness::Ok);
}

#[tokio::test]
async fn a_host_that_was_never_heard_is_no_outage() {
    let house = house_with(quick).await;
    let here = house.add("here").await;
    pass(1000.0).await;
    look(&house).await;
    assert_eq!(house.told(here.host_id).await, [""; 0]);
    assert_eq!(house.state.liveness(here.host_id), Liveness::Never);
}

#[tokio::test]
async fn a_restarted_hub_listens_first_and_tells_nothing_twice() {
    let first = house_with(quick).await;
    let (down, lost) = (first.add("down").await, first.add("lost").await);
    for here in [&down, &lost] {
        here.report(&report(here.host_id, 0.5, &nothing_received())).await;
    }
    pass(3.0).await;
    lost.report(&report(lost.host_id, 1.5, &nothing_received())).await;
    look(&first).await;
    assert_eq!(first.told(down.host_id).await, ["node_down"]);
    // The hub is away for an hour by everybody's clock.
    let hour_ago_ms = felhom_hub::clock::now_ms() - 3_600_000;
    let all = [down.host_id, lost.host_id];
    let write = first.state.store.write(move |sql| {
        all.iter().try_for_each(|host_id| {
            sql.execute(
                "UPDATE hosts SET last_seen_ms = $1 WHERE host_id = $2",
                rusqlite::params![hour_ago_ms, host_id.to_string()],
            )?;
            Ok(())
        })
    });
    write.await.unwrap();
    let House { state, router, folder } = first;
    drop((state, router));

    let second = open(folder, quick).await;
    look(&second).await;
    assert_eq!(second.told(lost.host_id).await, [""; 0], "it was the hub that was away");
    pass(1.1).await;
    look(&second).await;
    assert_eq!(second.told(lost.host_id).await, ["node_down"]);
    assert_eq!(second.told(down.host_id).await, ["node_down"], "told before the restart");
}

#[tokio::test]
async fn a_clock_that_was_set_makes_no_outage_and_hides_none() {
    let house = house_with(quick).await;
    let here = house.add("here").await;
    here.report(&report(here.host_id, 0.5, &nothing_received())).await;
    let now = tokio::time::Instant::now();
    let day_ms = 24 * 3_600_000;
    for wall_ms in [felhom_hub::clock::now_ms() + day_ms, felhom_hub::clock::now_ms() - day_ms] {
        let soon = house.state.live.silence(here.host_id, now, wall_ms).unwrap();
        assert!(soon.lasts < Duration::from_secs(1));
        let late = house.state.live.silence(here.host_id, now + Duration::from_secs(60), wall_ms).unwrap();
        assert!(late.lasts >= Duration::from_secs(59));
    }
    let host_id = here.host_id;
    assert_eq!(house.read(move |sql| hosts::get(sql, host_id)).await.unwrap().told_liveness, None);
}
