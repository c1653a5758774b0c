//! HTTPS to one peer: connections are opened when they are needed, kept while they are warm, and closed when told.
//!
//! Written on hyper's connections rather than on a client library with a pool of its own, for two reasons. The
//! moment before which nothing was sent is visible here, and on it hangs whether a changing call may be repeated.
//! And nothing here has a timer of its own: a box where nothing happens is not woken to look after idle
//! connections. Follows no redirect, uses no proxy, knows no plain HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use felhom_shared::text::chain;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_rustls::TlsConnector;

type Sender = SendRequest<Full<Bytes>>;

/// A quiet connection is asked whether it still stands: below the idle limits of common NATs.
const KEEPALIVE_S: u32 = 60;

/// How a peer is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// For opening a connection, handshake included.
    pub(crate) connect_timeout: Duration,
    /// A connection idle for longer is not used again: the peer is about to close it.
    pub(crate) idle_max: Duration,
    /// Connections kept.
    pub(crate) idle_connections_max: usize,
}

/// A server, and the connections to it.
pub(crate) struct Peer {
    host: String,
    port: u16,
    path: String,
    name: ServerName<'static>,
    header: HeaderValue,
    tls: TlsConnector,
    manners: Manners,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

/// The address of a peer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an address like https://host:port")]
pub(crate) struct NotAnAddress(String);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// No connection stood, so nothing was sent.
    #[error("the exchange failed: {0}")]
    NotSent(String),
    /// The exchange broke off after the request had begun to leave.
    #[error("the exchange failed: {0}")]
    Broken(String),
    /// The time was over after the request had begun to leave.
    #[error("no answer in time")]
    TimedOut,
    /// The peer would not stop talking.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// From the connection's being there to the end of the answer.
    pub(crate) time: Duration,
    /// The longest answer.
    pub(crate) bytes: usize,
}

/// An answer, read to its end. Of a refusal's body that was cut there is nothing: its status has already spoken.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// The status line's words.
    pub(crate) reason: String,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Peer {
    /// The server at `url`, known by what `tls` pins. Connects on first use.
    pub(crate) fn new(url: &str, tls: rustls::ClientConfig, manners: Manners) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(url.to_owned());
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            port: authority.port_u16().unwrap_or(443),
            path: uri.path().trim_end_matches('/').to_owned(),
            name: ServerName::try_from(host.clone()).map_err(|_| wrong())?,
            header: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            host,
            tls: TlsConnector::from(Arc::new(tls)),
            manners,
            idle: Mutex::default(),
        })
    }

    /// Sends a request, whose address is a path below the peer's, and reads the answer.
    ///
    /// A kept connection that turns out closed before anything was written is no failure: another is opened.
    pub(crate) async fn exchange(
        &self,
        request: Builder,
        (path, body): (&str, Bytes),
        allowance: Allowance,
    ) -> Result<Answer, ExchangeError> {
        let mut request = request
            .uri(format!("{}{path}", self.path))
            .header(HOST, self.header.clone())
            .body(Full::new(body))
            .map_err(|error| ExchangeError::NotSent(chain(&error)))?;
        while let Some(sender) = self.kept() {
            match self.send(sender, request, allowance).await {
                Sent::Over(outcome) => return outcome,
                Sent::Not(unsent, _) => request = unsent,
            }
        }
        let sender = Box::pin(self.connect()).await.map_err(ExchangeError::NotSent)?;
        match self.send(sender, request, allowance).await {
            Sent::Over(outcome) => outcome,
            Sent::Not(_, why) => Err(ExchangeError::NotSent(why)),
        }
    }

    /// Closes what is idle, instead of being woken by the peer's doing so.
    pub(crate) fn hang_up(&self) {
        self.idle().clear();
    }

    /// The warmest kept connection that may still be used.
    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < self.manners.idle_max);
        idle.pop().map(|(sender, _)| sender)
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle();
        if !sender.is_closed() && idle.len() < self.manners.idle_connections_max {
            idle.push((sender, Instant::now()));
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Sender, Instant)>> {
        // Connections are pushed and popped whole, so a panic elsewhere has left nothing half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, mut sender: Sender, request: Request<Full<Bytes>>, allowance: Allowance) -> Sent {
        let deadline = Deadline::now() + allowance.time;
        if let Err(error) = sender.ready().await {
            return Sent::Not(request, chain(&error));
        }
        let response = match timeout_at(deadline, sender.try_send_request(request)).await {
            Err(_) => return Sent::Over(Err(ExchangeError::TimedOut)),
            Ok(Err(mut error)) => {
                let why = chain(error.error());
                return match error.take_message() {
                    Some(unsent) => Sent::Not(unsent, why),
                    None => Sent::Over(Err(ExchangeError::Broken(why))),
                };
            }
            Ok(Ok(response)) => response,
        };
        let answer = timeout_at(deadline, read(response, allowance.bytes)).await;
        let answer = answer.unwrap_or(Err(ExchangeError::TimedOut));
        if answer.is_ok() {
            self.keep(sender);
        }
        Sent::Over(answer)
    }

    async fn connect(&self) -> Result<Sender, String> {
        let deadline = Deadline::now() + self.manners.connect_timeout;
        let late = |_| "no connection in time".to_owned();
        let tcp = timeout_at(deadline, self.reach()).await.map_err(late)??;
        // Neither is worth failing for.
        let _ = (tcp.set_nodelay(true), keep_alive(&tcp));
        let tls = timeout_at(deadline, self.tls.connect(self.name.clone(), tcp)).await.map_err(late)?;
        let stream = TokioIo::new(tls.map_err(|error| chain(&error))?);
        let (sender, connection) = handshake(stream).await.map_err(|error| chain(&error))?;
        // Its failures reach whoever waits for an answer on it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    /// Tries each of the host's addresses, none for so long that the others have no time left.
    async fn reach(&self) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((&*self.host, self.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|error| chain(&error))?.collect();
        let share = self.manners.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut why = "its name has no address".to_owned();
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => why = format!("tcp connect error: {address}: {error}"),
                Err(_) => why = format!("tcp connect error: {address}: no connection in time"),
            }
        }
        Err(why)
    }
}

