//! A hub in the wrong hands: it holds the true key of its certificate, says anything at all to a poll, a report or a
//! post of events, and writes down what the agent tells it.
//!
//! Unlike the library's hostile hub it knows headers, bodies without end and receipts, and never hands to one agent
//! what was meant for the next.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use felhom_shared::event::Event;
use felhom_shared::report::HostReport;
use felhom_shared::wire::{EVENTS_PATH, EventsAck, EventsPost, OPS_PATH, OpReceipt, POLL_PATH, REPORT_PATH};
use felhom_tests::{Certificate, host_id};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;

const GIB: usize = 1 << 30;
const CHUNK: &[u8] = &[b'['; 64 * 1024];

/// What a call is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    location: Option<String>,
    body: Option<Bytes>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, location: None, body: Some(body.into()) }
    }

    /// A poll's answer: `members` stand in it beside whose it is and how often to come.
    pub(crate) fn poll(members: &str) -> Self {
        Self::new(200, format!(r#"{{"host_id":"{}",{members}"poll_interval_s":5}}"#, host_id()))
    }

    pub(crate) fn document(generation: u64, document: &str) -> Self {
        Self::poll(&format!(r#""generation":{generation},"desired":{document},"#))
    }

    /// The same, said to be another host's.
    pub(crate) fn for_host(mut self, other: &str) -> Self {
        let text = String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned();
        self.body = Some(text.replace(&host_id().to_string(), other).into());
        self
    }

    pub(crate) fn elsewhere(url: &str) -> Self {
        Self { location: Some(url.to_owned()), ..Self::new(302, "") }
    }

    /// A gibibyte in pieces, whose length nobody was told.
    pub(crate) fn endless() -> Self {
        Self { body: None, ..Self::new(200, "") }
    }

    fn into_response(self) -> Response<BoxBody<Bytes, Infallible>> {
        let mut response = Response::builder().status(self.status);
        if let Some(location) = self.location {
            response = response.header("location", location);
        }
        let body = match self.body {
            Some(body) => Full::new(body).boxed(),
            None => {
                let pieces = (0..GIB / CHUNK.len()).map(|_| Ok(Frame::data(Bytes::from_static(CHUNK))));
                StreamBody::new(futures_util::stream::iter(pieces)).boxed()
            }
        };
        response.body(body).expect("a test names a status")
    }
}

/// What the hub says next, and to which agent.
#[derive(Debug, Default)]
struct Mouth {
    polls: VecDeque<Answer>,
    report: Option<Answer>,
    events: Option<Answer>,
    agents: u32,
}

/// Everything the hub was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) reports: Vec<HostReport>,
    pub(crate) events: Vec<Event>,
    pub(crate) receipts: Vec<(String, OpReceipt)>,
    pub(crate) polls: usize,
}

#[derive(Debug, Default)]
struct Shared {
    mouth: Mutex<Mouth>,
    told: Mutex<Told>,
    news: Notify,
}

/// The hub at work. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Hub {
    address: SocketAddr,
    pin: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hub {
    pub(crate) fn start() -> Self {
        let certificate = Certificate::fresh();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("a fresh socket");
        let (address, shared) = (socket.local_addr().expect("a bound socket"), Arc::<Shared>::default());
        let (stop, stopped) = oneshot::channel();
        let (acceptor, pin) = (TlsAcceptor::from(certificate.server), certificate.pin);
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime on this thread").block_on(async move {
                let listener = TcpListener::from_std(socket).expect("a non-blocking socket");
                tokio::select! {
                    () = accept(listener, acceptor, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, pin, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address and its key's pin.
    pub(crate) fn at(&self) -> (String, String) {
        (format!("https://{}", self.address), self.pin.clone())
    }

    /// Answers the next polls with these, one each, and then lets them wait.
    pub(crate) fn say(&self, answers: impl IntoIterator<Item = Answer>) {
        self.mouth().polls.extend(answers);
        self.shared.news.notify_waiters();
    }

    /// Whether there is something left that no poll has fetched.
    pub(crate) fn has_something_to_say(&self) -> bool {
        !self.mouth().polls.is_empty()
    }

    /// Answers every report so from now on, or properly again.
    pub(crate) fn answer_reports(&self, answer: Option<Answer>) {
        self.mouth().report = answer;
    }

    /// Answers every post of events so from now on, or properly again.
    pub(crate) fn answer_events(&self, answer: Option<Answer>) {
        self.mouth().events = answer;
    }

    /// What was said is forgotten, and polls of the agents so far are never answered.
    pub(crate) fn expect_another_agent(&self) {
        let mut mouth = self.mouth();
        mouth.agents += 1;
        mouth.polls.clear();
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.shared.told.lock().expect("no holder panics")
    }

    fn mouth(&self) -> MutexGuard<'_, Mouth> {
        self.shared.mouth.lock().expect("no holder panics")
    }
}

impl Drop for Hub {
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

async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let answer = if path == POLL_PATH {
        shared.told.lock().expect("no holder panics").polls += 1;
        next(&shared).await
    } else {
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        hear(&shared, &path, &zstd::stream::decode_all(body.as_ref()).unwrap_or_default())
    };
    Ok(answer.into_response())
}

async fn next(shared: &Shared) -> Answer {
    let agent = shared.mouth.lock().expect("no holder panics").agents;
    loop {
        // Registered before looking: what is said between look and wait is not missed.
        let mut news = std::pin::pin!(shared.news.notified());
        news.as_mut().enable();
        {
            let mut mouth = shared.mouth.lock().expect("no holder panics");
            if mouth.agents == agent
                && let Some(answer) = mouth.polls.pop_front()
            {
                return answer;
            }
        }
        news.await;
    }
}

fn hear(shared: &Shared, path: &str, json: &[u8]) -> Answer {
    let mut told = shared.told.lock().expect("no holder panics");
    let mouth = shared.mouth.lock().expect("no holder panics");
    match path {
        REPORT_PATH => {
            told.reports.push(serde_json::from_slice(json).expect("an agent's report reads"));
            let proper = r#"{"desired_generation":null,"poll_interval_s":5}"#;
            mouth.report.clone().unwrap_or_else(|| Answer::new(200, proper))
        }
        EVENTS_PATH => {
            let post: EventsPost = serde_json::from_slice(json).expect("an agent's events read");
            let acked_seq = post.events.last().map_or(0, |event| event.seq);
            told.events.extend(post.events);
            let proper = serde_json::to_vec(&EventsAck { acked_seq }).expect("a number");
            mouth.events.clone().unwrap_or_else(|| Answer::new(200, proper))
        }
        other => {
            let op_id = other.strip_prefix(OPS_PATH).and_then(|rest| rest.strip_suffix("/state"));
            let op_id = op_id.unwrap_or_else(|| panic!("the agent asked for {other}"));
            let receipt = serde_json::from_slice(json).expect("an agent's receipt reads");
            told.receipts.push((op_id.trim_matches('/').to_owned(), receipt));
            Answer::new(204, "")
        }
    }
}
