//! A hub in the test's own process, and a box that reports to it over the wire.

use axum::Router;
use axum::body::Body;
use felhom_hub::config::Config;
use felhom_hub::publish::{Author, publish};
use felhom_hub::router::router;
use felhom_hub::serve;
use felhom_hub::state::AppState;
use felhom_hub::store::desired_history::Published;
use felhom_hub::store::{hosts, keys};
use felhom_shared::id::HostId;
use felhom_shared::key::{ApiKey, KeyKind};
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) struct House {
    pub(crate) state: AppState,
    pub(crate) router: Router,
    _folder: TempDir,
}

/// A box with its key.
pub(crate) struct Boxed {
    pub(crate) host_id: HostId,
    key: ApiKey,
    router: Router,
}

pub(crate) async fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    let state = serve::open(&config).await.unwrap();
    House { router: router(state.clone()), state, _folder: folder }
}

impl House {
    pub(crate) async fn add(&self, name: &str) -> Boxed {
        let host_id = HostId(Uuid::new_v4());
        let lookup = host_id.0.as_bytes()[..10].try_into().unwrap();
        let key = ApiKey::from_random(KeyKind::Host, lookup, &[7; 32]);
        let (name, hmac, lookup) = (name.to_owned(), self.state.keys.hmac(&key), key.lookup().to_owned());
        let added = self.state.store.write(move |sql| {
            hosts::add(sql, host_id, &name, Some("<i>Kovács</i>"), 0)?;
            keys::replace_host_key(sql, host_id, &lookup, &hmac, 0)
        });
        added.await.unwrap();
        Boxed { host_id, key, router: self.router.clone() }
    }

    pub(crate) async fn publish(&self, host_id: HostId, document: &Value) -> Published {
        let bytes = serde_json::to_vec(document).unwrap();
        let author = Author { name: "test".to_owned(), note: Some("<i>why</i>".to_owned()) };
        let published = self.state.store.write(move |sql| {
            let host = hosts::get(sql, host_id)?.unwrap();
            Ok(publish(sql, &host, &bytes, &author, false).unwrap())
        });
        let published = published.await.unwrap();
        self.state.reload(host_id).await.unwrap();
        published
    }
}

impl Boxed {
    pub(crate) async fn post(&self, path: &str, body: &Value) {
        assert_eq!(self.send(path, body).await, StatusCode::OK, "{path}: {body}");
    }

    pub(crate) async fn post_no_content(&self, path: &str, body: &Value) {
        assert_eq!(self.send(path, body).await, StatusCode::NO_CONTENT, "{path}: {body}");
    }

    async fn send(&self, path: &str, body: &Value) -> StatusCode {
        let request = Request::post(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.key.expose()))
            .body(Body::from(body.to_string()))
            .unwrap();
        self.router.clone().oneshot(request).await.unwrap().status()
    }

    pub(crate) fn page(&self) -> String {
        format!("/hosts/{}", self.host_id)
    }

    /// A report of this box that has received nothing and has no guests.
    pub(crate) fn report(&self) -> Value {
        json!({
            "version": 1,
            "sent_at": "2026-11-24T02:10:00Z",
            "metrics": {"load1": 0.5, "cpus": 4, "memory_used_bytes": 1, "memory_total_bytes": 2, "uptime_s": 3},
            "state": {
                "host_id": self.host_id,
                "agent_version": "0.1.0",
                "generation": {"received": null, "reached": null},
                "node": {"reading": "present", "node": "pve1", "pve_version": "9.0.11"},
                "guests": [],
            },
        })
    }
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

/// A guest as a report tells it.
pub(crate) fn guest(number: usize, outcome: &str) -> Value {
    let step = json!({
        "step": "grow_disk", "detail": "rootfs to 16 GiB", "class": "routine", "outcome": "failed",
        "upid": "UPID:pve1:000006A7:000E3FE9:6B056E1D:resize:101:felhom@pve!agent:",
        "error": {"code": "pve_lock_timeout", "text": "got timeout"}
    });
    json!({
        "guest_id": format!("701e2d01-0000-4000-8000-{number:012}"), "vmid": 101 + number, "kind": "lxc",
        "name": format!("guest-{number}"), "outcome": outcome,
        "observed": {"reading": "present", "status": "running", "lock": "backup", "pending": ["cores"]},
        "steps": if outcome == "failed" { json!([step]) } else { json!([]) },
        "notes": [{"kind": "waiting", "code": "restart_pending", "text": "cores take effect at the next restart"}],
    })
}
