//! Changes that do not prove themselves: what was there before comes back.

use std::fs;

use fake_pve::Fault;
use felhom_shared::desired::{Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{NodeState, Outcome, TunnelReadiness};
use felhom_tests::House;
use felhom_tests::tunnel_unit::install_cloudflared;

use crate::{LONG, back, codes, desired, installed, no_token, publish, running, spec, steps, token, tunnel};

#[test]
fn a_token_that_the_edge_refuses_is_taken_back_and_told() {
    let (house, mut agent) = running("one");
    house.tunnel().edge().refuse(&token("revoked").s);
    publish(&mut agent, &token("revoked").text());
    let waits = agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Unconnected);
    assert!(tunnel(&waits).on_trial && codes(&waits) == ["tunnel_on_trial"]);
    agent.clock_runs(LONG);
    let reverted = agent.cycle();
    assert_eq!(steps(&reverted), ["revert_tunnel"]);
    let detail = &tunnel(&reverted).steps[0].detail;
    assert!(detail.contains("no connection after 60 s"), "{detail}");
    let end = back(&mut agent);
    assert_eq!((codes(&end), tunnel(&end).outcome), (vec!["tunnel_reverted"], Some(Outcome::Failed)));
    assert_eq!(tunnel(&end).token_sha256, Some(Sha256Hex::of(token("one").text().as_bytes())));
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("one").s));
    // Not tried again under the same document, also by an agent that was started anew.
    drop(agent);
    let mut agent = house.agent();
    agent.deliver("tunnel-token", &token("revoked").text());
    assert_eq!((codes(&agent.cycle()), house.tunnel().starts()), (vec!["tunnel_reverted"], 3));
    // The operator has Cloudflare hand out another one.
    publish(&mut agent, &token("good").text());
    agent.settle();
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("good").s));
}

/// The tunnel needs no Proxmox, and its customer needs the tunnel.
#[test]
fn a_change_is_taken_back_also_while_proxmox_cannot_be_reached() {
    let (house, mut agent) = running("one");
    publish(&mut agent, &no_token());
    agent.settle_to(|end| tunnel(end).on_trial);
    drop(agent);
    house
        .control()
        .add_fault(Fault::on("GET", "*").always().refuse(595, "Errors during connection establishment"));
    let mut agent = house.agent();
    let end = agent.cycle();
    assert!(matches!(end.state.node, NodeState::Unreadable { .. }) && tunnel(&end).on_trial);
    agent.clock_runs(LONG);
    assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
    back(&mut agent);
}

#[test]
fn a_text_that_is_no_token_is_taken_back_with_what_cloudflared_ended_with() {
    let (house, mut agent) = running("one");
    publish(&mut agent, &no_token());
    agent.settle_to(|end| tunnel(end).on_trial && house.tunnel().pid().is_none());
    agent.clock_runs(LONG);
    let reverted = agent.cycle();
    let detail = &tunnel(&reverted).steps[0].detail;
    assert!(detail.contains("status 255") && detail.contains("is the token whole"), "{detail}");
    back(&mut agent);
    assert_eq!(installed(&house, "token").unwrap(), token("one").text().as_bytes());
}

#[test]
fn the_first_token_of_a_box_leaves_nothing_behind_where_it_does_not_connect() {
    let house = House::new().with_tunnel();
    let mut agent = house.agent();
    publish(&mut agent, &no_token());
    agent.settle_to(|end| tunnel(end).on_trial);
    agent.clock_runs(LONG);
    assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
    let end = agent.cycle();
    assert_eq!((tunnel(&end).readiness, codes(&end)), (TunnelReadiness::Absent, vec!["tunnel_reverted"]));
    let root = house.control().host_root();
    assert_eq!(fs::read_dir(root.join("var/lib/felhom-tunnel")).unwrap().count(), 0);
    assert!(!root.join("etc/systemd/system/felhom-tunnel.service").exists());
}

#[test]
fn a_cloudflared_that_does_not_connect_is_taken_back_and_the_next_version_is_tried() {
    let (house, mut agent) = running("one");
    let root = house.control().host_root();
    let good = installed(&house, "cloudflared");
    install_cloudflared(&root, "2026.12.0-broken");
    assert_eq!(steps(&agent.cycle()), ["try_tunnel"]);
    agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Unconnected);
    agent.clock_runs(LONG);
    assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
    let end = back(&mut agent);
    assert_eq!((tunnel(&end).version.as_deref(), codes(&end)), (Some("2026.11.0"), vec!["tunnel_reverted"]));
    assert_eq!(installed(&house, "cloudflared"), good);
    install_cloudflared(&root, "2026.12.1");
    assert_eq!(tunnel(&agent.settle()).version.as_deref(), Some("2026.12.1"));
}

#[test]
fn a_tunnel_is_stopped_for_good_only_where_the_hub_is_heard_without_it() {
    let absent = desired(TunnelSpec { presence: Presence::Absent, token: None, ..spec("") });
    for heard in [true, false] {
        let (house, mut agent) = running("one");
        agent.desire(&absent);
        assert_eq!(steps(&agent.cycle()), ["stop_tunnel"]);
        assert_eq!(codes(&agent.cycle()), ["tunnel_on_trial"]);
        assert_eq!(house.tunnel().pid(), None);
        if heard {
            agent.hear_hub();
            assert_eq!(tunnel(&agent.settle()).readiness, TunnelReadiness::Absent);
            assert_eq!(installed(&house, "token"), None);
            continue;
        }
        agent.clock_runs(LONG);
        assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
        let end = back(&mut agent);
        assert_eq!((codes(&end), tunnel(&end).outcome), (vec!["tunnel_reverted"], Some(Outcome::Failed)));
    }
}
