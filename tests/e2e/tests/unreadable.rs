//! `unreadable_is_not_absent`: what could not be read leads to no step, and is never shown green.

use fake_pve::{Fault, Kind, Options, Token};
use felhom_shared::report::{NodeState, Observed, Outcome};
use felhom_tests::{House, Told, document, lxc, qemu};

#[test]
fn a_node_that_does_not_answer_is_unreadable_and_nothing_is_done() {
    let desired = document([lxc(101, "web"), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    let converged = agent.settle();
    house.control().reset_requests();
    house.control().set_daemon(false);
    let down = Fault::on("*", "/nodes/*").always().refuse(595, "Connection refused");
    let fault = house.control().add_fault(down);

    let end = agent.cycle();

    assert!(matches!(&end.state.node, NodeState::Unreadable { code, .. } if code == "pve_unreachable"));
    for vmid in [101, 110] {
        assert_eq!(end.guest(vmid).outcome, Outcome::Unreadable);
        assert_eq!(end.guest(vmid).observed, Observed::Unreadable);
    }
    assert!(house.changes().is_empty(), "{:?}", house.changes());
    assert_eq!(
        end.state.generation.reached, converged.state.generation.reached,
        "what was reached stays told"
    );

    house.control().remove_fault(fault);
    house.control().set_daemon(true);
    agent.settle();
    assert!(house.changes().is_empty(), "nothing had to be repaired");
}

#[test]
fn a_generation_is_not_reached_while_the_node_cannot_be_read() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&document([]));
    house.control().add_fault(Fault::on("GET", "/nodes/*/lxc").always().refuse(500, "no"));
    let end = agent.cycle();
    assert_eq!((end.state.generation.reached, end.state.generation.received.is_some()), (None, true));
}

#[test]
fn an_empty_list_shown_to_a_poor_token_is_not_absence() {
    let poor = Token::poor("low@pve!agent", "9c4c0d3e-0000-4000-8000-00000000beef")
        .grant("/nodes", &["Sys.Audit"])
        .grant("/vms/102", &["VM.Audit", "VM.Allocate"]);
    let text = format!("{}={}", poor.id, poor.secret);
    let house = House::with(Options { tokens: vec![poor], ..Options::default() });
    house.control().create_guest(101, Kind::Lxc, "there-but-hidden").unwrap();
    let house = house.with_token(&text);
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    for _ in 0..3 {
        let end = agent.cycle();
        assert_eq!(end.outcome(101), Outcome::Unreadable);
        assert_eq!(end.guest(101).observed, Observed::Unreadable);
        assert!(end.tells(101, "no_right_to_see"), "{:?}", end.guest(101));
        agent.time_passes();
    }
    assert!(house.changes().is_empty(), "{:?}", house.changes());
}

#[test]
fn a_token_that_is_not_accepted_is_told_with_pves_reason() {
    let house = House::new().with_token("felhom@pve!agent=00000000-0000-4000-8000-000000000000");
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    let end = agent.cycle();
    let NodeState::Unreadable { code, text } = &end.state.node else { panic!("it was read") };
    assert_eq!(code, "pve_unauthorized");
    assert!(text.contains("token"), "{text}");
    assert_eq!(end.outcome(101), Outcome::Unreadable);
}

#[test]
fn one_guest_whose_configuration_cannot_be_read_is_left_alone_and_no_other() {
    let desired = document([lxc(101, "web"), lxc(102, "files")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    let control = house.control();
    control.set_running(101, false).unwrap();
    control.set_running(102, false).unwrap();
    control.add_fault(Fault::on("GET", "*/101/pending").always().refuse(500, "unable to parse"));
    let end = agent.cycle();
    assert_eq!((end.outcome(101), end.outcome(102)), (Outcome::Unreadable, Outcome::Converged));
    assert!(!house.runs(101) && house.runs(102));
    control.clear_faults();
    agent.settle();
    house.obeys(&desired);
}
