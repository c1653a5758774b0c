//! A hub on a folder of its own, and boxes that talk to it. Plain HTTP on loopback, except where TLS is the matter.

use std::net::SocketAddr;
use std::time::Duration;

use felhom_hub::api::operator::{KEYSETS_PATH, OPS_PATH};
use felhom_hub::auth;
use felhom_hub::config::Config;
use felhom_hub::publish::{Author, PublishError, publish};
use felhom_hub::serve::{self, Running};
use felhom_hub::store::desired_history::Published;
use felhom_hub::store::hosts::{self, Host};
use felhom_hub::store::{keys, operators};
use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, Generation, HostId, OutboxId};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::report::{
    GenerationState, HostReport, HostState, Metrics, NodeState, OpsState, REPORT_VERSION,
};
use felhom_shared::signed::OpId;
use felhom_shared::wire::{ApiError, EVENTS_PATH, EventsPost, POLL_PATH, REPORT_PATH};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// A running hub.
pub(crate) struct Hub {
    pub(crate) running: Running,
    folder: TempDir,
    config: Config,
    client: reqwest::Client,
}

/// A box that the hub knows.
#[derive(Clone)]
pub(crate) struct KnownBox {
    pub(crate) host_id: HostId,
    pub(crate) key: ApiKey,
}

/// What the hub said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// Status and stable word of a refusal; every refusal has one.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let error: ApiError = serde_json::from_slice(&self.bytes).unwrap();
        assert!(!error.message.is_empty());
        (self.status.as_u16(), error.code)
    }
}

