//! The command line as an operator types it: what it says, and its exit codes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use felhom_shared::wire::PollAnswer;
use serde_json::Value;

use crate::world::{Hub, KnownBox, document, received};

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

fn run(folder: &Path, args: &[&str], input: &str) -> Said {
    let child = Command::new(env!("CARGO_BIN_EXE_felhom-hub"))
        .arg("--data")
        .arg(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    // A program that refuses its arguments does not read what is piped in.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

#[test]
fn a_host_is_added_listed_paused_and_given_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let hub = |args: &[&str]| run(folder.path(), args, "");
    let slip = hub(&["--json", "host", "add", "kovacs-haz", "--customer", "Kovács"]).json();
    assert!(slip["key"].as_str().unwrap().starts_with("fhk1_h_"));
    assert!(slip["pin"].as_str().unwrap().starts_with("sha256:"));
    let second = hub(&["host", "add", "kovacs-haz"]);
    assert!(second.code == 2 && second.err.contains("kovacs-haz"), "{}", second.err);
    assert_eq!(hub(&["host", "pause", "kovacs-haz"]).code, 0);
    let listed = hub(&["host", "list"]);
    assert!(listed.out.contains("kovacs-haz") && listed.out.contains("paused"), "{}", listed.out);
    assert_eq!(hub(&["--json", "host", "list"]).json()[0]["paused"], true);
    assert_eq!(hub(&["host", "resume", slip["host_id"].as_str().unwrap()]).code, 0, "by id too");
    assert_eq!(hub(&["--json", "host", "list"]).json()[0]["paused"], false);
    let rotated = hub(&["--json", "host", "key-rotate", "kovacs-haz"]).json();
    assert_ne!(rotated["key"], slip["key"]);
    assert_eq!(rotated["pin"], slip["pin"]);
    let shown = hub(&["host", "key-rotate", "kovacs-haz"]).out;
    assert!(shown.contains("hub-key") && shown.contains("pins = [\"sha256:"), "{shown}");
    assert_eq!(hub(&["host", "pause", "nobody"]).code, 2);
    assert_eq!(hub(&["host", "frobnicate"]).code, 2);
}

#[test]
fn a_file_is_compared_published_shown_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = |args: &[&str]| run(folder.path(), args, "");
    hub(&["host", "add", "box"]);
    let file = folder.path().join("box.json");
    let path = file.to_str().unwrap();
    std::fs::write(&file, document(Some(512))).unwrap();
    assert_eq!(hub(&["desired", "diff", "box", path]).code, 1, "everything differs from nothing");
    let unconfirmed = hub(&["desired", "publish", "box", path]);
    assert!(unconfirmed.code != 0 && unconfirmed.err.contains("--yes"), "{}", unconfirmed.err);
    let published = hub(&["desired", "publish", "box", path, "--yes", "--note", "first"]);
    assert!(published.code == 0 && published.out.contains("generation 1"), "{}", published.err);
    assert_eq!(hub(&["desired", "diff", "box", path]).code, 0);
    assert_eq!(hub(&["desired", "show", "box"]).out.trim(), document(Some(512)));
    let piped = run(folder.path(), &["desired", "diff", "box", "-"], &document(Some(1024)));
    assert!(piped.code == 1 && piped.out.contains("memory_mib"), "{}", piped.out);
    std::fs::write(&file, document(Some(512)).replace("\"cores\"", "\"coers\"")).unwrap();
    let refused = hub(&["desired", "publish", "box", path, "--yes"]);
    assert!(
        refused.code == 2 && refused.err.contains("coers") && refused.err.contains("box.json"),
        "{}",
        refused.err
    );
    let history = hub(&["desired", "history", "box"]).out;
    assert!(history.contains("first") && history.lines().count() == 1, "{history}");
    assert_eq!(hub(&["--json", "desired", "history", "box"]).json()[0]["generation"], 1);
    assert_ne!(hub(&["desired", "show", "box", "--generation", "9"]).code, 0);
}

