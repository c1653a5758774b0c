//! The real hub: within the test, or as the program that can be killed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use felhom_hub::config::Config;
use felhom_hub::publish::{Author, publish};
use felhom_hub::secrets;
use felhom_hub::serve::{self, Running};
use felhom_hub::signed::{Uploader, hand_in, hand_in_keyset};
use felhom_hub::state::AppState;
use felhom_hub::store::{host_state, hosts, keys, signed_ops};
use felhom_shared::desired::DesiredState;
use felhom_shared::id::{Generation, HostId};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::report::HostState;
use felhom_shared::secret::{SecretName, SecretRef, SecretValue};
use felhom_shared::wire::QueueState;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::program::Program;
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// A box that the hub knows.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Its identity.
    pub host_id: HostId,
    /// Its key's text.
    pub key: String,
}

/// The hub within the test, serving real HTTPS.
pub struct LocalHub {
    runtime: Runtime,
    running: Option<Running>,
    _folder: TempDir,
}

impl Default for LocalHub {
    fn default() -> Self {
        Self::start()
    }
}

impl LocalHub {
    /// An empty hub.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime of its own");
        let running = runtime.block_on(serve::start(config(folder.path()))).expect("the hub starts");
        Self { runtime, running: Some(running), _folder: folder }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    /// Its address and its key's pin.
    #[must_use]
    pub fn at(&self) -> (String, String) {
        (format!("https://{}", self.running().local_addr), self.running().pin.clone())
    }

    /// Makes boxes known.
    #[must_use]
    pub fn enrol(&self, count: u128) -> Vec<Enrolled> {
        self.runtime.block_on(enrol(&self.running().state, count))
    }

    /// Publishes a document as the host's next generation, as the operator's page does.
    pub fn publish(&self, host_id: HostId, desired: &DesiredState) -> Generation {
        let bytes = serde_json::to_vec(desired).expect("a document is plain data");
        let state = self.running().state.clone();
        self.runtime.block_on(async move {
            let author = Author { name: "test".to_owned(), note: None };
            let published = state
                .store
                .write(move |sql| {
                    let host = hosts::get(sql, host_id)?.expect("the host was enrolled");
                    Ok(publish(sql, &host, &bytes, &author, false).expect("a test's document is a good one"))
                })
                .await
                .expect("the store works");
            state.reload(host_id).await.expect("the store works");
            published.generation
        })
    }

    /// Puts a secret of a host, as `felhom-hub secret put` does.
    #[must_use]
    pub fn put_secret(&self, host_id: HostId, name: &str, value: &str) -> SecretRef {
        let state = self.running().state.clone();
        let name = SecretName::new(name).expect("a secret's name");
        let value = SecretValue::new(value).expect("a secret");
        let keys = state.keys.clone();
        let put = self.runtime.block_on(async {
            let work = move |sql: &Connection| {
                Ok(secrets::put(sql, &keys, host_id, (&name, &value), "test").expect("it is put"))
            };
            state.store.write(work).await
        });
        put.expect("the store works")
    }

    /// Why a document would not be published.
    #[must_use]
    pub fn refuses(&self, host_id: HostId, desired: &DesiredState) -> Option<&'static str> {
        let bytes = serde_json::to_vec(desired).expect("a document is plain data");
        let state = self.running().state.clone();
        let refused = self.runtime.block_on(async {
            let work = move |sql: &Connection| {
                let author = Author { name: "test".to_owned(), note: None };
                let host = hosts::get(sql, host_id)?.expect("the host was enrolled");
                Ok(publish(sql, &host, &bytes, &author, false).err().map(|error| error.code()))
            };
            state.store.read(work).await
        });
        refused.expect("the store works")
    }

    /// Hands a signed operation in, as the operator's upload does.
    pub fn hand_in(&self, host_id: HostId, envelope: &str) {
        let state = self.running().state.clone();
        let envelope = envelope.to_owned();
        let handed =
            self.runtime.block_on(hand_in(&state, host_id, envelope.into_bytes(), Uploader::now("test")));
        handed.expect("the queue takes it");
    }

    /// Publishes the first keyset.
    pub fn put_keyset(&self, version: u64, envelope: &str) {
        let state = self.running().state.clone();
        let envelope = envelope.to_owned().into_bytes();
        let put = self.runtime.block_on(hand_in_keyset(&state, version, envelope, Uploader::now("test")));
        put.expect("the hub keeps it");
    }

    /// The queue of a host: every operation with its state and code, newest first.
    #[must_use]
    pub fn ops(&self, host_id: HostId) -> Vec<(QueueState, Option<String>)> {
        let state = self.running().state.clone();
        let listed = self
            .runtime
            .block_on(async { state.store.read(move |sql| signed_ops::list(sql, host_id, 50)).await });
        listed.expect("the store works").into_iter().map(|op| (op.state, op.code)).collect()
    }

    /// What the host last reported of itself.
    #[must_use]
    pub fn reported(&self, host_id: HostId) -> Option<HostState> {
        let state = self.running().state.clone();
        let latest = self
            .runtime
            .block_on(async { state.store.read(move |sql| host_state::latest(sql, host_id)).await });
        latest.expect("the store works").map(|latest| latest.state)
    }

    /// The host as the hub sees it.
    #[must_use]
    pub fn host(&self, host_id: HostId) -> hosts::Host {
        let state = self.running().state.clone();
        let host =
            self.runtime.block_on(async { state.store.read(move |sql| hosts::get(sql, host_id)).await });
        host.expect("the store works").expect("the host was enrolled")
    }
}

