//! A tunnel on a machine: the double of cloudflared as its package would have put it there, what it connects to, and tokens.

use fake_pve::cloudflared::TunnelToken;
use felhom_shared::desired::{DesiredState, Presence, TunnelSpec};
use felhom_shared::report::{HostState, TunnelReport};
use felhom_shared::secret::SecretRef;
use felhom_tests::document;

use crate::house::BOX;
use crate::{House, Machine};

const TUNNEL: &str = "7a0e0001-0000-4000-8000-000000000001";

/// The tunnel of a house.
pub struct Tunnel<'a> {
    house: &'a House<'a>,
}

impl<'a> Tunnel<'a> {
    /// Installs cloudflared, and starts an edge that does not let in the tokens of these words.
    #[must_use]
    pub fn on(house: &'a House<'a>, refused: &[&str]) -> Self {
        let refused: String =
            refused.iter().map(|word| format!(" --refuse {}", TunnelToken::new(TUNNEL, word).s)).collect();
        let machine = house.machine();
        // Of its own, because a machine that boots again has the payload only later.
        machine.sh("cp /opt/felhom/fake-cloudflared /usr/local/sbin/edge");
        machine.put(
            "/etc/systemd/system/edge.service",
            &format!("[Service]\nExecStart=/usr/local/sbin/edge edge{refused}\n[Install]\nWantedBy=multi-user.target\n"),
        );
        machine.sh("systemctl daemon-reload && systemctl enable --now edge");
        let tunnel = Self { house };
        tunnel.install("2026.11.0");
        tunnel
    }

    /// Installs another version of cloudflared; one whose name ends in `-broken` never connects.
    pub fn install(&self, version: &str) {
        self.house.machine().sh(&format!(
            "install -m 0755 /opt/felhom/fake-cloudflared /usr/bin/cloudflared.dpkg-new
            printf '\\nFAKE_CLOUDFLARED {version}\\n' >> /usr/bin/cloudflared.dpkg-new
            mv /usr/bin/cloudflared.dpkg-new /usr/bin/cloudflared"
        ));
    }

    /// The token of this word.
    #[must_use]
    pub fn token(word: &str) -> String {
        TunnelToken::new(TUNNEL, word).text()
    }

    /// Puts the token of this word into the hub, and publishes a document that names it.
    #[track_caller]
    pub fn desire(&self, word: &str, revert_after_s: u32) {
        let put = self.house.hub(&format!("--json secret put {BOX} tunnel-token"), &Self::token(word));
        let token: SecretRef = serde_json::from_str(&put).expect("JSON was asked for");
        self.publish(TunnelSpec {
            presence: Presence::Present,
            token: Some(token),
            program_sha256: None,
            revert_after_s,
        });
    }

    /// Publishes a document with this tunnel and nothing else.
    #[track_caller]
    pub fn publish(&self, tunnel: TunnelSpec) {
        self.house.publish(&DesiredState { tunnel: Some(tunnel), ..document([]) });
    }

    /// What the agent told of it last.
    #[must_use]
    pub fn told(machine: &Machine) -> Option<TunnelReport> {
        let answer = machine.try_sh("felhom-agent status --json");
        serde_json::from_str::<HostState>(&answer.out).ok()?.tunnel
    }
}
