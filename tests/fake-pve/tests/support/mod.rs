//! A blocking HTTPS client of thirty lines that shows what libraries hide: reason
//! phrases, cut connections, and whether a connection was closed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fake_pve::FakePve;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{} {}", self.reason, self.body);
        self.json()["data"].clone()
    }
}

/// A client that pins the double's certificate.
pub(crate) struct Client {
    address: std::net::SocketAddr,
    tls: Arc<ClientConfig>,
    authorization: Option<String>,
}

impl Client {
    pub(crate) fn new(fake: &FakePve) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(fake.cert_path()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let authorization = Some(format!("PVEAPIToken={}", fake.token()));
        Self { address: fake.address(), tls: Arc::new(tls), authorization }
    }

    pub(crate) fn with_authorization(&self, authorization: Option<&str>) -> Self {
        Self {
            address: self.address,
            tls: Arc::clone(&self.tls),
            authorization: authorization.map(str::to_owned),
        }
    }

    pub(crate) fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), stream)
    }

    /// The bytes of a request, so that a test can send a broken one.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str, headers: &str) -> String {
        let auth = self.authorization.as_ref().map(|a| format!("Authorization: {a}\r\n")).unwrap_or_default();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        format!("{method} /api2/json{path} HTTP/1.1\r\nHost: pve1\r\n{auth}{length}{headers}\r\n{body}")
    }

    /// One call on a connection of its own; `None` where it was cut without an answer.
    pub(crate) fn try_call(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let kind =
            if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        let mut stream = self.connect();
        let request = self.request(method, path, body, &format!("Content-Type: {kind}\r\n"));
        // A cut connection may fail the write as well.
        let _ = stream.write_all(request.as_bytes());
        read_answer(&mut stream)
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_call(method, path, body).expect("an answer")
    }
}

/// Reads one answer; the connection stays usable.
pub(crate) fn read_answer(stream: &mut impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let length =
        headers.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let mut words = line.splitn(3, ' ');
    let status = words.nth(1)?.parse().ok()?;
    let reason = words.next().unwrap_or_default().to_owned();
    Some(Answer { status, reason, head: head.clone(), body: String::from_utf8(body).ok()? })
}
