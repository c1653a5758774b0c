//! A hub in the test's own process, on a folder of its own, and the box that talks to it.


use axum::Router;
use axum::body::Body;
use felhom_hub::config::Config;
use felhom_hub::publish::{Author, PublishError, publish};
use felhom_hub::router::router;
use felhom_hub::serve;
use felhom_hub::state::AppState;
use felhom_hub::store::desired_history::Published;
use felhom_hub::store::{StoreError, hosts, keys};
use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, HostId, OutboxId};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::wire::{EVENTS_PATH, EventsPost, POLL_PATH, REPORT_PATH};
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) struct House {
    pub(crate) state: AppState,
    pub(crate) router: Router,
    pub(crate) folder: TempDir,
}

/// A box with its key.
#[derive(Clone)]
pub(crate) struct Boxed {
    pub(crate) host_id: HostId,
    pub(crate) key: String,
    pub(crate) router: Router,
}

/// Status and body of an answer; JSON `null` where there is no body.
pub(crate) type Answer = (StatusCode, Value);

pub(crate) async fn house() -> House {
    house_with(|_| {}).await
}

pub(crate) async fn house_with(adjust: impl FnOnce(&mut Config)) -> House {
    open(tempfile::tempdir().unwrap(), adjust).await
}

pub(crate) async fn open(folder: TempDir, adjust: impl FnOnce(&mut Config)) -> House {
    let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    adjust(&mut config);
    let state = serve::open(&config).await.unwrap();
    House { router: router(state.clone()), state, folder }
}

impl House {
    pub(crate) async fn add(&self, name: &str) -> Boxed {
        let host_id = HostId(Uuid::new_v4());
        let lookup = host_id.0.as_bytes()[..10].try_into().unwrap();
        let key = ApiKey::from_random(KeyKind::Host, lookup, &[7; 32]);
        let (name, hmac, lookup) = (name.to_owned(), self.state.keys.hmac(&key), key.lookup().to_owned());
        self.state
            .store
            .write(move |sql| {
                hosts::add(sql, host_id, &name, None, 0)?;
                keys::replace_host_key(sql, host_id, &lookup, &hmac, 0)
            })
            .await
            .unwrap();
        Boxed { host_id, key: key.expose().to_owned(), router: self.router.clone() }
    }

    pub(crate) async fn publish(&self, host_id: HostId, document: Value) -> Result<Published, PublishError> {
        self.publish_as(host_id, document, false).await
    }

    pub(crate) async fn publish_as(
        &self,
        host_id: HostId,
        document: Value,
        resume: bool,
    ) -> Result<Published, PublishError> {
        let bytes = serde_json::to_vec(&document).unwrap();
        let author = Author { name: "test".to_owned(), note: None };
        let result = self
            .state
            .store
            .write(move |sql| {
                let host = hosts::get(sql, host_id)?.unwrap();
                match publish(sql, &host, &bytes, &author, resume) {
                    Err(PublishError::Store(error)) => Err(error),
                    other => Ok(other),
                }
            })
            .await
            .unwrap();
        self.state.reload(host_id).await.unwrap();
        result
    }

    pub(crate) async fn host(&self, host_id: HostId) -> hosts::Host {
        self.read(move |sql| hosts::get(sql, host_id)).await.unwrap()
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.state.store.read(work).await.unwrap()
    }

    /// Kinds of all events of a host, oldest first.
    pub(crate) async fn told(&self, host_id: HostId) -> Vec<String> {
        let mut events = self.read(move |sql| felhom_hub::store::events::recent(sql, host_id, 1000)).await;
        events.reverse();
        events.into_iter().map(|stored| stored.event.kind).collect()
    }
}

impl Boxed {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        if bytes.is_empty() {
            return (status, Value::Null);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{status}, not JSON: {text}")))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header(AUTHORIZATION, format!("Bearer {}", self.key))
    }

    pub(crate) async fn poll(&self, query: &str) -> Answer {
        self.send(self.request(Method::GET, &format!("{POLL_PATH}?{query}")).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, None, serde_json::to_vec(body).unwrap()).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, encoding: Option<&str>, body: Vec<u8>) -> Answer {
        let mut request = self.request(Method::POST, path);
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub(crate) async fn report(&self, report: &Value) -> Answer {
        let plain = serde_json::to_vec(report).unwrap();
        self.post_bytes(REPORT_PATH, Some("zstd"), zstd::bulk::compress(&plain, 1).unwrap()).await
    }

    pub(crate) async fn events(&self, outbox: u128, seqs: impl IntoIterator<Item = u64>) -> Answer {
        let events = seqs.into_iter().map(event).collect();
        let post = EventsPost { outbox_id: OutboxId(Uuid::from_u128(outbox)), events };
        self.post(EVENTS_PATH, &serde_json::to_value(post).unwrap()).await
    }
}

pub(crate) fn event(seq: u64) -> Event {
    Event {
        seq,
        event_id: EventId(Uuid::from_u128(u128::from(seq))),
        at: "2026-11-24T02:10:00Z".parse().unwrap(),
        kind: format!("kind_{seq}"),
        severity: Severity::Info,
        guest_id: None,
        text: format!("event {seq}"),
    }
}

/// A report whose `load1` moves and whose state is the rest.
pub(crate) fn report(host_id: HostId, load1: f64, generation: &Value) -> Value {
    json!({
        "version": 1,
        "sent_at": "2026-11-24T02:10:00Z",
        "metrics": {"load1": load1, "cpus": 4, "memory_used_bytes": 1, "memory_total_bytes": 2, "uptime_s": 3},
        "state": {
            "host_id": host_id,
            "agent_version": "0.1.0",
            "generation": generation,
            "node": {"reading": "present", "node": "pve1", "pve_version": "9.0.11"},
            "guests": [{
                "guest_id": "701e2d01-0000-4000-8000-000000000001", "vmid": 101, "kind": "lxc", "name": "web",
                "outcome": "held", "observed": {"reading": "absent"}
            }],
        },
    })
}

pub(crate) fn nothing_received() -> Value {
    json!({"received": null, "reached": null})
}

/// A document with one container of this many cores.
pub(crate) fn document(cores: u32) -> Value {
    json!({
        "version": 1,
        "identity": {"name": "box"},
        "guests": [{
            "guest_id": "701e2d01-0000-4000-8000-000000000001", "vmid": 101, "kind": "lxc", "name": "web",
            "source": {"template": {"storage": "local", "file": "debian-12.tar.zst"}},
            "cores": cores, "memory_mib": 512, "disks": {"rootfs": {"storage": "local-lvm", "size_gib": 4}}
        }],
    })
}
