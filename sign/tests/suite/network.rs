//! Fetching and uploading, against a hub of one answer: the network as it can be, not as it should be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::signed::{Namespace, PublicKey, Signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;

use crate::tools::{DIGEST, Desk, GUEST, HOST, Ran, draft};

/// Answers each connection with the next of `answers`; hands back the requests.
struct Hub {
    port: u16,
    thread: JoinHandle<Vec<String>>,
}

impl Hub {
    fn start(desk: &Desk, answers: Vec<String>) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        desk.write("hub-cert.pem", &made.cert.pem());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            answers.iter().map(|answer| serve(&listener, &config, answer)).collect()
        });
        Self { port, thread }
    }

    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

/// One connection: reads one request whole, answers, closes. Empty where no request came.
fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, answer: &str) -> String {
    let Some(socket) = accept(listener) else { return String::new() };
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket);
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return String::new(),
        }
    }
    let _ = stream.write_all(answer.as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
    String::from_utf8(request).unwrap()
}

/// Waits for a connection, but not for ever: a request that was never made is an empty one.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    for _ in 0..3000 {
        if let Ok((socket, _)) = listener.accept() {
            return Some(socket);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    None
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn pending() -> String {
    let step = json!({
        "op": "guest.destroy", "target": {"host_id": HOST, "guest_id": GUEST},
        "params": {"expect": {"vmid": 101, "name": "web", "config_digest": DIGEST}}, "code": "held", "text": "t",
    });
    json!([{"host_id": HOST, "name": "box", "keyset_version": 1, "pending": [step]}]).to_string()
}

fn desk() -> (Desk, String) {
    let desk = Desk::new();
    let key = ApiKey::from_random(KeyKind::Operator, [3; 10], &[5; 32]).expose().to_owned();
    desk.write("operator-key", &key);
    desk.ssh_key("ops");
    (desk, key)
}

fn run(desk: &Desk, port: u16, arguments: &[&str]) -> Ran {
    let url = format!("https://127.0.0.1:{port}");
    let hub = ["--hub", &url, "--ca", "hub-cert.pem", "--key-file", "operator-key"];
    desk.sign(&[arguments, &hub[..]].concat(), "")
}

const SIGN: [&str; 7] = ["--pending", "--only", "1", "--yes-i-confirm", "web", "--key", "ops"];

#[test]
fn a_step_is_fetched_signed_and_uploaded() {
    let (desk, key) = desk();
    let queued = json!({"op_id": "c0ffee".repeat(8), "state": "queued"}).to_string();
    let hub = Hub::start(&desk, vec![answer("200 OK", &pending()), answer("201 Created", &queued)]);
    let told = run(&desk, hub.port, &[&SIGN[..], &["--host", "box"]].concat()).exits(0).stdout;
    assert!(told.contains("is queued on the hub as c0ffee"), "{told}");
    let requests = hub.requests();
    assert!(requests[0].starts_with("GET /api/v1/operator/pending?host=box HTTP/1.1\r\n"), "{}", requests[0]);
    let path = format!("POST /api/v1/operator/hosts/{HOST}/ops HTTP/1.1\r\n");
    assert!(requests[1].starts_with(&path), "{}", requests[1]);
    assert!(requests.iter().all(|request| request.contains(&format!("authorization: Bearer {key}\r\n"))));
    let envelope = requests[1].split_once("\r\n\r\n").unwrap().1;
    let key: PublicKey = desk.read("ops.pub").parse().unwrap();
    Signed::decode(envelope.as_bytes()).unwrap().verify(Namespace::Op, &[&key]).unwrap();
}

#[test]
fn what_was_signed_elsewhere_is_uploaded_byte_for_byte() {
    let (desk, _) = desk();
    desk.ssh_key("root");
    desk.keyset("root", &["ops"]);
    desk.write("op.json", &draft("guest.destroy", "web"));
    desk.sign(&["sign", "op.json", "--key", "ops", "--yes-i-confirm", "web"], "").exits(0);
    let queued = json!({"op_id": "c0ffee", "state": "queued"}).to_string();
    let hub = Hub::start(&desk, vec![answer("200 OK", &queued), answer("201 Created", "{}")]);
    run(&desk, hub.port, &["upload", "op.json.signed"]).exits(0);
    run(&desk, hub.port, &["keyset", "upload", "keyset-1.signed"]).exits(0);
    let requests = hub.requests();
    assert!(requests[0].ends_with(&format!("\r\n\r\n{}", desk.read("op.json.signed"))));
    assert!(requests[1].starts_with("PUT /api/v1/operator/keysets/1 HTTP/1.1\r\n"), "{}", requests[1]);
    assert!(requests[1].ends_with(&desk.read("keyset-1.signed")));
}

#[test]
fn a_hub_that_redirects_refuses_lies_or_floods_gets_no_signature() {
    let (desk, key) = desk();
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: https://localhost:1/\r\ncontent-length: 0\r\n\r\n";
    let refusal = json!({"code": "not_yours", "message": "no \u{1b}[2J"}).to_string();
    let flood = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}", " ".repeat(9_000_000));
    let cases = vec![
        elsewhere.to_owned(),
        answer("403 Forbidden", &refusal),
        answer("502 Bad Gateway", "<html>"),
        answer("200 OK", "{\"pending\": []}"),
        flood,
    ];
    let count = cases.len();
    let hub = Hub::start(&desk, cases);
    for _ in 0..count {
        let failed = run(&desk, hub.port, &SIGN).exits(1);
        assert!(!failed.stderr.contains('\x1b') && !failed.stderr.contains(&key), "{}", failed.stderr);
    }
    assert_eq!(hub.requests().len(), count);
}

#[test]
fn another_server_is_not_told_the_key() {
    let (desk, _) = desk();
    let hub = Hub::start(&desk, vec![answer("200 OK", &pending())]);
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    desk.write("hub-cert.pem", &other.cert.pem());
    let failed = run(&desk, hub.port, &SIGN).exits(1);
    assert!(failed.stderr.contains("cannot be reached"), "{}", failed.stderr);
    assert_eq!(hub.requests(), [""], "the handshake ended before any request");

    let host_key = ApiKey::from_random(KeyKind::Host, [3; 10], &[5; 32]);
    desk.write("operator-key", host_key.expose());
    let refused = run(&desk, 1, &SIGN).exits(1);
    assert!(refused.stderr.contains("no operator's key"), "{}", refused.stderr);
    desk.sign(&["--pending", "--hub", "http://127.0.0.1:1"], "").exits(2);
}

/// An air-gapped build has nothing that could open a connection.
#[test]
fn a_build_without_the_feature_has_no_network_crate() {
    let tree = |features: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["tree", "--offline", "-p", "felhom-sign", "-e", "normal", "--prefix", "none"]);
        let output = command.args(features).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let network = ["hyper", "mio", "reqwest", "rustls", "socket2", "tokio"];
    let with = tree(&[]);
    let found = |tree: &str, name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(network.iter().all(|name| found(&with, name)), "the names are those of the real tree");
    let without = tree(&["--no-default-features"]);
    assert!(found(&without, "ed25519-dalek"));
    assert_eq!(network.into_iter().find(|name| found(&without, name)), None);
}
