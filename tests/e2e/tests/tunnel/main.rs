//! The tunnel comes up, is changed, and what was there before comes back where a change does not connect: the real cycle, the
//! real `felhom-host`, the real unit, a double of cloudflared and of what it connects to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod changes;
mod killed;
mod runs;
mod taken_back;

use std::fs;
use std::time::Duration;

use fake_pve::cloudflared::TunnelToken;
use felhom_agent::cycle::CycleEnd;
use felhom_shared::desired::{DesiredState, Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{TunnelReadiness, TunnelReport};
use felhom_shared::secret::{SecretName, SecretRef};
use felhom_tests::{Agent, House, document};

const TUNNEL: &str = "7a0e0001-0000-4000-8000-000000000001";
/// Longer than any window of these tests.
pub(crate) const LONG: Duration = Duration::from_secs(61);

/// A token with the secret that follows from this word.
pub(crate) fn token(word: &str) -> TunnelToken {
    TunnelToken::new(TUNNEL, word)
}

/// What looks like a token, and cloudflared does not take.
pub(crate) fn no_token() -> String {
    TunnelToken { t: "no-tunnel".to_owned(), ..token("none") }.text()
}

pub(crate) fn spec(text: &str) -> TunnelSpec {
    TunnelSpec {
        presence: Presence::Present,
        token: Some(SecretRef {
            secret: SecretName::new("tunnel-token").unwrap(),
            sha256: Sha256Hex::of(text.as_bytes()),
        }),
        program_sha256: None,
        revert_after_s: 60,
    }
}

pub(crate) fn desired(tunnel: TunnelSpec) -> DesiredState {
    DesiredState { tunnel: Some(tunnel), ..document([]) }
}

/// The document is published with this token, and the hub delivers both.
pub(crate) fn publish(agent: &mut Agent, text: &str) {
    agent.desire(&desired(spec(text)));
    agent.deliver("tunnel-token", text);
}

pub(crate) fn tunnel(end: &CycleEnd) -> &TunnelReport {
    end.state.tunnel.as_ref().unwrap()
}

pub(crate) fn steps(end: &CycleEnd) -> Vec<&str> {
    tunnel(end).steps.iter().map(|step| step.step.as_str()).collect()
}

pub(crate) fn codes(end: &CycleEnd) -> Vec<&str> {
    tunnel(end).notes.iter().map(|note| note.code.as_str()).collect()
}

/// A house whose tunnel runs with the token of this word.
pub(crate) fn running(word: &str) -> (House, Agent) {
    let house = House::new().with_tunnel();
    let mut agent = house.agent();
    publish(&mut agent, &token(word).text());
    agent.settle();
    (house, agent)
}

/// Runs cycles until the tunnel, as it was before, has connected again.
pub(crate) fn back(agent: &mut Agent) -> CycleEnd {
    agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Connected && !tunnel(end).on_trial)
}

pub(crate) fn installed(house: &House, name: &str) -> Option<Vec<u8>> {
    fs::read(house.control().host_root().join("var/lib/felhom-tunnel/current").join(name)).ok()
}
