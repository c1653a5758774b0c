//! An error answer says little: PVE may have done the thing, be doing it, or have done a part. The agent looks
//! again before it does anything else.

use std::rc::Rc;
use std::time::Duration;

use fake_pve::{Fault, Options};
use felhom_agent::state::Boundary;
use felhom_shared::desired::{DesiredState, Network, Power};
use felhom_shared::report::{Outcome, StepOutcome};
use felhom_tests::{House, Told, document, lxc, qemu};

const SAID: &str = "unable to write to the log\n";

/// A house in which `before` is so already, and an agent that is to make `desired` of it.
fn changing(before: &DesiredState, desired: &DesiredState, fault: Fault) -> (House, felhom_tests::Agent) {
    let house = House::with(Options { proxy_timeout: Duration::from_millis(150), ..Options::default() });
    let mut agent = house.agent();
    agent.desire(before);
    if !before.guests.is_empty() {
        agent.settle();
    }
    house.control().reset_requests();
    house.control().add_fault(fault);
    agent.desire(desired);
    (house, agent)
}

fn with_memory(memory_mib: u32) -> DesiredState {
    let mut spec = lxc(101, "web");
    spec.memory_mib = memory_mib;
    document([spec])
}

#[test]
fn a_change_answered_500_but_applied_is_read_again() {
    let fault = Fault::on("PUT", "*/101/config").apply_then(500, SAID);
    let (house, mut agent) = changing(&with_memory(512), &with_memory(1024), fault);
    let end = agent.cycle();
    assert_eq!(end.outcome(101), Outcome::Converged);
    assert_eq!(end.guest(101).steps[0].outcome, StepOutcome::AlreadyTrue);
    assert_eq!(house.changes_to("PUT", "/101/config"), 1, "it was sent again");
}

#[test]
fn a_change_refused_in_part_is_planned_again_from_what_is_there() {
    let mut desired = with_memory(1024);
    let renamed = Network { name: Some("lan0".to_owned()), ..desired.guests[0].networks["net0"].clone() };
    desired.guests[0].networks.insert("net0".to_owned(), renamed);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&with_memory(512));
    agent.settle();
    let control = house.control();
    control.reset_requests();
    control.add_fault(Fault::on("PUT", "*/101/config").refuse(500, "hotplug of net0 failed"));

    // PVE has set the memory before the card failed.
    let half = house.control();
    let mut agent = house.agent_with_probe(Rc::new(move |here| {
        if here == Boundary::AfterCall {
            half.edit_config(101, "memory", Some("1024")).expect("the guest is there");
        }
    }));
    agent.desire(&desired);
    let refused = agent.cycle();
    assert_eq!(refused.outcome(101), Outcome::Failed, "half a change is no change");

    agent.settle();
    house.obeys(&desired);
    let sent: Vec<_> = house.changes().into_iter().map(|request| request.params).collect();
    assert!(sent[0].contains_key("memory") && sent[0].contains_key("net0"), "{sent:?}");
    assert!(!sent[1].contains_key("memory") && sent[1].contains_key("net0"), "{sent:?}");
}

#[test]
fn a_change_that_pve_wrote_down_before_it_refused_counts_as_made() {
    let mut desired = with_memory(512);
    desired.guests[0].power = Power::Stopped;
    let mut moved = desired.clone();
    let card = Network { bridge: "vmbr9".to_owned(), ..desired.guests[0].networks["net0"].clone() };
    moved.guests[0].networks.insert("net0".to_owned(), card);
    let fault = Fault::on("GET", "/nothing").refuse(500, SAID);
    let (house, mut agent) = changing(&desired, &moved, fault);
    let end = agent.cycle();
    assert_eq!(house.changes()[0].status, 500, "a missing bridge is refused");
    assert_eq!(end.guest(101).steps[0].outcome, StepOutcome::AlreadyTrue);
    assert!(house.value(101, "net0").is_some_and(|net| net.contains("bridge=vmbr9")));
}

#[test]
fn a_creation_answered_500_is_not_repeated() {
    let fault = Fault::on("POST", "/nodes/pve1/lxc").apply_then(500, SAID);
    let (house, mut agent) = changing(&document([]), &with_memory(512), fault);
    agent.settle();
    assert_eq!(house.changes_to("POST", "/lxc"), 1, "it was sent again");
    house.obeys(&with_memory(512));
}

#[test]
fn a_start_answered_500_is_not_repeated() {
    let mut stopped = with_memory(512);
    stopped.guests[0].power = Power::Stopped;
    let fault = Fault::on("POST", "*/status/start").apply_then(500, SAID);
    let (house, mut agent) = changing(&stopped, &with_memory(512), fault);
    agent.settle();
    assert!(house.runs(101));
    house.obeys(&with_memory(512));
}

#[test]
fn a_creation_cut_off_with_596_is_adopted() {
    for vmid_is_taken_late in [false, true] {
        let on_create = Fault::on("POST", "/nodes/pve1/lxc");
        let fault = match vmid_is_taken_late {
            // The request outlives the proxy's patience: the answer comes before the guest.
            true => on_create.delay_ms(400),
            false => on_create.apply_then(596, "Connection timed out"),
        };
        let (house, mut agent) = changing(&document([]), &with_memory(512), fault);
        house.control().set_task_time(Duration::from_millis(100));
        agent.settle();
        assert_eq!(house.changes_to("POST", "/lxc"), 1, "a second creation");
        house.obeys(&with_memory(512));
    }
}

#[test]
fn a_connection_cut_after_the_change_is_as_good_as_an_answer() {
    let faults = [
        Fault::on("POST", "/nodes/pve1/lxc").close_after(),
        Fault::on("PUT", "*/101/config").close_after(),
        Fault::on("PUT", "*/101/resize").close_after(),
        Fault::on("POST", "*/101/status/start").close_after(),
    ];
    for fault in faults {
        let (method, path) = (fault.method.clone(), fault.path.clone());
        let mut desired = with_memory(1024);
        desired.guests[0].disks.values_mut().for_each(|disk| disk.size_gib = 6);
        let before =
            if path.ends_with("/lxc") || path.ends_with("start") { document([]) } else { with_memory(512) };
        let (house, mut agent) = changing(&before, &desired, fault);
        agent.settle();
        let ending = path.rsplit('*').next().unwrap_or(&path);
        assert_eq!(house.changes_to(&method, ending), 1, "{method} {path} was sent again");
        house.obeys(&desired);
    }
}

#[test]
fn a_clone_whose_answer_is_lost_is_adopted() {
    let desired = document([qemu(110, "mail")]);
    let fault = Fault::on("POST", "*/9000/clone").close_after();
    let (house, mut agent) = changing(&document([]), &desired, fault);
    house.control().set_task_time(Duration::from_millis(100));
    agent.settle();
    assert_eq!(house.changes_to("POST", "/9000/clone"), 1, "a second clone");
    house.obeys(&desired);
}

#[test]
fn a_request_that_never_arrived_is_sent_again_after_a_look() {
    let fault = Fault::on("POST", "/nodes/pve1/lxc").close_before();
    let (house, mut agent) = changing(&document([]), &with_memory(512), fault);
    agent.settle();
    assert_eq!(house.changes_to("POST", "/lxc"), 2);
    house.obeys(&with_memory(512));
}
