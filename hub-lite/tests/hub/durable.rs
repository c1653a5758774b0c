//! `nothing_is_acknowledged_before_it_is_durable`: the real program, killed right after its answers.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use felhom_hub::auth::Keys;
use felhom_hub::serve;
use felhom_hub::store::{FILE_NAME, hosts, keys};
use felhom_shared::id::{HostId, OutboxId};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::wire::{EVENTS_PATH, EventsAck, EventsPost, REPORT_PATH};
use rusqlite::Connection;
use uuid::Uuid;

use crate::world::{bearer, config, event, eventually, report};

/// Ends with the test, whatever becomes of it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let host_id = HostId(Uuid::new_v4());
    let key = ApiKey::from_random(KeyKind::Host, [3; 10], &[4; 32]);
    let state = serve::open(&config(&folder)).await.unwrap();
    let (lookup, hmac) = (key.lookup().to_owned(), Keys::open(folder.path()).unwrap().hmac(&key));
    let add = move |sql: &Connection| {
        hosts::add(sql, host_id, "box", None, 1)?;
        keys::replace_host_key(sql, host_id, &lookup, &hmac, 1)
    };
    state.store.write(add).await.unwrap();
    drop(state);

    let program = Command::new(env!("CARGO_BIN_EXE_felhom-hub"))
        .arg("--data")
        .arg(folder.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::null())
        .spawn();
    let mut program = Program(program.unwrap());
    let address_file = folder.path().join("address");
    let address = || std::fs::read_to_string(&address_file).unwrap_or_default();
    eventually("the hub's start", || address().ends_with('\n')).await;
    let base = format!("https://{}", address().trim());

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    let outbox_id = OutboxId(Uuid::new_v4());
    let kill_at = tokio::time::Instant::now() + Duration::from_millis(700);
    let (mut reported, mut acked) = (0, 0);
    while tokio::time::Instant::now() < kill_at {
        let body = serde_json::to_vec(&report(host_id, reported + 1)).unwrap();
        let post = client.post(format!("{base}{REPORT_PATH}")).header("authorization", bearer(&key));
        assert_eq!(post.body(body).send().await.unwrap().status(), 200);
        reported += 1;
        let events = EventsPost { outbox_id, events: vec![event(acked + 1)] };
        let post = client.post(format!("{base}{EVENTS_PATH}")).header("authorization", bearer(&key));
        let answer = post.body(serde_json::to_vec(&events).unwrap()).send().await.unwrap();
        acked = serde_json::from_slice::<EventsAck>(&answer.bytes().await.unwrap()).unwrap().acked_seq;
    }
    program.0.kill().unwrap();
    program.0.wait().unwrap();

    assert!(reported > 3 && acked > 3, "only {reported} reports and {acked} events were acknowledged");
    let sql = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let number = |query: &str| sql.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
    assert!(number("SELECT count(*) FROM host_reports") >= reported);
    assert!(number("SELECT max(seq) FROM events") >= acked);
    assert_eq!(
        number("SELECT count(*) FROM events"),
        number("SELECT max(seq) FROM events"),
        "none missing or twice"
    );
    let check: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
