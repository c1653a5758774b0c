//! A client that costs little: prepared request bytes, keep-alive connections, one thread, and of the answer only
//! status and length are read.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::hub_child::HubChild;

/// Until every connection is made and has sent something.
const WARM_UP: Duration = Duration::from_millis(500);

/// The requests of one connection, sent in turn for ever; the next round goes on where the last one ended.
#[derive(Debug, Clone)]
pub struct Script {
    requests: Rc<[Rc<[u8]>]>,
    next: Rc<Cell<usize>>,
}

impl Script {
    /// A script at its beginning.
    #[must_use]
    pub fn new(requests: Rc<[Rc<[u8]>]>) -> Self {
        Self { requests, next: Rc::default() }
    }

    fn next(&self) -> &[u8] {
        let at = self.next.get();
        self.next.set((at + 1) % self.requests.len());
        &self.requests[at]
    }
}

/// What one round came to.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Answers a second.
    pub per_second: f64,
    /// Half of the answers took at most this, milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took at most this, milliseconds.
    pub p99_ms: f64,
    /// The hub's CPU time, microseconds a request.
    pub cpu_us: f64,
    /// The hub's writes to disk, KiB a request.
    pub written_kib: f64,
}

/// Sends every connection's script to `hub` for `length` after a warm-up.
#[must_use]
pub fn round(hub: &HubChild, scripts: &[Script], length: Duration) -> Round {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let latencies = Rc::new(RefCell::new(Vec::<u32>::with_capacity(1 << 18)));
    let begin = Instant::now() + WARM_UP;
    let end = begin + length;
    let local = LocalSet::new();
    for script in scripts {
        let (script, latencies, address) = (script.clone(), Rc::clone(&latencies), hub.plain());
        local.spawn_local(async move { connection(address, &script, (begin, end), &latencies).await });
    }
    let (before, after, count) = runtime.block_on(local.run_until(async {
        tokio::time::sleep_until(begin.into()).await;
        let before = (hub.usage(), Instant::now(), latencies.borrow().len());
        tokio::time::sleep_until(end.into()).await;
        let after = (hub.usage(), Instant::now());
        (before, after, latencies.borrow().len() - before.2)
    }));
    // Requests under way are answered before the next rival's turn.
    runtime.block_on(local);
    let mut latencies = latencies.borrow_mut();
    latencies.sort_unstable();
    let at = |share: f64| {
        let place = (latencies.len().saturating_sub(1)) as f64 * share;
        latencies.get(place as usize).map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    };
    let requests = count.max(1) as f64;
    Round {
        per_second: requests / (after.1 - before.1).as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_us: after.0.cpu_us_since(&before.0) / requests,
        written_kib: after.0.written_kib_since(&before.0) / requests,
    }
}

async fn connection(
    address: SocketAddr,
    script: &Script,
    (begin, end): (Instant, Instant),
    latencies: &RefCell<Vec<u32>>,
) {
    let mut stream = TcpStream::connect(address).await.expect("the hub takes connections");
    stream.set_nodelay(true).expect("a socket option");
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let sent = Instant::now();
        if sent >= end {
            return;
        }
        stream.write_all(script.next()).await.expect("the hub reads");
        let status = answer(&mut stream, &mut buffer).await;
        assert_eq!(status, 200, "the hub refuses: {}", String::from_utf8_lossy(&buffer));
        if sent >= begin || Instant::now() >= begin {
            latencies.borrow_mut().push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// Reads one answer whole and returns its status.
pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> u16 {
    buffer.clear();
    let mut whole = usize::MAX;
    while buffer.len() < whole {
        let read = stream.read_buf(buffer).await.expect("the hub answers");
        assert!(read > 0, "the hub closed the connection after {} bytes", buffer.len());
        if whole == usize::MAX
            && let Some(head) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            whole = head + 4 + content_length(&buffer[..head]);
        }
    }
    let status = buffer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    status.and_then(|digits| digits.parse().ok()).expect("an HTTP/1.1 status line")
}

fn content_length(head: &[u8]) -> usize {
    let text = std::str::from_utf8(head).expect("heads are text");
    let line = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |length| length.trim().parse().expect("a number"))
}
