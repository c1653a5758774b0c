//! A guest through which the box reaches its hub: a change of it after which the hub is silent is taken back, whatever it
//! was, and whenever the agent dies.

use std::time::Duration;

use felhom_agent::cycle::CycleEnd;
use felhom_shared::desired::{DesiredState, GuestSpec, Power, Uplink};
use felhom_shared::report::Outcome;
use felhom_tests::{Agent, House, Told, document, lxc};

const WINDOW: Duration = Duration::from_secs(70);
const SETTLES: Duration = Duration::from_secs(25);

fn router(memory_mib: u32) -> GuestSpec {
    GuestSpec { memory_mib, uplink: Some(Uplink { revert_after_s: 60 }), ..lxc(101, "router") }
}

fn desired(router: GuestSpec) -> DesiredState {
    document([router, lxc(102, "dns")])
}

/// The hub is heard some time after the last step.
fn heard(agent: &mut Agent) -> CycleEnd {
    agent.clock_runs(SETTLES);
    agent.hear_hub();
    agent.settle()
}

/// The hub was heard with a router of 512 MiB.
fn proven(house: &House) -> Agent {
    let mut agent = house.agent();
    agent.desire(&desired(router(512)));
    agent.settle_to(|end| end.outcome(101) == Outcome::Converging && end.tells(101, "uplink_on_trial"));
    heard(&mut agent);
    agent
}

fn memory(house: &House) -> Option<String> {
    house.value(101, "memory")
}

#[test]
fn a_change_after_which_the_hub_is_silent_is_taken_back_and_tried_again_later() {
    let house = House::new();
    let mut agent = proven(&house);
    agent.desire(&desired(router(1024)));
    let end = agent.settle_to(|end| end.tells(101, "uplink_on_trial"));
    assert_eq!((memory(&house).as_deref(), end.outcome(101)), (Some("1024"), Outcome::Converging));
    agent.clock_runs(WINDOW);
    let end = agent.settle_to(|end| end.tells(101, "uplink_reverted"));
    assert_eq!((memory(&house).as_deref(), end.outcome(101)), (Some("512"), Outcome::Refused));
    assert_eq!(end.outcome(102), Outcome::Converged);
    assert_ne!(end.state.generation.reached, end.state.generation.received, "it is not what was asked for");

    // The hub is back, through the guest as it was. The same is not tried again at once, by nobody's document.
    agent.hear_hub();
    agent.desire(&desired(router(1024)));
    let end = agent.cycle();
    assert!(end.tells(101, "uplink_reverted") && end.cost.changing_requests == 0);

    // Something else is, and is kept when the hub is heard with it.
    agent.desire(&desired(router(768)));
    agent.settle_to(|end| end.tells(101, "uplink_on_trial"));
    let end = heard(&mut agent);
    assert_eq!((memory(&house).as_deref(), end.outcome(101)), (Some("768"), Outcome::Converged));
    agent.clock_runs(WINDOW);
    agent.cycle();
    assert_eq!(memory(&house).as_deref(), Some("768"), "what has proven itself is not judged again");
}

#[test]
fn a_connection_that_outlives_the_change_by_a_moment_proves_nothing() {
    let house = House::new();
    let mut agent = proven(&house);
    agent.desire(&desired(router(1024)));
    agent.settle_to(|end| end.tells(101, "uplink_on_trial"));
    agent.hear_hub();
    assert!(agent.cycle().tells(101, "uplink_on_trial"));
    agent.clock_runs(WINDOW);
    agent.settle_to(|end| end.tells(101, "uplink_reverted"));
}

/// Neither a pause of the operator's, which he could not lift any more, nor an hour of the night is waited for.
#[test]
fn a_router_that_was_stopped_is_started_again_also_while_the_host_is_paused() {
    let house = House::new();
    let mut agent = proven(&house);
    agent.desire(&desired(GuestSpec { power: Power::Stopped, ..router(512) }));
    agent.settle_to(|end| end.tells(101, "uplink_on_trial"));
    assert!(!house.runs(101) && house.runs(102));
    agent.clock_runs(WINDOW);
    for _ in 0..3 {
        agent.paused_cycle();
    }
    assert!(house.runs(101));
}

/// What was never heard through is not gone back to: there is nothing that is known to work.
#[test]
fn a_new_router_has_nothing_to_go_back_to() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired(router(512)));
    agent.settle_to(|end| end.tells(101, "uplink_on_trial"));
    agent.clock_runs(WINDOW);
    let end = agent.cycle();
    assert!(end.tells(101, "uplink_on_trial") && house.runs(101));
    assert_eq!(heard(&mut agent).outcome(101), Outcome::Converged);
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_there_and_back() {
    for deadly in 1..=12 {
        let house = House::new();
        drop(proven(&house));
        let mut agent = house.agent_killed_at(deadly);
        agent.desire(&desired(GuestSpec { power: Power::Stopped, ..router(1024) }));
        let mut died = false;
        for _ in 0..4 {
            died |= agent.cycle_or_death().is_none();
            if died {
                break;
            }
            agent.clock_runs(WINDOW);
        }
        drop(agent);
        let mut agent = house.agent();
        agent.cycle();
        agent.clock_runs(WINDOW);
        let end = agent.settle_to(|end| end.tells(101, "uplink_reverted") && end.state.journal_open == 0);
        assert_eq!((memory(&house).as_deref(), house.runs(101)), (Some("512"), true), "killed at {deadly}");
        assert!(end.guest(101).steps.iter().all(|step| step.error.is_none()));
        if !died {
            assert!(deadly > 4, "there and back has some boundaries");
            return;
        }
    }
}
