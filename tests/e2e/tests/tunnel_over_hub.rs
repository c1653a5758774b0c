//! The tunnel with everything real but Cloudflare and Proxmox: the token put into the hub, named by a document, carried over
//! the long poll, tried by the running agent, and told in its reports.

use std::fs;
use std::time::Duration;

use fake_pve::cloudflared::TunnelToken;
use felhom_shared::desired::{DesiredState, Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{TunnelReadiness, TunnelReport};
use felhom_shared::secret::{SecretName, SecretRef};
use felhom_tests::tunnel_unit::install_cloudflared;
use felhom_tests::{House, LocalHub, document, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "tunnel-token";

fn token(word: &str) -> String {
    TunnelToken::new("7a0e0001-0000-4000-8000-000000000001", word).text()
}

/// A document with a tunnel, which a change of it has as little time to prove itself as may be.
fn desired(text: &str) -> DesiredState {
    let secret = SecretName::new(NAME).expect("a secret's name");
    let token = SecretRef { secret, sha256: Sha256Hex::of(text.as_bytes()) };
    let tunnel = TunnelSpec {
        presence: Presence::Present,
        token: Some(token),
        program_sha256: None,
        revert_after_s: 15,
    };
    DesiredState { tunnel: Some(tunnel), ..document([]) }
}

fn is_connected_with(tunnel: &TunnelReport, text: &str) -> bool {
    tunnel.readiness == TunnelReadiness::Connected
        && !tunnel.on_trial
        && tunnel.token_sha256 == Some(Sha256Hex::of(text.as_bytes()))
}

fn has_note(tunnel: &TunnelReport, code: &str) -> bool {
    tunnel.notes.iter().any(|note| note.code == code)
}

#[test]
fn a_token_goes_from_the_hub_to_the_tunnel_and_a_bad_one_no_further_than_a_trial() {
    let (house, hub) = (House::new().with_tunnel(), LocalHub::start());
    let this = hub.enrol(1).remove(0);
    let (url, pin) = hub.at();
    let told = |holds: &dyn Fn(&TunnelReport) -> bool| {
        hub.reported(this.host_id).and_then(|state| state.tunnel).is_some_and(|tunnel| holds(&tunnel))
    };
    let _agent = house.run_as(this.host_id, &this.key, (&url, &pin));
    let (good, bad) = (token("good"), token("bad"));
    assert_eq!(hub.refuses(this.host_id, &desired(&good)), Some("secret_missing"));
    assert_eq!(hub.put_secret(this.host_id, NAME, &good).sha256, Sha256Hex::of(good.as_bytes()));
    hub.publish(this.host_id, &desired(&good));
    wait_until("the tunnel is connected", PATIENCE, || told(&|tunnel| is_connected_with(tunnel, &good)));
    house.tunnel().edge().refuse(&TunnelToken::parse(&bad).expect("a token").s);
    let _ = hub.put_secret(this.host_id, NAME, &bad);
    hub.publish(this.host_id, &desired(&bad));
    wait_until("the change is tried", PATIENCE, || told(&|tunnel| tunnel.on_trial));
    // Nobody says anything to the agent any more: it looks by itself.
    wait_until("the old one is back", PATIENCE, || {
        told(&|tunnel| is_connected_with(tunnel, &good) && has_note(tunnel, "tunnel_reverted"))
    });
    assert_eq!(house.tunnel().starts(), 3);
}

/// The secret was delivered once, and the agent ended before it could use it: it asks for it again.
#[test]
fn an_agent_that_was_started_anew_asks_for_the_secret_that_it_lacks() {
    let (house, hub) = (House::new().with_tunnel(), LocalHub::start());
    let this = hub.enrol(1).remove(0);
    let (url, pin) = hub.at();
    let root = house.control().host_root();
    fs::remove_file(root.join("usr/bin/cloudflared")).expect("it is there");
    let text = token("good");
    let _ = hub.put_secret(this.host_id, NAME, &text);
    hub.publish(this.host_id, &desired(&text));
    let agent = house.run_as(this.host_id, &this.key, (&url, &pin));
    let tunnel = || hub.reported(this.host_id).and_then(|state| state.tunnel);
    wait_until("it waits for cloudflared", PATIENCE, || {
        tunnel().is_some_and(|tunnel| has_note(&tunnel, "cloudflared_missing"))
    });
    agent.stop();
    install_cloudflared(&root, "2026.11.0");
    let _agent = house.run_as(this.host_id, &this.key, (&url, &pin));
    wait_until("the tunnel is connected", PATIENCE, || {
        tunnel().is_some_and(|tunnel| is_connected_with(&tunnel, &text))
    });
}