pub(crate) fn config(folder: &TempDir) -> Config {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let data_dir = folder.path().to_owned();
    Config { listen: loopback, listen_plain: Some(loopback), data_dir, ..Config::default() }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        change(&mut config);
        Self::run(folder, config).await
    }

    async fn run(folder: TempDir, config: Config) -> Self {
        // A second installation finds the first, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let running = serve::start(config.clone()).await.unwrap();
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        Self { running, folder, config, client }
    }

    /// Stops the hub in order and starts it on the same folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { running, folder, config, .. } = self;
        running.shutdown().await.unwrap();
        Self::run(folder, config).await
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A connection of the test's own, as any reader of the file has it.
    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.folder().join(felhom_hub::store::FILE_NAME)).unwrap()
    }

    pub(crate) async fn add(&self, name: &str) -> KnownBox {
        let host_id = HostId(Uuid::new_v4());
        let name = name.to_owned();
        self.running.state.store.write(move |sql| hosts::add(sql, host_id, &name, None, 1)).await.unwrap();
        self.running.state.reload(host_id).await.unwrap();
        KnownBox { host_id, key: self.new_key(host_id).await }
    }

    /// Gives the host a new key, as `host key-rotate` does.
    pub(crate) async fn new_key(&self, host_id: HostId) -> ApiKey {
        let random = *Uuid::new_v4().as_bytes();
        let lookup = random[..10].try_into().unwrap();
        let key = ApiKey::from_random(KeyKind::Host, lookup, &[random[11]; 32]);
        let (lookup, hmac) = (key.lookup().to_owned(), self.running.state.keys.hmac(&key));
        let replace = move |sql: &Connection| keys::replace_host_key(sql, host_id, &lookup, &hmac, 1);
        self.running.state.store.write(replace).await.unwrap();
        self.running.state.keys.forget();
        key
    }

    /// Makes an operator with a key, as `operator add` and `operator key` do.
    pub(crate) async fn operator_key(&self, name: &str) -> ApiKey {
        let key = auth::draw(KeyKind::Operator).unwrap();
        let (name, keys, admitted) = (name.to_owned(), self.running.state.keys.clone(), key.clone());
        let admit = move |sql: &Connection| {
            operators::put(sql, &name, "no password is this", 1)?;
            auth::admit_operator_key(sql, &keys, &admitted, (&name, "test"))
        };
        self.running.state.store.write(admit).await.unwrap();
        key
    }

    /// Hands in a signed operation over the wire.
    pub(crate) async fn hand_in(&self, key: &ApiKey, host_id: HostId, envelope: &str) -> Answer {
        let path = OPS_PATH.replace("{host_id}", &host_id.to_string());
        self.send(Method::POST, &path, Some(bearer(key)), (None, envelope.as_bytes().to_vec())).await
    }

    /// Uploads a keyset over the wire.
    pub(crate) async fn put_keyset(&self, key: &ApiKey, version: u64, envelope: &str) -> Answer {
        let path = format!("{KEYSETS_PATH}/{version}");
        self.send(Method::PUT, &path, Some(bearer(key)), (None, envelope.as_bytes().to_vec())).await
    }

    /// A box says what became of an operation.
    pub(crate) async fn receipt(&self, host: &KnownBox, op_id: &OpId, receipt: &Value) -> Answer {
        let path = format!("{}/{op_id}/state", felhom_shared::wire::OPS_PATH);
        self.post(host, &path, receipt.to_string().into_bytes()).await
    }

    /// Who did what to whom, oldest first.
    pub(crate) fn deeds(&self) -> Vec<(String, String, String)> {
        let sql = self.database();
        let mut statement = sql.prepare("SELECT actor, deed, detail FROM audit ORDER BY audit_id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub(crate) async fn host(&self, host_id: HostId) -> Host {
        self.running.state.store.read(move |sql| hosts::get(sql, host_id)).await.unwrap().unwrap()
    }

    /// Publishes as a page does, and tells the parked poll.
    pub(crate) async fn publish(
        &self,
        host_id: HostId,
        document: &str,
        resume: bool,
    ) -> Result<Published, PublishError> {
        let bytes = document.as_bytes().to_vec();
        let author = Author { name: "test".to_owned(), note: None };
        let done = self.running.state.store.write(move |sql| {
            let host = hosts::get(sql, host_id)?.unwrap();
            Ok(publish(sql, &host, &bytes, &author, resume))
        });
        let done = done.await.unwrap();
        self.running.state.reload(host_id).await.unwrap();
        done
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        authorization: Option<String>,
        (encoding, body): (Option<&str>, Vec<u8>),
    ) -> Answer {
        let url = format!("http://{}{path}", self.running.plain_addr.unwrap());
        let mut request = self.client.request(method, url).body(body);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let answer = request.send().await.unwrap();
        Answer { status: answer.status(), bytes: answer.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn poll(&self, host: &KnownBox, query: &str) -> Answer {
        self.send(Method::GET, &format!("{POLL_PATH}?{query}"), Some(bearer(&host.key)), (None, vec![])).await
    }

    pub(crate) async fn post(&self, host: &KnownBox, path: &str, body: Vec<u8>) -> Answer {
        self.send(Method::POST, path, Some(bearer(&host.key)), (None, body)).await
    }

    pub(crate) async fn report(&self, host: &KnownBox, report: &HostReport) -> Answer {
        self.post(host, REPORT_PATH, serde_json::to_vec(report).unwrap()).await
    }

    pub(crate) async fn events(&self, host: &KnownBox, outbox_id: OutboxId, seqs: &[u64]) -> Answer {
        let post = EventsPost { outbox_id, events: seqs.iter().copied().map(event).collect() };
        self.post(host, EVENTS_PATH, serde_json::to_vec(&post).unwrap()).await
    }

    /// The words and numbers of everything that the hub holds of a host, oldest first.
    pub(crate) fn told(&self, host_id: HostId) -> Vec<String> {
        let sql = self.database();
        let mut statement =
            sql.prepare("SELECT event FROM events WHERE host_id = ?1 ORDER BY rowid").unwrap();
        let rows = statement.query_map([host_id.to_string()], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|text| serde_json::from_str::<Event>(&text.unwrap()).unwrap().kind).collect()
    }
}

pub(crate) fn bearer(key: &ApiKey) -> String {
    format!("Bearer {}", key.expose())
}

/// A report whose state is told apart from others by `number`.
pub(crate) fn report(host_id: HostId, number: u64) -> HostReport {
    let state = HostState {
        host_id,
        agent_version: "0.1.0".to_owned(),
        generation: GenerationState::default(),
        node: NodeState::Unreadable { code: "test".to_owned(), text: "no node".to_owned() },
        guests: vec![],
        unmanaged: vec![],
        storage: Vec::new(),
        drives: Vec::new(),
        tunnel: None,
        journal_open: number,
        ops: OpsState::default(),
    };
    HostReport { version: REPORT_VERSION, sent_at: Timestamp::now(), metrics: Metrics::default(), state }
}

/// A report that says how far the box has come.
pub(crate) fn received(host_id: HostId, generation: u64, digest: &str) -> HostReport {
    let mut report = report(host_id, 0);
    report.state.generation.received = Some(Generation(generation));
    report.state.generation.received_digest = Some(digest.to_owned());
    report
}

pub(crate) fn event(seq: u64) -> Event {
    Event {
        seq,
        event_id: EventId(Uuid::new_v4()),
        at: Timestamp::now(),
        kind: format!("test_{seq}"),
        severity: Severity::Info,
        guest_id: None,
        text: "something happened".to_owned(),
    }
}

/// A document with one guest, or with none.
pub(crate) fn document(memory_mib: Option<u32>) -> String {
    let guests = memory_mib.map_or_else(String::new, |memory_mib| {
        format!(
            r#"{{"guest_id":"701e2d01-0000-4000-8000-000000000001","vmid":101,"kind":"lxc","name":"web",
              "source":{{"template":{{"storage":"local","file":"debian-12-standard_12.12-1_amd64.tar.zst"}}}},
              "cores":1,"memory_mib":{memory_mib},
              "disks":{{"rootfs":{{"storage":"local-lvm","size_gib":4}}}}}}"#
        )
    });
    format!(r#"{{"version":1,"identity":{{"name":"box"}},"guests":[{guests}]}}"#)
}

/// Waits until something is so, for ten seconds at most.
pub(crate) async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen within ten seconds");
}
