//! A hub that answers whatever a test puts into its mouth, over real TLS. What an agent tells it, it keeps.
//!
//! It knows nothing of keys, generations or stores: where those matter the real hub is used.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use felhom_shared::event::Event;
use felhom_shared::report::HostReport;
use felhom_shared::wire::{EVENTS_PATH, EventsAck, EventsPost, POLL_PATH, REPORT_PATH};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::document::host_id;

/// What the next polls are answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Any bytes at all.
    pub body: Bytes,
}

impl Answer {
    /// A document in a proper envelope for this test's host.
    #[must_use]
    pub fn document(generation: u64, document: &str) -> Self {
        let body = format!(
            r#"{{"host_id":"{}","generation":{generation},"desired":{document},"poll_interval_s":5}}"#,
            host_id()
        );
        Self { status: 200, body: body.into() }
    }

    /// Nothing new.
    #[must_use]
    pub fn nothing() -> Self {
        Self { status: 204, body: Bytes::new() }
    }
}

#[derive(Debug)]
struct Shared {
    /// The answer, and how often it may still be given.
    answer: watch::Sender<(Answer, u32)>,
    told: Mutex<Told>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    reports: Vec<HostReport>,
    events: Vec<Event>,
    polls: Vec<String>,
}

/// A hub at work. Dropping it stops it.
#[derive(Debug)]
pub struct HostileHub {
    address: SocketAddr,
    certificate: Certificate,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl HostileHub {
    /// A hub that has nothing to say yet.
    #[must_use]
    pub fn start() -> Self {
        let certificate = Certificate::fresh();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("a fresh socket");
        let address = socket.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            answer: watch::Sender::new((Answer::nothing(), 0)),
            told: Mutex::default(),
            news: Condvar::new(),
        });
        let (stop, stopped) = oneshot::channel();
        let acceptor = TlsAcceptor::from(Arc::clone(&certificate.server));
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime on this thread");
                runtime.block_on(async move {
                    let listener = TcpListener::from_std(socket).expect("a non-blocking socket");
                    tokio::select! {
                        () = accept(listener, acceptor, shared) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        Self { address, certificate, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address and its key's pin.
    #[must_use]
    pub fn at(&self) -> (String, String) {
        (format!("https://{}", self.address), self.certificate.pin.clone())
    }

    /// Answers the poll that waits, or the next one, with this; after that it is silent again.
    pub fn say(&self, answer: Answer) {
        self.shared.answer.send_replace((answer, 1));
    }

    /// Whether the last answer still waits for a poll.
    #[must_use]
    pub fn has_something_to_say(&self) -> bool {
        self.shared.answer.borrow().1 > 0
    }

    /// The first report told after this call that `fits`; panics when `patience` is over.
    #[track_caller]
    pub fn next_report(&self, patience: Duration, fits: impl Fn(&HostReport) -> bool) -> HostReport {
        let told = self.shared.told.lock().expect("no holder panics");
        let seen = told.reports.len();
        let (told, timeout) = self
            .shared
            .news
            .wait_timeout_while(told, patience, |told| !told.reports[seen..].iter().any(&fits))
            .expect("no holder panics");
        assert!(!timeout.timed_out(), "no such report in {patience:?}; the last: {:?}", told.reports.last());
        told.reports[seen..].iter().find(|report| fits(report)).cloned().expect("it has just been seen")
    }

    /// The newest report.
    #[must_use]
    pub fn last_report(&self) -> Option<HostReport> {
        self.shared.told.lock().expect("no holder panics").reports.last().cloned()
    }

    /// All events told.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.told.lock().expect("no holder panics").events.clone()
    }

    /// The query strings of all polls.
    #[must_use]
    pub fn polls(&self) -> Vec<String> {
        self.shared.told.lock().expect("no holder panics").polls.clone()
    }
}

impl Drop for HostileHub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has already been printed.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| serve(Arc::clone(&shared), request));
            // A client that hangs up is no concern of the hub's.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let Answer { status, body } = if path == POLL_PATH {
        let query = request.uri().query().unwrap_or_default().to_owned();
        shared.told.lock().expect("no holder panics").polls.push(query);
        next_answer(&shared).await
    } else {
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let json = zstd::stream::decode_all(body.as_ref()).unwrap_or_default();
        Answer { status: 200, body: hear(&shared, &path, &json).into() }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a test names a status");
    Ok(response)
}

async fn next_answer(shared: &Shared) -> Answer {
    let mut answers = shared.answer.subscribe();
    loop {
        let mut taken = None;
        shared.answer.send_if_modified(|(answer, left)| {
            if *left > 0 {
                *left -= 1;
                taken = Some(answer.clone());
            }
            false
        });
        if let Some(answer) = taken {
            return answer;
        }
        if answers.changed().await.is_err() {
            return Answer::nothing();
        }
    }
}

fn hear(shared: &Shared, path: &str, json: &[u8]) -> String {
    let mut told = shared.told.lock().expect("no holder panics");
    let answer = match path {
        REPORT_PATH => {
            told.reports.push(serde_json::from_slice(json).expect("an agent's report reads"));
            r#"{"desired_generation":null,"poll_interval_s":5}"#.to_owned()
        }
        EVENTS_PATH => {
            let post: EventsPost = serde_json::from_slice(json).expect("an agent's events read");
            let acked_seq = post.events.last().map_or(0, |event| event.seq);
            told.events.extend(post.events);
            serde_json::to_string(&EventsAck { acked_seq }).expect("a number")
        }
        other => panic!("the agent asked for {other}"),
    };
    shared.news.notify_all();
    answer
}