#[test]
fn an_operator_is_added_by_standard_input_and_the_password_lies_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let password = "correct horse battery";
    let short = run(folder.path(), &["operator", "add", "anna"], "short\n");
    assert!(short.code != 0 && short.err.contains("12"), "{}", short.err);
    let added = run(folder.path(), &["operator", "add", "anna"], &format!("{password}\n"));
    assert_eq!(added.code, 0, "{}", added.err);
    assert!(!added.out.contains(password));
    assert_eq!(run(folder.path(), &["--json", "operator", "list"], "").json()[0], "anna");
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let holds = bytes.windows(password.len()).any(|window| window == password.as_bytes());
        assert!(!holds, "the password lies in {}", path.display());
    }
    assert_eq!(run(folder.path(), &["operator", "remove", "anna"], "").code, 0);
    assert_ne!(run(folder.path(), &["operator", "remove", "anna"], "").code, 0);
}

/// A command beside the running hub: its write is taken, and the parked poll is woken by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_the_running_hub_wakes_the_parked_poll() {
    let hub = Hub::start().await;
    let known: KnownBox = hub.add("box").await;
    let folder = hub.folder().to_owned();
    let publish = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(200));
        run(&folder, &["desired", "publish", "box", "-", "--yes"], &document(Some(512)))
    });
    let begun = std::time::Instant::now();
    let answer: PollAnswer = hub.poll(&known, "wait=30").await.json();
    assert_eq!(answer.generation.unwrap().0, 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(publish.await.unwrap().code, 0);
    let folder = hub.folder().to_owned();
    let rotated = tokio::task::spawn_blocking(move || run(&folder, &["host", "key-rotate", "box"], ""));
    assert_eq!(rotated.await.unwrap().code, 0);
    let mut status = hub.poll(&known, "wait=0").await.status.as_u16();
    for _ in 0..20 {
        if status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = hub.poll(&known, "wait=0").await.status.as_u16();
    }
    assert_eq!(status, 401, "the old key still works");
}

/// A hub restored from a backup: publishing is refused until a person resumes, which goes above the box.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_ahead_is_resumed_by_hand() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    hub.publish(known.host_id, &document(Some(512)), false).await.unwrap();
    hub.report(&known, &received(known.host_id, 41, &"a".repeat(64))).await;
    let folder = hub.folder().to_owned();
    let commands = tokio::task::spawn_blocking(move || {
        let next = document(Some(640));
        let listed = run(&folder, &["--json", "host", "list"], "").json();
        let refused = run(&folder, &["desired", "publish", "box", "-", "--yes"], &next);
        let resumed = run(&folder, &["--json", "desired", "resume", "box", "-", "--yes"], &next);
        (listed, refused, resumed)
    });
    let (listed, refused, resumed) = commands.await.unwrap();
    assert_eq!(listed[0]["conflict"], true);
    assert!(refused.code == 2 && refused.err.contains("desired resume box"), "{}", refused.err);
    assert_eq!(resumed.json()["generation"], 42);
}

#[test]
fn an_operators_key_is_shown_once_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let hub = |args: &[&str]| run(folder.path(), args, "correct horse battery\n");
    let nobody = hub(&["operator", "key", "anna"]);
    assert!(nobody.code == 2 && nobody.err.contains("operator add"), "{}", nobody.err);
    assert_eq!(hub(&["operator", "add", "anna"]).code, 0);
    let made = hub(&["--json", "operator", "key", "anna"]).json();
    let (key, lookup) = (made["key"].as_str().unwrap(), made["lookup"].as_str().unwrap());
    assert!(key.starts_with("fhk1_o_"));
    let shown = hub(&["operator", "key", "anna"]);
    assert!(shown.out.contains("fhk1_o_") && shown.out.contains("revoke-key"), "{}", shown.out);
    let listed = hub(&["operator", "keys"]).out;
    assert!(
        listed.contains(lookup) && !listed.contains("fhk1_o_") && listed.lines().count() == 2,
        "{listed}"
    );
    assert_eq!(hub(&["operator", "revoke-key", lookup]).code, 0);
    assert_eq!(hub(&["operator", "revoke-key", lookup]).code, 2);
    assert_eq!(hub(&["--json", "operator", "keys"]).json().as_array().unwrap().len(), 1);
    assert_eq!(hub(&["operator", "remove", "anna"]).code, 0);
    assert_eq!(
        hub(&["--json", "operator", "keys"]).json().as_array().unwrap().len(),
        0,
        "they go with their owner"
    );
    let secret = key.split('_').nth(3).unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "a key lies in the folder"
        );
    }
}

