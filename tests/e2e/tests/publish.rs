//! From the operator's publish to the box and back, over the real hub's HTTPS long poll.

use std::time::{Duration, Instant};

use felhom_shared::id::Generation;
use felhom_tests::{House, LocalHub, document, eventually, lxc, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn publish_to_step_started_is_under_a_second() {
    let (house, hub) = (House::new(), LocalHub::start());
    let this = hub.enrol(1).remove(0);
    let (url, pin) = hub.at();
    let _agent = house.run_as(this.host_id, &this.key, (&url, &pin));
    wait_until("the first report", PATIENCE, || hub.host(this.host_id).last_seen_ms.is_some());

    for vmid in [101, 102, 103] {
        let guests = (101..=vmid).map(|vmid| lxc(vmid, &format!("g{vmid}")));
        let published = Instant::now();
        let generation = hub.publish(this.host_id, &document(guests));
        eventually("the step begins", PATIENCE, || house.control().snapshot().guests.get(&vmid).map(|_| ()));
        let took = published.elapsed();
        println!("published → step started: {took:?}");
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        wait_until("the generation is told as reached", PATIENCE, || {
            hub.host(this.host_id).reached == Some(generation)
        });
        assert!(house.runs(vmid));
    }
    assert_eq!(hub.host(this.host_id).received, Some(Generation(3)));
}

#[test]
fn a_report_under_another_hosts_key_is_not_heard() {
    let (house, hub) = (House::new(), LocalHub::start());
    let boxes = hub.enrol(2);
    let (url, pin) = hub.at();
    hub.publish(boxes[0].host_id, &document([lxc(101, "web")]));
    // The box believes it is the first and holds the second's key: the key decides, so nothing fits.
    let agent = house.run_as(boxes[0].host_id, &boxes[1].key, (&url, &pin));
    std::thread::sleep(Duration::from_secs(1));
    agent.stop();
    assert!(boxes.iter().all(|known| hub.host(known.host_id).received.is_none()));
    assert!(house.changes().is_empty(), "it took another box's document");
}
