//! A house: a Proxmox node, and the folder in which its agent keeps what it must not forget.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fake_pve::{Control, FakePve, LoggedRequest, Options};
use felhom_agent::host::format::Trust;
use felhom_agent::observe::Observer;
use felhom_agent::ops::Ops;
use felhom_agent::pve::{ApiToken, Pve};
use felhom_agent::resources::tunnel::METRICS;
use felhom_agent::state::State;
use felhom_agent::tls::{PinSource, client_config};
use felhom_shared::desired::DesiredState;
use felhom_shared::id::HostId;
use tempfile::TempDir;

use crate::agent::{Agent, Killed};
use crate::document::host_id;
use crate::host_desk::HostDesk;
use crate::keyring::Keyring;
use crate::rules;
use crate::tunnel_unit::{TunnelUnit, install_cloudflared};

/// Below PVE's own 30 s, which fake-pve does not take.
const PVE_TIMEOUT: Duration = Duration::from_secs(10);
/// More guests than any test changes in its hour.
const BUDGET: u32 = 10_000;

/// A node and its agent's folder.
#[derive(Debug)]
pub struct House {
    node: FakePve,
    folder: TempDir,
    token: String,
    pub(crate) budget_per_hour: u32,
    pub(crate) genesis: Option<(String, String)>,
    desk: Option<HostDesk>,
    tunnel: Option<Arc<TunnelUnit>>,
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    /// A house with a fresh node whose tasks take a moment.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// A house with a node set up otherwise.
    #[must_use]
    pub fn with(options: Options) -> Self {
        let node = FakePve::start(options).expect("fake-pve starts on a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = node.token().to_owned();
        Self { node, folder, token, budget_per_hour: BUDGET, genesis: None, desk: None, tunnel: None }
    }

    /// The same house, with an agent that knows PVE by this token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// Where whoever mounts and formats drives remembers what it did.
    #[must_use]
    pub fn host_memory(&self) -> PathBuf {
        self.folder.path().join("host-memory")
    }

    /// The same house, with somebody who mounts drives for the agent. To be said after `trusting`.
    #[must_use]
    pub fn with_host_desk(mut self) -> Self {
        let trust = Trust {
            host_id: host_id(),
            genesis_sha256: self.genesis.as_ref().map(|(digest, _)| digest.clone()),
            tunnel_account: None,
            memory: self.host_memory(),
        };
        self.desk = Some(HostDesk::open(&self.state_dir(), self.control(), Some(trust), self.tunnel.clone()));
        self
    }

    /// The same house, with cloudflared installed, somebody who runs its unit, and an edge to connect to.
    #[must_use]
    pub fn with_tunnel(mut self) -> Self {
        let root = self.control().host_root();
        self.tunnel = Some(Arc::new(TunnelUnit::new(&root)));
        install_cloudflared(&root, "2026.11.0");
        self.with_host_desk()
    }

    /// The tunnel's unit and its edge.
    #[must_use]
    pub fn tunnel(&self) -> &TunnelUnit {
        self.tunnel.as_deref().expect("a house with a tunnel")
    }

    pub(crate) fn has_tunnel(&self) -> bool {
        self.tunnel.is_some()
    }

    pub(crate) fn tunnel_metrics(&self) -> SocketAddr {
        self.tunnel.as_ref().map_or(METRICS, |tunnel| tunnel.metrics())
    }

    /// The same house, with an agent that changes at most so many guests in an hour.
    #[must_use]
    pub fn with_budget(mut self, budget_per_hour: u32) -> Self {
        self.budget_per_hour = budget_per_hour;
        self
    }

    /// The same house, whose agent was told on paper to trust this keyring's first keyset.
    #[must_use]
    pub fn trusting(mut self, keyring: &Keyring) -> Self {
        self.genesis = Some((keyring.keyset().digest(), keyring.keyset_blob()));
        self
    }

    pub(crate) fn ops(&self, host_id: HostId, state: &State) -> Ops {
        Ops::new(host_id, self.genesis.as_ref().map(|(digest, _)| digest.clone()), state.clone())
    }

    /// The hand on the node.
    #[must_use]
    pub fn control(&self) -> Control {
        self.node.control()
    }

    /// The node itself.
    #[must_use]
    pub fn node(&self) -> &FakePve {
        &self.node
    }

    /// Where the agent keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The agent, started afresh on what is on disk.
    #[must_use]
    pub fn agent(&self) -> Agent {
        Agent::start(self, None)
    }

    /// The agent with a probe at its journal's boundaries.
    #[must_use]
    pub fn agent_with_probe(&self, probe: std::rc::Rc<dyn Fn(felhom_agent::state::Boundary)>) -> Agent {
        Agent::start(self, Some(probe))
    }

    /// The agent, which is killed when it passes its journal's boundaries for the `deadly`th time, counted from 1.
    #[must_use]
    pub fn agent_killed_at(&self, deadly: u32) -> Agent {
        let passed = std::cell::Cell::new(0);
        self.agent_with_probe(std::rc::Rc::new(move |_| {
            passed.set(passed.get() + 1);
            if passed.get() == deadly {
                Killed::now();
            }
        }))
    }

    /// A client of the node's API with the agent's token.
    #[must_use]
    pub fn pve(&self) -> Pve {
        let tls = client_config(PinSource::CertificateFile(self.node.cert_path()))
            .expect("fake-pve has written its certificate");
        let token = ApiToken::new(self.token.as_str()).expect("a token of PVE's form");
        Pve::new(&self.node.base_url(), &token, tls, PVE_TIMEOUT).expect("a client can be made")
    }

    pub(crate) fn observer(pve: &Pve) -> Observer {
        Observer::new(pve.clone(), None)
    }

    /// Requests that change something, since the log was last emptied.
    #[must_use]
    pub fn changes(&self) -> Vec<LoggedRequest> {
        self.control().requests().into_iter().filter(|request| request.method != "GET").collect()
    }

    /// How many changing requests there were to paths ending so.
    #[must_use]
    pub fn changes_to(&self, method: &str, ending: &str) -> usize {
        let fits = |request: &LoggedRequest| request.method == method && request.path.ends_with(ending);
        self.changes().iter().filter(|request| fits(request)).count()
    }

    /// One value of a guest's configuration on the node.
    #[must_use]
    pub fn value(&self, vmid: u32, key: &str) -> Option<String> {
        self.control().snapshot().guests.get(&vmid)?.config.get(key).cloned()
    }

    /// Whether a guest runs.
    #[must_use]
    pub fn runs(&self, vmid: u32) -> bool {
        self.control().snapshot().guests.get(&vmid).is_some_and(|guest| guest.running.is_some())
    }

    /// Panics unless the node is what the document says, with nothing doubled and nothing left behind.
    #[track_caller]
    pub fn obeys(&self, desired: &DesiredState) {
        let broken = rules::broken(&self.control().snapshot(), desired);
        assert!(broken.is_empty(), "the node is not as it should be:\n  {}", broken.join("\n  "));
    }

    /// Panics if anything on the node is doubled or left behind, whatever the document says.
    #[track_caller]
    pub fn is_tidy(&self) {
        let broken = rules::untidy(&self.control().snapshot());
        assert!(broken.is_empty(), "the node is untidy:\n  {}", broken.join("\n  "));
    }
}
