//! The bytes on the wire, against a peer that answers from a script: what no well-behaved server would do.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use felhom_shared::desired::GuestKind;
use felhom_shared::id::{NodeName, Vmid};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::time::Instant;

use super::*;
use crate::pve::{GuestAt, TaskExit, TaskStatus, Upid};
use crate::tls::{PinSource, client_config, spki_pin_of_pem};

const UPID: &str = "UPID:pve1:00007162:000BBE3F:6B0567B3:vzstart:101:root@pam!lab:";

/// What the peer does with a request it has read.
enum Reply {
    /// Sends a status line's rest and a body of the declared length.
    Answer(&'static str, String),
    /// Sends these bytes and closes.
    Raw(String),
    /// Closes without a word.
    Cut,
    /// Says nothing until the client gives up.
    Stall,
}

struct Peer {
    pve: Pve,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A peer that answers one request on each connection, in the script's order, and then listens no more.
fn peer(script: impl IntoIterator<Item = Reply>) -> Peer {
    let made = rcgen::generate_simple_self_signed(["pve1".to_owned()]).unwrap();
    let pin = spki_pin_of_pem(made.cert.pem().as_bytes()).unwrap();
    peer_with_pin(script, &made, pin)
}

fn peer_with_pin(
    script: impl IntoIterator<Item = Reply>,
    made: &rcgen::CertifiedKey<rcgen::KeyPair>,
    pin: [u8; 32],
) -> Peer {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (config, mut script, log) = (Arc::new(config), script.into_iter().collect(), Arc::clone(&seen));
    thread::spawn(move || serve(&listener, &config, &mut script, &log));

    let token = ApiToken::new("felhom@pve!agent=0f1e2d3c").unwrap();
    let tls = client_config(PinSource::SpkiPins(vec![pin])).unwrap();
    Peer { pve: Pve::new(&base_url, &token, tls, Duration::from_millis(500)).unwrap(), seen }
}

fn serve(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    script: &mut VecDeque<Reply>,
    seen: &Mutex<Vec<String>>,
) {
    while !script.is_empty() {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), tcp);
        // A client that refuses our certificate sends no request and uses up no reply.
        let Some(request) = read_request(&mut stream) else { continue };
        seen.lock().unwrap().push(request);
        let bytes = match script.pop_front().unwrap() {
            Reply::Answer(status, body) => {
                let length = body.len();
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            }
            Reply::Raw(bytes) => bytes,
            Reply::Cut => continue,
            Reply::Stall => {
                let _ = stream.read(&mut [0]);
                continue;
            }
        };
        let _ = stream.write_all(bytes.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}

fn read_request(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= declared.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn ok(data: &str) -> Reply {
    Reply::Answer("200 OK", format!("{{\"data\":{data}}}"))
}

fn pseudo_status() -> Reply {
    Reply::Answer("595 Connection refused", String::new())
}

async fn start(pve: &Pve) -> Result<Upid, PveError> {
    let node = NodeName::new("pve1").unwrap();
    pve.start(GuestAt { node: &node, kind: GuestKind::Lxc, vmid: Vmid::new(101).unwrap() }).await
}

#[tokio::test]
async fn a_changing_call_is_sent_once_whatever_becomes_of_it() {
    let torn = "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"data\":\"UPID:pve1";
    for (reply, said) in [
        (pseudo_status(), "595 Connection refused"),
        (Reply::Cut, "POST /nodes/pve1/lxc/101/status/start"),
        (Reply::Stall, "no answer in time"),
        (Reply::Raw(torn.to_owned()), "POST"),
        (ok("null"), "POST"),
        (Reply::Answer("200 OK", "<html>".to_owned()), "POST"),
    ] {
        let peer = peer([reply, ok("\"never asked for\"")]);
        let error = start(&peer.pve).await.unwrap_err();
        assert!(error.is_outcome_unknown() && error.to_string().contains(said), "{error}");
        assert_eq!(peer.requests().len(), 1);
        assert_eq!((peer.pve.requests(), peer.pve.changing_requests()), (1, 1));
    }
}

#[tokio::test]
async fn a_reading_is_repeated_once_after_a_passing_failure() {
    for passing in [pseudo_status(), Reply::Cut] {
        let peer = peer([passing, ok(r#"{"version":"9.2.11"}"#)]);
        assert_eq!(peer.pve.version().await.unwrap().version, "9.2.11");
        assert_eq!((peer.pve.requests(), peer.pve.changing_requests()), (2, 0));
    }
    let peer = peer([pseudo_status(), pseudo_status(), ok("{}")]);
    assert!(matches!(peer.pve.version().await, Err(PveError::Unreachable { .. })));
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn a_hung_reading_is_not_repeated() {
    let peer = peer([Reply::Stall, ok("{}")]);
    let error = peer.pve.version().await.unwrap_err();
    assert!(
        matches!(&error, PveError::Unreachable { what } if what.contains("no answer in time")),
        "{error}"
    );
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn the_reason_phrase_is_told_where_there_is_no_body() {
    let peer = peer([Reply::Answer("401 Authentication failed!", String::new())]);
    let error = peer.pve.version().await.unwrap_err();
    assert!(
        matches!(&error, PveError::Unauthorized { reason } if reason == "Authentication failed!"),
        "{error}"
    );
}

#[tokio::test]
async fn errors_carry_the_texts_of_the_body() {
    let body =
        r#"{"data":null,"message":"Parameter verification failed.\n","errors":{"upid":"no such task"}}"#;
    let peer = peer([Reply::Answer("400 Parameter verification failed.", body.to_owned())]);
    let node = NodeName::new("pve1").unwrap();
    let status = peer.pve.task_status(&node, &UPID.parse().unwrap()).await.unwrap();
    assert_eq!(status, TaskStatus::Stopped(TaskExit::Unknown("no such task".to_owned())));
}

#[tokio::test]
async fn bodies_have_a_declared_length_and_deletions_have_none() {
    let upid = format!("\"{UPID}\"");
    let peer = peer([ok(&upid), ok(&upid), ok(&upid)]);
    let node = NodeName::new("pve1").unwrap();
    let guest = GuestAt { node: &node, kind: GuestKind::Lxc, vmid: Vmid::new(101).unwrap() };
    peer.pve.start(guest).await.unwrap();
    peer.pve.resize(guest, "rootfs", "2G").await.unwrap();
    peer.pve.destroy(guest).await.unwrap();

    let requests = peer.requests();
    assert!(requests[0].contains("\r\ncontent-length: 0\r\n"), "{}", requests[0]);
    assert!(requests[1].contains("\r\ncontent-length: 19\r\n"), "{}", requests[1]);
    assert!(requests[1].ends_with("\r\n\r\ndisk=rootfs&size=2G"), "{}", requests[1]);
    assert!(
        requests[2]
            .starts_with("DELETE /api2/json/nodes/pve1/lxc/101?purge=1&destroy-unreferenced-disks=0 HTTP")
            && requests[2].ends_with("\r\n\r\n"),
        "{}",
        requests[2]
    );
    for request in requests {
        assert!(!request.to_ascii_lowercase().contains("transfer-encoding"), "{request}");
        assert!(
            request.contains("\r\nauthorization: PVEAPIToken=felhom@pve!agent=0f1e2d3c\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_never_stood_changed_nothing() {
    let refusing = peer([]);
    let error = start(&refusing.pve).await.unwrap_err();
    assert!(matches!(error, PveError::Unreachable { .. }), "{error}");

    let made = rcgen::generate_simple_self_signed(["pve1".to_owned()]).unwrap();
    let stranger = peer_with_pin([ok("null")], &made, [7; 32]);
    let error = start(&stranger.pve).await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, PveError::Unreachable { .. }), "{told}");
    assert!(told.contains("sha256:07070707") && told.contains("intercepted"), "{told}");
    assert!(stranger.requests().is_empty());
}

#[tokio::test]
async fn waiting_for_a_task_outlasts_a_restart_of_pveproxy() {
    let running = || ok(r#"{"status":"running"}"#);
    let ended = ok(r#"{"status":"stopped","exitstatus":"WARNINGS: 1"}"#);
    let peer = peer([running(), pseudo_status(), pseudo_status(), Reply::Cut, running(), ended]);
    let (node, upid) = (NodeName::new("pve1").unwrap(), UPID.parse().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    let status = peer.pve.wait_task(&node, &upid, deadline).await.unwrap();
    assert_eq!(status, TaskStatus::Stopped(TaskExit::Warnings(1)));
}

#[tokio::test]
async fn waiting_for_a_task_ends_at_the_deadline_or_at_a_lasting_error() {
    let running = || ok(r#"{"status":"running"}"#);
    let (node, upid) = (NodeName::new("pve1").unwrap(), UPID.parse().unwrap());
    let slow = peer([running(), running(), running()]);
    assert_eq!(slow.pve.wait_task(&node, &upid, Instant::now()).await.unwrap(), TaskStatus::Running);
    assert_eq!(slow.requests().len(), 1);

    let forbidden = peer([Reply::Answer("403 Permission check failed", String::new())]);
    let deadline = Instant::now() + Duration::from_secs(10);
    let error = forbidden.pve.wait_task(&node, &upid, deadline).await.unwrap_err();
    assert_eq!(error.code(), "pve_forbidden");
}

#[tokio::test]
async fn the_end_of_a_long_log_is_fetched_and_a_missing_log_is_empty() {
    let page = |lines: &str, total: u32| {
        Reply::Answer("200 OK", format!("{{\"data\":[{lines}],\"total\":{total}}}"))
    };
    let (node, upid) = (NodeName::new("pve1").unwrap(), UPID.parse().unwrap());
    let long = peer([
        page(r#"{"n":1,"t":"a"},{"n":2,"t":"b"}"#, 9),
        page(r#"{"n":8,"t":"h"},{"n":9,"t":"TASK OK"}"#, 9),
    ]);
    assert_eq!(long.pve.task_log_tail(&node, &upid, 2).await.unwrap(), ["h", "TASK OK"]);
    assert!(long.requests()[1].contains("log?start=7&limit=2 "), "{}", long.requests()[1]);

    let missing = peer([page(r#"{"n":1,"t":"unable to open file - No such file or directory"}"#, 1)]);
    assert!(missing.pve.task_log_tail(&node, &upid, 20).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let body = "x".repeat(ANSWER_BYTES_MAX + 1);
    let peer = peer([Reply::Answer("200 OK", body)]);
    let error = peer.pve.with_timeout(Duration::from_secs(20)).version().await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}
