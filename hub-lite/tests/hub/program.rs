//! The program itself: its command line on a folder, a running hub that is told, and one that is killed.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use felhom_hub::store::{Commit, Store, events, host_state};
use felhom_shared::id::{HostId, OutboxId};
use felhom_shared::wire::{EVENTS_PATH, EventsAck, EventsPost, POLL_PATH, REPORT_PATH};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::house::{document, event, report};

fn hub(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-hub"));
    command.arg("--data").arg(folder).args(args).env("NO_COLOR", "1").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn must(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn file(folder: &TempDir, name: &str, value: &Value) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, serde_json::to_vec_pretty(value).unwrap()).unwrap();
    path.display().to_string()
}

fn slip(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&must(&hub(folder, &["host", "add", name, "--json"]))).unwrap()
}

/// A serving program, ended when dropped.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(folder: &Path) -> Self {
        let config = folder.with_extension("toml");
        let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(&config, format!("listen = \"127.0.0.1:0\"\nlisten_plain = \"{plain}\"\n")).unwrap();
        let _ = std::fs::remove_file(folder.join("address"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-hub"));
        command.arg("--data").arg(folder).arg("--config").arg(&config).arg("serve");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while !folder.join("address").exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "the hub does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, url: format!("http://{plain}") }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn the_command_line_publishes_diffs_and_says_what_is_wrong() {
    let house = tempfile::tempdir().unwrap();
    let data = house.path().join("data");
    let missing = hub(&data, &["host", "list"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(!data.exists(), "looking makes nothing");

    slip(&data, "here");
    let twice = hub(&data, &["host", "add", "here"]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice).contains("choose another name"), "{}", text(&twice));

    let (one, two) = (file(&house, "one.json", &document(1)), file(&house, "two.json", &document(2)));
    assert_eq!(hub(&data, &["desired", "diff", "here", &one]).status.code(), Some(1));
    assert!(text(&hub(&data, &["desired", "publish", "here", &one])).contains("--yes"));
    assert!(must(&hub(&data, &["desired", "publish", "here", &one, "--yes"])).contains("generation 1 published"));
    let mut spelled_out = document(1);
    spelled_out["guests"][0]["power"] = json!("running");
    let same = hub(&data, &["desired", "diff", "here", &file(&house, "same.json", &spelled_out)]);
    assert_eq!((same.status.code(), text(&same).as_str()), (Some(0), "nothing differs\n"));
    let differs = hub(&data, &["desired", "diff", "here", &two]);
    assert_eq!((differs.status.code(), text(&differs).as_str()), (Some(1), "~ guests[web].cores: 1 -> 2\n"));
    let empty = json!({"version": 1, "identity": {"name": "box"}, "guests": []});
    let refused = hub(&data, &["desired", "publish", "here", &file(&house, "empty.json", &empty), "--yes"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("empty_over_nonempty"), "{}", text(&refused));
    must(&hub(&data, &["desired", "publish", "here", &two, "--yes", "--note", "more cores"]));
    assert!(must(&hub(&data, &["desired", "history", "here"])).contains("more cores"));
    let first = must(&hub(&data, &["desired", "show", "here", "--generation", "1"]));
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap(), document(1));
    assert_eq!(hub(&data, &["desired", "diff", "nobody", &one]).status.code(), Some(2));
    assert_eq!(hub(&data, &["no-such-command"]).status.code(), Some(2));
}

#[test]
fn secrets_of_the_hub_are_its_owners_alone_and_a_key_is_stored_nowhere() {
    use std::os::unix::fs::PermissionsExt;
    let house = tempfile::tempdir().unwrap();
    let data = house.path().join("data");
    let key = slip(&data, "here")["key"].as_str().unwrap().to_owned();
    let secret = key.split('_').nth(3).unwrap();
    for entry in std::fs::read_dir(&data).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    for (name, mode) in [("", 0o700), ("pepper", 0o600), ("hub-key.pem", 0o600)] {
        let metadata = std::fs::metadata(data.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name:?}");
    }
}

#[tokio::test]
async fn a_running_hub_hears_of_the_command_lines_work_within_a_second() {
    let house = tempfile::tempdir().unwrap();
    let data = house.path().join("data");
    let here = slip(&data, "here");
    let serving = Serving::start(&data);
    let key = here["key"].as_str().unwrap().to_owned();
    let url = format!("{}{POLL_PATH}?wait=20", serving.url);
    let parked = {
        let (client, url, key) = (reqwest::Client::new(), url.clone(), key.clone());
        tokio::spawn(async move { client.get(url).bearer_auth(key).send().await.unwrap().text().await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let one = file(&house, "one.json", &document(1));
    must(&hub(&data, &["desired", "publish", "here", &one, "--yes"]));
    let published = Instant::now();
    let answer: Value = serde_json::from_str(&parked.await.unwrap()).unwrap();
    assert!(published.elapsed() < Duration::from_secs(1), "{:?}", published.elapsed());
    assert_eq!(answer["generation"], 1);

    must(&hub(&data, &["host", "key-rotate", "here"]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = reqwest::Client::new().get(url).bearer_auth(key).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

/// One box that talks until the hub is gone; returns what the hub has acknowledged: last event and last state.
async fn talk(url: String, key: String, host_id: HostId) -> (u64, u64) {
    let client = reqwest::Client::new();
    let (mut acked, mut stored) = (0, 0);
    for number in 1_u64.. {
        let post = EventsPost { outbox_id: OutboxId(Uuid::from_u128(1)), events: vec![event(number)] };
        let sent = client.post(format!("{url}{EVENTS_PATH}")).bearer_auth(&key).body(serde_json::to_vec(&post).unwrap());
        let Ok(answer) = sent.send().await else { break };
        let Ok(body) = answer.bytes().await else { break };
        acked = serde_json::from_slice::<EventsAck>(&body).unwrap().acked_seq;
        let text = report(host_id, 0.0, &json!({"received": number, "reached": null}));
        let sent = client.post(format!("{url}{REPORT_PATH}")).bearer_auth(&key).body(text.to_string());
        match sent.send().await {
            Ok(answer) if answer.status().is_success() => stored = number,
            _ => break,
        }
    }
    (acked, stored)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let house = tempfile::tempdir().unwrap();
    let data = house.path().join("data");
    let slips: Vec<Value> = (0..4).map(|number| slip(&data, &format!("box-{number}"))).collect();
    let serving = Serving::start(&data);
    let boxes: Vec<_> = slips
        .iter()
        .map(|slip| {
            let host_id: HostId = slip["host_id"].as_str().unwrap().parse().unwrap();
            let talk = talk(serving.url.clone(), slip["key"].as_str().unwrap().to_owned(), host_id);
            (host_id, tokio::spawn(talk))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(700)).await;
    drop(serving);

    let store = Store::open(&data, Commit::default()).unwrap();
    let mut heard = 0;
    for (host_id, told) in boxes {
        let (acked, stored) = told.await.unwrap();
        heard += acked + stored;
        let outbox = OutboxId(Uuid::from_u128(1));
        let held = store.read(move |sql| events::newest_seq(sql, host_id, outbox)).await.unwrap();
        assert!(held == acked || held == acked + 1, "{held} held, {acked} acknowledged");
        let latest = store.read(move |sql| host_state::latest(sql, host_id)).await.unwrap();
        let held = latest.and_then(|latest| latest.state.generation.received).map_or(0, |received| received.0);
        assert!(held == stored || held == stored + 1, "state {held} held, {stored} acknowledged");
    }
    assert!(heard > 20, "only {heard} answers came before the end");
    writeln!(std::io::stdout(), "{heard} answers before kill -9").unwrap();
}
