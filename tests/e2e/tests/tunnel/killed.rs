//! The agent dies at every boundary of its journal.

use std::fs;
use std::time::Duration;

use felhom_agent::cycle::CycleEnd;
use felhom_shared::desired::{Presence, TunnelSpec};
use felhom_shared::report::{Outcome, StepOutcome, TunnelReadiness};
use felhom_tests::Agent;

use crate::{LONG, codes, desired, running, spec, token, tunnel};

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_another_token() {
    die_everywhere_on_the_way("another");
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_a_token_that_is_refused_and_back() {
    die_everywhere_on_the_way("refused");
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_no_tunnel() {
    die_everywhere_on_the_way("none");
}

/// Killed at every boundary of its journal, the agent comes to the same end.
fn die_everywhere_on_the_way(way: &str) {
    let alive = (1..).find(|deadly| !dies_on_the_way(way, *deadly)).unwrap();
    assert!(alive > 8, "two steps have at least eight boundaries, and {alive} was not reached");
}

/// Whether the agent died of the `deadly`th boundary.
fn dies_on_the_way(way: &str, deadly: u32) -> bool {
    let (house, agent) = running("one");
    drop(agent);
    house.tunnel().edge().refuse(&token("refused").s);
    let mut agent = house.agent_killed_at(deadly);
    let text = token(way).text();
    let document = match way {
        "none" => desired(TunnelSpec { presence: Presence::Absent, token: None, ..spec("") }),
        _ => desired(spec(&text)),
    };
    agent.desire(&document);
    let mut died = false;
    let deliver = |agent: &mut Agent| {
        agent.deliver("tunnel-token", &text);
        agent.hear_hub();
    };
    deliver(&mut agent);
    let at_rest = |end: &CycleEnd| match way {
        "refused" => codes(end) == ["tunnel_reverted"] && tunnel(end).readiness == TunnelReadiness::Connected,
        _ => tunnel(end).outcome == Some(Outcome::Converged),
    };
    for _ in 0..60 {
        match agent.cycle_or_death() {
            None => {
                died = true;
                drop(agent);
                agent = house.agent();
                deliver(&mut agent);
            }
            Some(end) if at_rest(&end) => {
                let open = end.state.journal_open;
                let failed = tunnel(&end).steps.iter().any(|step| step.outcome == StepOutcome::Failed);
                assert!(open == 0 && !failed, "{way}, killed at {deadly}: {:?}", tunnel(&end));
                let folder = house.control().host_root().join("var/lib/felhom-tunnel");
                assert!(fs::read_dir(folder).unwrap().count() <= 1, "{way}, killed at {deadly}");
                return died;
            }
            Some(end) => {
                if way == "refused" && tunnel(&end).readiness == TunnelReadiness::Unconnected {
                    agent.clock_runs(LONG);
                }
                if way == "none" {
                    agent.hear_hub();
                }
                std::thread::sleep(Duration::from_millis(20));
                agent.time_passes();
            }
        }
    }
    panic!("{way}, killed at {deadly}: it does not come to rest");
}