#[test]
fn a_secret_is_typed_in_named_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let hub = |args: &[&str], input: &str| run(folder.path(), args, input);
    hub(&["host", "add", "box"], "");
    let value = "eyJhIjoiYWNjb3VudCIsInQiOiJ0dW5uZWwifQ==";
    assert!(hub(&["secret", "list", "box"], "").out.contains("secret put"));
    let put = hub(&["secret", "put", "box", "tunnel-token"], &format!("{value}\n"));
    let named = hub(&["--json", "secret", "put", "box", "tunnel-token"], value).json();
    assert!(put.out.contains(&named.to_string()), "{}", put.out);
    assert_eq!(named["sha256"], felhom_shared::id::Sha256Hex::of(value.as_bytes()).as_str());
    let listed = hub(&["secret", "list", "box"], "");
    assert!(listed.out.contains("tunnel-token") && listed.out.lines().count() == 1, "{}", listed.out);
    for refused in ["", "two words", &"x".repeat(9000)] {
        let said = hub(&["secret", "put", "box", "tunnel-token"], refused);
        assert_eq!(said.code, 2, "{}", said.out);
    }
    // An argument would be seen by everybody on the machine.
    assert_eq!(hub(&["secret", "put", "box", "tunnel-token", value], "").code, 2);
    assert!(hub(&["secret", "remove", "box", "tunnel-token"], "").out.contains("is removed"));
    let gone = hub(&["secret", "remove", "box", "tunnel-token"], "");
    assert!(gone.code == 2 && gone.err.contains("no secret of that name"), "{}", gone.err);
    for said in [put, listed, gone] {
        assert!(!said.out.contains(value) && !said.err.contains(value));
    }
}

#[test]
fn operations_and_keysets_are_handed_in_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = |args: &[&str]| run(folder.path(), args, "");
    hub(&["host", "add", "box"]);
    let file = folder.path().join("op.signed");
    let path = file.to_str().unwrap();
    let envelope = "{\"op\":\"guest.destroy\"}\n-----BEGIN SSH SIGNATURE-----\n";
    std::fs::write(&file, envelope).unwrap();
    let first = hub(&["--json", "ops", "upload", "box", path]).json();
    let op_id = felhom_shared::signed::OpId::of(envelope.as_bytes());
    assert_eq!((&first["op_id"], &first["state"]), (&Value::from(op_id.as_str()), &Value::from("queued")));
    assert!(hub(&["ops", "upload", "box", path]).out.contains("before"));
    let listed = hub(&["--json", "ops", "box"]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["op_id"]), (1, &first["op_id"]));
    assert!(hub(&["ops", "box"]).out.contains("queued"));
    assert_eq!(hub(&["ops", "nobody"]).code, 2);
    assert_eq!(hub(&["ops"]).code, 2);
    let too_large = run(folder.path(), &["ops", "upload", "box", "-"], &"x".repeat(40_000));
    assert!(too_large.code == 2 && too_large.err.contains("envelope_too_large"), "{}", too_large.err);

    let gap = hub(&["keyset", "put", path, "--version", "2"]);
    assert!(gap.code == 2 && gap.err.contains("keyset_gap"), "{}", gap.err);
    for _again in 0..2 {
        assert_eq!(hub(&["keyset", "put", path, "--version", "1"]).code, 0);
    }
    let listed = hub(&["--json", "keyset", "list"]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["sha256"]), (1, &first["op_id"]));
    let text = hub(&["keyset", "list"]).out;
    assert!(text.contains(op_id.as_str()) && text.lines().count() == 1, "{text}");
}

/// A command beside the running hub hands in: the parked poll has it at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_handed_in_by_command_wakes_the_parked_poll() {
    let hub = Hub::start().await;
    let known = hub.add("box").await;
    let put = &["keyset", "put", "-", "--version", "1"][..];
    let upload = &["ops", "upload", "box", "-"][..];
    for (args, query, ops, keysets) in [(put, "wait=30", 0, 1), (upload, "wait=30&keyset=1", 1, 0)] {
        let (folder, args) = (hub.folder().to_owned(), args.to_vec());
        let command = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(200));
            run(&folder, &args, "{}\n-----BEGIN SSH SIGNATURE-----\n")
        });
        let begun = std::time::Instant::now();
        let answer: PollAnswer = hub.poll(&known, query).await.json();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!((answer.ops.len(), answer.keysets.len()), (ops, keysets));
        assert_eq!(command.await.unwrap().code, 0);
    }
}
