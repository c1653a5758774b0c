//! A hub with nothing to say, over real TLS: every poll is answered at once with no news, every report with a cycle
//! every five seconds. It knows nothing of keys, documents or events; where those matter the real hub is used.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use felhom_agent::tls::{pin_text, spki_pin_of_pem};
use felhom_shared::wire::REPORT_PATH;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A hub that listens until the test ends.
pub(crate) struct SmallHub {
    address: SocketAddr,
    /// Its pin as a configuration names it.
    pub(crate) pin: String,
    polls: Arc<AtomicU32>,
}

impl SmallHub {
    pub(crate) fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
        let pin = pin_text(&spki_pin_of_pem(made.cert.pem().as_bytes()).unwrap());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (config, polls) = (Arc::new(config), Arc::new(AtomicU32::new(0)));
        let seen = Arc::clone(&polls);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (config, seen) = (Arc::clone(&config), Arc::clone(&seen));
                thread::spawn(move || serve(tcp, config, &seen));
            }
        });
        Self { address, pin, polls }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Polls seen so far.
    pub(crate) fn polls(&self) -> u32 {
        self.polls.load(Ordering::Relaxed)
    }
}

/// One connection, request after request, until the agent closes it.
fn serve(tcp: TcpStream, config: Arc<ServerConfig>, polls: &AtomicU32) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
    let mut unread = Vec::new();
    while let Some(head) = read_request(&mut stream, &mut unread) {
        let answer = if head.starts_with("GET ") {
            polls.fetch_add(1, Ordering::Relaxed);
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
        } else if head.contains(REPORT_PATH) {
            let body = r#"{"desired_generation":null,"poll_interval_s":5}"#;
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        } else {
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// The head of the next request, its body skipped.
fn read_request(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= whole {
                bytes.drain(..whole);
                return Some(head);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
