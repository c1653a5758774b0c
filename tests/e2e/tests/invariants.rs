//! The named invariants that no single module can keep alone.

use std::cell::RefCell;
use std::rc::Rc;

use fake_pve::{Fault, Options, Token};
use felhom_agent::state::{Boundary, State};
use felhom_shared::report::{Observed, Outcome};
use felhom_tests::{House, Told, document, lxc};

#[test]
fn intent_before_effect() {
    let house = House::new();
    let (control, folder) = (house.control(), house.state_dir());
    let seen: Rc<RefCell<Vec<(Boundary, usize, u64)>>> = Rc::default();
    let probe = {
        let seen = Rc::clone(&seen);
        move |boundary| {
            let changes = control.requests().iter().filter(|request| request.method != "GET").count();
            // Through a connection of its own: what it sees is what a crash would leave.
            let open = State::open_read_only(&folder).unwrap().open_count().unwrap();
            seen.borrow_mut().push((boundary, changes, open));
        }
    };
    let mut agent = house.agent_with_probe(Rc::new(probe));
    agent.desire(&document([lxc(101, "web")]));
    agent.settle();
    let seen = seen.borrow();
    assert!(seen.iter().any(|(boundary, ..)| *boundary == Boundary::AfterBegin));
    let mut begun = 0;
    for (boundary, changes, open) in seen.iter() {
        match boundary {
            Boundary::AfterBegin => {
                assert_eq!((*changes, *open), (begun, 1), "on disk before PVE hears of it: {seen:?}");
                begun += 1;
            }
            Boundary::AfterCall | Boundary::AfterTask | Boundary::BeforeEnd => {
                assert_eq!((*changes, *open), (begun, 1));
            }
            Boundary::BeforeBegin | Boundary::AfterEnd => assert_eq!(*open, 0, "{boundary:?}"),
            Boundary::BeforeReserve | Boundary::AfterReserve | Boundary::BeforeTold | Boundary::AfterTold => {
                panic!("no operation was signed: {boundary:?}");
            }
        }
    }
}

#[test]
fn reached_is_not_received() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web"), lxc(102, "files")]));
    house
        .control()
        .add_fault(Fault::on("POST", "/nodes/*/lxc/102/status/start").always().task_fails("no such bridge"));
    let end = agent.cycle();
    assert_eq!((end.outcome(101), end.outcome(102)), (Outcome::Converged, Outcome::Failed));
    assert!(end.state.generation.received.is_some());
    assert_eq!(end.state.generation.reached, None, "one item is missing");
    house.control().clear_faults();
    let end = agent.settle();
    assert_eq!(end.state.generation.reached, end.state.generation.received);
}

#[test]
fn unreadable_is_not_absent() {
    // A token without rights is answered 200 and an empty list; the guest is there all the same.
    let poor =
        Token::poor("low@pve!agent", "9c4c0d3e-0000-4000-8000-00000000beef").grant("/nodes", &["Sys.Audit"]);
    let text = format!("{}={}", poor.id, poor.secret);
    let house = House::with(Options { tokens: vec![poor], ..Options::default() }).with_token(&text);
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    let end = agent.cycle();
    assert_eq!(end.guest(101).observed, Observed::Unreadable);
    assert_eq!(end.outcome(101), Outcome::Unreadable);
    assert_eq!(end.state.generation.reached, None);
    assert!(house.changes().is_empty());
}

#[test]
fn secrets_are_types() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    house.control().add_fault(Fault::on("PUT", "*").always().refuse(500, "no"));
    let end = agent.settle();
    let secret = house.node().token().split('=').nth(1).unwrap().to_owned();
    let pve = house.pve();
    let told = [format!("{pve:?}"), serde_json::to_string(&end.state).unwrap()];
    assert!(told.iter().all(|text| !text.contains(&secret)));
    drop(agent);
    for file in std::fs::read_dir(house.state_dir()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the token stands in the agent's state");
    }
}
