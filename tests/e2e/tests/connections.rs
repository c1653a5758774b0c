//! pveproxy's connections come and go; the agent does not mind.

use std::time::Duration;

use fake_pve::Options;
use felhom_shared::report::NodeState;
use felhom_tests::{Answer, HostileHub, House, document, lxc, qemu, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn connections_closed_while_idle_cost_nothing() {
    let house = House::with(Options { keep_alive: Duration::from_millis(150), ..Options::default() });
    let desired = document([lxc(101, "web"), qemu(110, "mail")]);
    let mut agent = house.agent();
    agent.desire(&desired);
    for _ in 0..5 {
        let end = agent.cycle();
        assert!(matches!(end.state.node, NodeState::Present { .. }), "{:?}", end.state.node);
        std::thread::sleep(Duration::from_millis(250));
    }
    house.obeys(&desired);
}

#[test]
fn a_certificate_renewed_while_running_is_read_again() {
    let house = House::new();
    let desired = document([lxc(101, "web")]);
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    for memory in ["64", "128"] {
        house.control().renew_certificate().unwrap();
        house.control().edit_config(101, "memory", Some(memory)).unwrap();
        agent.cycle();
        house.obeys(&desired);
    }
}

#[test]
fn a_proxy_that_restarts_in_the_middle_of_the_work_is_survived() {
    let house = House::new();
    house.control().set_task_time(Duration::from_millis(80));
    let desired = document([lxc(101, "web"), lxc(102, "files"), qemu(110, "mail")]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut agent = house.agent();
            agent.desire(&desired);
            agent.settle();
        });
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(50));
            house.control().restart();
        }
    });
    house.obeys(&desired);
}

#[test]
fn a_box_without_its_hub_goes_on_keeping_its_document() {
    let (house, hub) = (House::new(), HostileHub::start());
    let desired = document([lxc(101, "web")]);
    let agent = house.run(&hub.at());
    hub.say(Answer::document(1, &serde_json::to_string(&desired).unwrap()));
    wait_until("the guest runs", PATIENCE, || house.runs(101));
    drop(hub);
    house.control().set_running(101, false).unwrap();
    wait_until("the guest runs again", PATIENCE, || house.runs(101));
    agent.stop();
}