/// What became of a request on one connection.
enum Sent {
    /// Nothing was written; it can go elsewhere.
    Not(Request<Full<Bytes>>, String),
    /// It was answered, or nobody can tell.
    Over(Result<Answer, ExchangeError>),
}

fn keep_alive(tcp: &TcpStream) -> nix::Result<()> {
    setsockopt(tcp, sockopt::KeepAlive, &true)?;
    setsockopt(tcp, sockopt::TcpKeepIdle, &KEEPALIVE_S)
}

async fn read(response: Response<Incoming>, bytes_max: usize) -> Result<Answer, ExchangeError> {
    let (head, body) = response.into_parts();
    let reason = match head.extensions.get::<hyper::ext::ReasonPhrase>() {
        Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
        None => head.status.canonical_reason().unwrap_or_default().to_owned(),
    };
    let body = match read_body(body, bytes_max).await {
        Err(error) if head.status.is_success() => return Err(error),
        read => read.unwrap_or_default(),
    };
    Ok(Answer { status: head.status, reason, headers: head.headers, body })
}

async fn read_body(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, ExchangeError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ExchangeError::Broken(chain(&error)))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(ExchangeError::TooLong(bytes_max));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{PinSource, client_config};

    fn peer(url: &str) -> Result<Peer, NotAnAddress> {
        let tls = client_config(PinSource::SpkiPins(vec![[1; 32]])).unwrap();
        let second = Duration::from_secs(1);
        Peer::new(url, tls, Manners { connect_timeout: second, idle_max: second, idle_connections_max: 1 })
    }

    #[test]
    fn addresses_are_taken_apart() {
        let peer_at = |url| peer(url).unwrap();
        let hub = peer_at("https://hub.example/felhom/");
        assert_eq!((&*hub.host, hub.port, &*hub.path), ("hub.example", 443, "/felhom"));
        let node = peer_at("https://[::1]:8006");
        assert_eq!((&*node.host, node.port, &*node.path), ("::1", 8006, ""));
        assert_eq!(node.header, "[::1]:8006");
    }

    #[test]
    fn what_is_no_https_address_is_refused() {
        for url in ["http://hub", "hub", "", "https://", "https://a@hub", "https://hub/?x=1", "https://h ub"]
        {
            assert!(peer(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_has_sent_nothing() {
        let peer = peer("https://127.0.0.1:1").unwrap();
        let allowance = Allowance { time: Duration::from_secs(1), bytes: 10 };
        let outcome = peer.exchange(Request::builder(), ("/", Bytes::new()), allowance).await;
        let Err(ExchangeError::NotSent(why)) = outcome else { panic!("something was sent") };
        assert!(why.contains("127.0.0.1:1"), "{why}");
    }
}
