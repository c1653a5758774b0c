//! The whole agent on a thread and runtime of its own: polling, cycling, reporting, until it is stopped.

use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use felhom_agent::cycle::Cycle;
use felhom_agent::daemon::Daemon;
use felhom_agent::hub::Hub;
use felhom_agent::ops::Ops;
use felhom_agent::resources::storage::Attached;
use felhom_agent::resources::tunnel::Watch;
use felhom_agent::state::{Boundary, State};
use felhom_agent::tls::{PinSource, client_config, parse_pin};
use felhom_shared::id::HostId;
use felhom_shared::key::{ApiKey, KeyKind};
use tokio::sync::oneshot;

use crate::document::host_id;
use crate::house::House;

const PATIENCE: Duration = Duration::from_secs(10);

/// An agent that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl House {
    /// The whole agent, told of a hub that asks for no particular key.
    #[must_use]
    pub fn run(&self, (url, pin): &(String, String)) -> Running {
        let key = ApiKey::from_random(KeyKind::Host, [1; 10], &[2; 32]);
        self.run_as(host_id(), key.expose(), (url, pin))
    }

    /// The whole agent as this host with this key.
    #[must_use]
    pub fn run_as(&self, host_id: HostId, key: &str, hub: (&str, &str)) -> Running {
        self.run_probed(host_id, key, hub, || Rc::new(|_| ()))
    }

    /// The same with a probe at the boundaries, made on the agent's own thread.
    #[must_use]
    pub fn run_probed(
        &self,
        host_id: HostId,
        key: &str,
        (url, pin): (&str, &str),
        probe: impl FnOnce() -> Rc<dyn Fn(Boundary)> + Send + 'static,
    ) -> Running {
        let tls = client_config(PinSource::SpkiPins(vec![parse_pin(pin).expect("a hub's pin")]))
            .expect("a client can be made");
        let key = ApiKey::parse(key).expect("a hub's key");
        let hub = Hub::new(url, &key, tls).expect("a client can be made");
        let (pve, folder, budget) = (self.pve(), self.state_dir(), self.budget_per_hour);
        let genesis = self.genesis.as_ref().map(|(digest, _)| digest.clone());
        let watch = self.has_tunnel().then(|| (self.control().host_root(), self.tunnel_metrics()));
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime on this thread");
            let state = State::open(&folder).expect("the state opens").with_probe(probe());
            let ops = Ops::new(host_id, genesis, state.clone());
            let cycle = Cycle::new(pve.clone(), state.clone(), ops, Self::observer(&pve), budget);
            let cycle = match watch {
                Some((root, metrics)) => {
                    let watch = Watch::of(&root, metrics);
                    cycle.with_drives(Attached::none(), root).with_tunnel(watch)
                }
                None => cycle,
            };
            let daemon = Daemon::new(host_id, hub, pve, state, cycle);
            ready.send(()).expect("the test waits for this");
            let stop = async move {
                // A dropped handle stops the agent as well.
                let _ = stopped.await;
            };
            runtime.block_on(daemon.run(stop, || ())).expect("the state works");
        });
        started.recv_timeout(PATIENCE).expect("the agent starts");
        Running { stop: Some(stop), thread: Some(thread) }
    }
}

impl Running {
    /// Stops it and waits for its end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has already been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
