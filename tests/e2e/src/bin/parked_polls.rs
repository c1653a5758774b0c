//! What a parked long poll costs the hub in memory, and waking it in CPU: the hub's own listener beside the same
//! router under `axum::serve`. TLS for information.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use felhom_agent::tls::{PinSource, client_config, parse_pin};
use felhom_tests::bench::fleet::poll_request;
use felhom_tests::bench::hub_child::{HubChild, HubKind, is_child};
use felhom_tests::bench::load::answer;
use felhom_tests::bench::table::{Claim, median, number, print, print_claims, say};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ROUNDS: usize = 3;
const POLLS_WANTED: u32 = 10_000;
/// Handshakes are not what is measured, and they are slow.
const POLLS_TLS: u32 = 2000;
const CONNECTING_AT_ONCE: usize = 256;
/// Files that are not connections.
const FILES_BESIDE: u64 = 500;

#[derive(Debug, Clone, Copy)]
struct Cost {
    rss_kib: f64,
    pss_kib: f64,
    wake_cpu_us: f64,
    wake_all_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Hub,
    Axum,
    Tls,
}

fn main() {
    if is_child() {
        return;
    }
    say("## parked_polls\n");
    let polls = polls_possible();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut own, mut axum, mut tls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(runtime.block_on(measure(Listener::Hub, polls)));
        axum.push(runtime.block_on(measure(Listener::Axum, polls)));
        tls.push(runtime.block_on(measure(Listener::Tls, polls.min(POLLS_TLS))));
    }
    let rows = [
        row("the hub's listener", polls, &own),
        row("axum::serve", polls, &axum),
        row("the hub's listener, TLS", polls.min(POLLS_TLS), &tls),
    ];
    print(&["variant", "polls", "RSS KiB/poll", "PSS KiB/poll", "wake µs CPU", "waking all, ms"], &rows);
    let rss = |costs: &[Cost]| median(costs.iter().map(|cost| cost.rss_kib));
    let wake = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wake_cpu_us));
    print_claims(&[
        Claim::at_most("memory of a parked poll", rss(&own), 12.0, ("KiB", "≤ 12 KiB"))
            .beside(format!("{} KiB", number(rss(&axum)))),
        Claim::at_most("CPU to wake one", wake(&own), 20.0, ("µs", "≤ 20 µs"))
            .beside(format!("{} µs", number(wake(&axum)))),
    ]);
}

fn row(name: &str, polls: u32, costs: &[Cost]) -> Vec<String> {
    let figures: [fn(&Cost) -> f64; 4] =
        [|cost| cost.rss_kib, |cost| cost.pss_kib, |cost| cost.wake_cpu_us, |cost| cost.wake_all_ms];
    let mut row = vec![name.to_owned(), polls.to_string()];
    row.extend(figures.iter().map(|figure| number(median(costs.iter().map(figure)))));
    row
}

/// As many as wanted, or as many as this process may hold open.
fn polls_possible() -> u32 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a process has limits");
    let most = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    u32::try_from(most.saturating_sub(FILES_BESIDE)).unwrap_or(u32::MAX).min(POLLS_WANTED)
}

async fn measure(listener: Listener, polls: u32) -> Cost {
    let kind = HubKind { axum_serve: listener == Listener::Axum, ..HubKind::product(polls) };
    let mut hub = HubChild::start(&kind);
    quiet(&hub).await;
    let empty = hub.usage();
    let (address, connector) = match listener {
        Listener::Tls => (hub.tls().0, Some(connector(hub.tls().1))),
        Listener::Hub | Listener::Axum => (hub.plain(), None),
    };
    // A listener's backlog is short.
    let permits = Arc::new(Semaphore::new(CONNECTING_AT_ONCE));
    let (mut parked, sent) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
    for number in 0..polls {
        let (connector, permits, sent) = (connector.clone(), Arc::clone(&permits), Arc::clone(&sent));
        parked.spawn(async move {
            let permit = permits.acquire_owned().await.expect("nobody closes it");
            let stream = TcpStream::connect(address).await.expect("the hub takes connections");
            // Thousands of connections are closed at once; none of them lingers.
            stream.set_zero_linger().expect("a socket option");
            match connector {
                None => Connection::Plain(poll(stream, number, (permit, sent)).await),
                Some(connector) => {
                    let name = "localhost".try_into().expect("a name");
                    let stream = connector.connect(name, stream).await.expect("the pin fits");
                    Connection::Tls(Box::new(poll(stream, number, (permit, sent)).await))
                }
            }
        });
    }
    while sent.load(Ordering::Relaxed) < polls {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    quiet(&hub).await;
    let full = hub.usage();
    hub.command("publish");
    hub.done();
    quiet(&hub).await;
    let (asleep, begun) = (hub.usage(), Instant::now());
    hub.command("wake");
    let mut answered = Vec::with_capacity(polls as usize);
    while let Some(woken) = parked.join_next().await {
        answered.push(woken.expect("every poll is answered"));
    }
    // An agent keeps its connection; ending ten thousand of them is not what is measured.
    let (awake, took) = (hub.usage(), begun.elapsed());
    drop(answered);
    hub.done();
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / f64::from(polls);
    Cost {
        rss_kib: each(empty.rss_kib, full.rss_kib),
        pss_kib: each(empty.pss_kib, full.pss_kib),
        wake_cpu_us: awake.cpu_us_since(&asleep) / f64::from(polls),
        wake_all_ms: took.as_secs_f64() * 1e3,
    }
}

fn connector(pin: &str) -> TlsConnector {
    let pin = parse_pin(pin).expect("a hub's pin");
    let tls = client_config(PinSource::SpkiPins(vec![pin])).expect("a client can be made");
    TlsConnector::from(Arc::new(tls))
}

/// Held open, never read again.
#[expect(dead_code, reason = "it is there to be held")]
enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

async fn poll<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    number: u32,
    (permit, sent): (OwnedSemaphorePermit, Arc<AtomicU32>),
) -> S {
    stream.write_all(&poll_request(number)).await.expect("the hub reads");
    drop(permit);
    sent.fetch_add(1, Ordering::Relaxed);
    let mut buffer = Vec::new();
    let status = answer(&mut stream, &mut buffer).await;
    assert_eq!(status, 200, "the hub refuses: {}", String::from_utf8_lossy(&buffer));
    stream
}

/// Waits until the hub has nothing left to do.
async fn quiet(hub: &HubChild) {
    let mut before = hub.usage();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = hub.usage();
        if now.cpu_us_since(&before) < 2000.0 {
            return;
        }
        before = now;
    }
}
