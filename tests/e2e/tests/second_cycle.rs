//! A converged box is left alone and asked little.

use felhom_tests::{House, document, lxc, qemu, with_mount};

#[test]
fn second_cycle_on_converged_state_changes_nothing() {
    let desired = document([lxc(101, "web"), with_mount(lxc(102, "files"), 2), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    let first = agent.settle();
    house.obeys(&desired);
    house.control().reset_requests();

    let second = agent.cycle();

    assert_eq!(second.state.guests.iter().map(|guest| guest.steps.len()).sum::<usize>(), 0);
    assert_eq!((second.cost.changing_requests, house.changes().len()), (0, 0));
    let asked: Vec<String> = house.control().requests().into_iter().map(|request| request.path).collect();
    assert!(asked.len() <= 2, "two lists are enough: {asked:?}");
    assert_eq!(second.state.generation.reached, first.state.generation.received);
}

#[test]
fn only_the_guest_whose_row_has_changed_is_read_again() {
    let desired = document([lxc(101, "web"), lxc(102, "files"), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    house.control().edit_config(102, "memory", Some("256")).unwrap();
    house.control().reset_requests();

    agent.cycle();

    let reads: Vec<String> = house
        .control()
        .requests()
        .into_iter()
        .filter(|request| request.method == "GET" && request.path.ends_with("/pending"))
        .map(|request| request.path)
        .collect();
    assert!(reads.iter().all(|path| path.contains("/102/")), "{reads:?}");
    house.obeys(&desired);
}

#[test]
fn an_agent_started_anew_on_a_converged_box_changes_nothing() {
    let desired = document([with_mount(lxc(101, "web"), 2), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    drop(agent);
    house.control().reset_requests();
    house.agent().cycle();
    assert_eq!(house.changes().len(), 0, "{:?}", house.changes());
}
