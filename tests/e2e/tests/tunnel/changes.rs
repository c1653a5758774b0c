//! Changes: what is tried and kept, and what is not even begun.

use std::fs;
use std::rc::Rc;

use felhom_agent::state::Boundary;
use felhom_shared::desired::{DesiredState, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::TunnelReadiness;
use felhom_tests::lxc;
use felhom_tests::tunnel_unit::install_cloudflared;

use crate::{codes, desired, publish, running, spec, steps, token, tunnel};

#[test]
fn a_new_token_is_tried_and_kept_once_it_connects() {
    let (house, mut agent) = running("one");
    publish(&mut agent, &token("two").text());
    let tried = agent.cycle();
    assert_eq!(steps(&tried)[0], "try_tunnel");
    let end = agent.settle();
    assert!(tunnel(&end).readiness == TunnelReadiness::Connected && !tunnel(&end).on_trial);
    assert_eq!(tunnel(&end).token_sha256, Some(Sha256Hex::of(token("two").text().as_bytes())));
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("two").s));
    assert_eq!(house.tunnel().starts(), 2);
}

/// That can be known without stopping anything.
#[test]
fn a_text_that_is_no_token_at_all_stops_nothing() {
    let (house, mut agent) = running("one");
    let cut = token("two").text();
    for text in ["not-a-token-at-all", &cut[..cut.len() - 7]] {
        publish(&mut agent, text);
        let end = agent.cycle();
        let failed = tunnel(&end).steps[0].error.as_ref().unwrap();
        assert_eq!(
            (failed.code.as_str(), tunnel(&end).readiness),
            ("tunnel_token_malformed", TunnelReadiness::Connected)
        );
    }
    assert_eq!(house.tunnel().starts(), 1);
    assert_eq!(fs::read_dir(house.control().host_root().join("var/lib/felhom-tunnel")).unwrap().count(), 1);
}

/// Nothing is stopped for it, and no half of a change is left.
#[test]
fn a_program_that_others_may_change_is_not_run() {
    let (house, mut agent) = running("one");
    let root = house.control().host_root();
    install_cloudflared(&root, "2026.12.0");
    let path = root.join("usr/bin/cloudflared");
    let unsafe_mode = std::os::unix::fs::PermissionsExt::from_mode(0o757);
    fs::set_permissions(&path, unsafe_mode).unwrap();
    let end = agent.cycle();
    assert_eq!(tunnel(&end).steps[0].error.as_ref().unwrap().code, "cloudflared_unsafe");
    assert_eq!((tunnel(&end).readiness, house.tunnel().starts()), (TunnelReadiness::Connected, 1));
    assert_eq!(fs::read_dir(root.join("var/lib/felhom-tunnel")).unwrap().count(), 1);
}

/// A change of the tunnel wants to be looked at often; guests that are being made take their time.
#[test]
fn a_change_is_tried_when_nothing_else_is_being_done() {
    let (house, agent) = running("one");
    drop(agent);
    let current = house.control().host_root().join("var/lib/felhom-tunnel/current");
    let mut agent = house.agent_with_probe(Rc::new(move |boundary| {
        assert!(
            boundary != Boundary::AfterTask || !current.join("trial").exists(),
            "a guest waits for its task"
        );
    }));
    let two = token("two").text();
    agent.desire(&DesiredState { guests: vec![lxc(101, "web")], ..desired(spec(&two)) });
    agent.deliver("tunnel-token", &two);
    let end = agent.settle();
    assert_eq!(tunnel(&end).token_sha256, Some(Sha256Hex::of(two.as_bytes())));
    assert!(house.runs(101));
}

#[test]
fn a_pinned_cloudflared_is_waited_for_and_another_one_is_not_run() {
    let (house, mut agent) = running("one");
    let root = house.control().host_root();
    install_cloudflared(&root, "2026.12.0");
    let newer = fs::read(root.join("usr/bin/cloudflared")).unwrap();
    install_cloudflared(&root, "2026.11.0");
    let pinned = TunnelSpec { program_sha256: Some(Sha256Hex::of(&newer)), ..spec(&token("one").text()) };
    agent.desire(&desired(pinned));
    assert_eq!(codes(&agent.cycle()), ["cloudflared_differs"]);
    assert_eq!(house.tunnel().starts(), 1);
    install_cloudflared(&root, "2026.12.0");
    assert_eq!(tunnel(&agent.settle()).version.as_deref(), Some("2026.12.0"));
    // The box goes ahead of the document: what is pinned goes on.
    install_cloudflared(&root, "2026.12.1");
    assert_eq!(tunnel(&agent.settle()).version.as_deref(), Some("2026.12.0"));
    assert_eq!(house.tunnel().starts(), 2);
}

#[test]
fn a_secret_that_has_not_come_is_waited_for_while_the_old_tunnel_runs() {
    let (house, mut agent) = running("one");
    agent.desire(&desired(spec(&token("two").text())));
    assert_eq!(codes(&agent.cycle()), ["secret_missing"]);
    // One that is not the one that the document names.
    agent.deliver("tunnel-token", &token("another").text());
    assert_eq!(codes(&agent.cycle()), ["secret_missing"]);
    assert_eq!(house.tunnel().starts(), 1);
    agent.deliver("tunnel-token", &token("two").text());
    agent.settle();
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("two").s));
}
