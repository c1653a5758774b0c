//! `hub_kill_9_loses_nothing_acknowledged`: two hundred boxes talk, the hub is killed in the middle and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use felhom_tests::{Acknowledged, HubProgram, talk};

const BOXES: u128 = 200;
const TALKING: Duration = Duration::from_secs(5);
const UNTIL_KILLED: Duration = Duration::from_secs(2);

#[test]
fn hub_kill_9_loses_nothing_acknowledged() {
    let mut hub = HubProgram::start(BOXES);
    let runtime =
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    let begun = Instant::now();
    let talks: Vec<_> = hub
        .enrolled
        .iter()
        .map(|known| runtime.spawn(talk(known.clone(), hub.at(), move || begun.elapsed() < TALKING)))
        .collect();
    std::thread::sleep(UNTIL_KILLED);
    hub.kill();
    hub.restart();
    let heard: Vec<Acknowledged> = runtime
        .block_on(async { futures_util::future::join_all(talks).await })
        .into_iter()
        .map(Result::unwrap)
        .collect();

    let sql = hub.stop_and_look();
    heard.iter().for_each(|heard| heard.is_all_in(&sql));
    let reports: usize = heard.iter().map(|heard| heard.reports.len()).sum();
    let events: u64 = heard.iter().map(|heard| heard.events).sum();
    let failures: u32 = heard.iter().map(|heard| heard.failures).sum();
    println!("{reports} reports and {events} events acknowledged, {failures} calls failed around the kill");
    assert!(failures > 0, "the kill hit nobody, so nothing was tested");
    assert!(
        heard.iter().all(|heard| heard.reports.len() >= 3 && heard.events > 0),
        "somebody was never heard"
    );
}