impl Drop for LocalHub {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // A hub that cannot write its last words has said so in its log.
            let _ = self.runtime.block_on(running.shutdown());
        }
    }
}

/// The hub as a program of its own.
#[derive(Debug)]
pub struct HubProgram {
    folder: TempDir,
    program: Option<Program>,
    address: SocketAddr,
    pin: String,
    /// The boxes it knew before its first start.
    pub enrolled: Vec<Enrolled>,
}

impl HubProgram {
    /// Starts a hub that knows `count` boxes.
    #[must_use]
    pub fn start(count: u128) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = config(folder.path());
        let enrolled = runtime.block_on(async {
            let state = serve::open(&config).await.expect("the store opens");
            enrol(&state, count).await
        });
        let pin = felhom_hub::tls::identity(&config).expect("the hub makes its certificate").pin;
        let mut hub = Self { folder, program: None, address: config.listen, pin, enrolled };
        hub.serve();
        hub
    }

    fn serve(&mut self) {
        let (data, listen) = (self.folder.path().display().to_string(), self.address.to_string());
        let address_file = self.folder.path().join("address");
        // A killed hub leaves its file behind.
        let _ = std::fs::remove_file(&address_file);
        self.program = Some(Program::start("felhom-hub", &["--data", &data, "serve", "--listen", &listen]));
        self.address = eventually("the hub writes its address", PATIENCE, || {
            std::fs::read_to_string(&address_file).ok()?.trim().parse().ok()
        });
    }

    /// Its address and its key's pin.
    #[must_use]
    pub fn at(&self) -> (String, String) {
        (format!("https://{}", self.address), self.pin.clone())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.take().expect("it runs").kill();
    }

    /// Starts it again on the same data and address.
    pub fn restart(&mut self) {
        assert!(self.program.is_none(), "it runs");
        self.serve();
    }

    /// Stops it in order and opens what it has written.
    #[must_use]
    pub fn stop_and_look(&mut self) -> Connection {
        self.program.take().expect("it runs").terminate();
        Connection::open(self.folder.path().join(felhom_hub::store::FILE_NAME)).expect("a database")
    }
}

fn config(folder: &Path) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: folder.to_owned(),
        poll_interval_s: 5,
        ..Config::default()
    }
}

async fn enrol(state: &AppState, count: u128) -> Vec<Enrolled> {
    let hmacs = state.keys.clone();
    let enrolled = state.store.write(move |sql| (1..=count).map(|number| add(sql, &hmacs, number)).collect());
    enrolled.await.expect("the store works")
}

fn add(
    sql: &Connection,
    hmacs: &felhom_hub::auth::Keys,
    number: u128,
) -> Result<Enrolled, felhom_hub::store::StoreError> {
    let host_id = HostId(Uuid::new_v4());
    let (lookup, secret) = (host_id.0.as_bytes()[..10].try_into().expect("ten of sixteen"), [7; 32]);
    let key = ApiKey::from_random(KeyKind::Host, lookup, &secret);
    hosts::add(sql, host_id, &format!("box-{number}"), None, 0)?;
    keys::replace_host_key(sql, host_id, key.lookup(), &hmacs.hmac(&key), 0)?;
    Ok(Enrolled { host_id, key: key.expose().to_owned() })
}
