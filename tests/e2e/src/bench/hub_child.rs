//! A hub in a process of its own, so that what it costs can be told from what the load costs.
//!
//! A bench starts its own program again with a hidden first argument; the child serves until its standard input
//! closes, which happens also when the bench is killed. Commands and answers are lines.

#![expect(clippy::print_stdout, reason = "standard output is the line to the bench")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use felhom_hub::config::Config;
use felhom_hub::publish::{Author, publish};
use felhom_hub::router::router;
use felhom_hub::serve;
use felhom_hub::state::AppState;
use felhom_hub::store::{Commit, StoreError, hosts, keys};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::fleet;
use super::usage::Usage;

/// The first argument of a child.
const ROLE: &str = "hub-child";
/// Longer than any bench: what the hub does by the clock is not what is measured.
const NEVER_S: u64 = 3600;

/// Which hub.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubKind {
    /// How many hosts of the fleet it knows.
    pub hosts: u32,
    /// Most requests in one transaction; `None` for the product's own number.
    pub batch_max: Option<usize>,
    /// A transaction for every request, on a pool of so many connections; `None` for the product's one writer.
    pub connections: Option<usize>,
    /// What every commit takes longer, milliseconds.
    pub slowed_by_ms: u64,
    /// Reports are answered without being stored.
    pub no_database: bool,
    /// Plain HTTP by `axum::serve` in place of the hub's own listener.
    pub axum_serve: bool,
}

impl HubKind {
    /// The hub as it is, with so many hosts.
    #[must_use]
    pub fn product(hosts: u32) -> Self {
        Self {
            hosts,
            batch_max: None,
            connections: None,
            slowed_by_ms: 0,
            no_database: false,
            axum_serve: false,
        }
    }
}

/// Where a child listens.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    plain: SocketAddr,
    tls: SocketAddr,
    pin: String,
}

/// A running child. Dropping it ends it.
#[derive(Debug)]
pub struct HubChild {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    ready: Ready,
}

impl HubChild {
    /// Starts this program again as a hub, and waits until it serves.
    #[must_use]
    pub fn start(kind: &HubKind) -> Self {
        let program = std::env::current_exe().expect("a running program has a path");
        let kind = serde_json::to_string(kind).expect("plain data");
        let mut child = Command::new(program)
            .args([ROLE, &kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("a pipe reads");
        let ready = serde_json::from_str(&line).expect("the child says where it listens");
        Self { child, commands, answers, ready }
    }

    /// Its plain listener.
    #[must_use]
    pub fn plain(&self) -> SocketAddr {
        self.ready.plain
    }

    /// Its TLS listener, and the pin it is known by.
    #[must_use]
    pub fn tls(&self) -> (SocketAddr, &str) {
        (self.ready.tls, &self.ready.pin)
    }

    /// What it has cost so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// Tells it to do something.
    pub fn command(&mut self, word: &str) {
        let commands = self.commands.as_mut().expect("open until it is dropped");
        writeln!(commands, "{word}").expect("the child listens");
    }

    /// Waits until it has done it.
    pub fn done(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a pipe reads");
        assert_eq!(line.trim(), "done", "the hub child did not do as told");
    }
}

impl Drop for HubChild {
    fn drop(&mut self) {
        drop(self.commands.take());
        // It has no reason to stay; if it was killed, that is its end as well.
        let _ = self.child.wait();
    }
}

/// Runs the child's part if this process is one. To be called first in every bench that starts hubs.
#[must_use]
pub fn is_child() -> bool {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(ROLE) {
        return false;
    }
    let kind: HubKind = serde_json::from_str(&args.next().unwrap_or_default()).expect("the bench says which");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    runtime.block_on(serve_until_told(kind));
    true
}

async fn serve_until_told(kind: HubKind) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config {
        listen: loopback,
        listen_plain: Some(loopback),
        data_dir: folder.path().to_owned(),
        check_every_s: NEVER_S,
        flush_every_s: NEVER_S,
        ..Config::default()
    };
    let state = serve::open(&config).await.expect("a fresh store opens");
    enrol(&state, kind.hosts).await;
    drop(state);
    let usual = Commit::default();
    config.commit = Commit {
        batch_max: kind.batch_max.unwrap_or(usual.batch_max),
        slowed_by: Duration::from_millis(kind.slowed_by_ms),
        connections: kind.connections,
        nothing: kind.no_database,
    };
    let hub = serve::start(config).await.expect("the hub starts");
    let plain = if kind.axum_serve {
        let listener = TcpListener::bind(loopback).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let service = router(hub.state.clone());
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    } else {
        hub.plain_addr.expect("it was asked for")
    };
    let ready = Ready { plain, tls: hub.local_addr, pin: hub.pin.clone() };
    println!("{}", serde_json::to_string(&ready).expect("plain data"));
    obey(&hub.state, kind.hosts).await;
    // The folder goes with the process; nothing in it needs an orderly end.
    drop(hub);
}

async fn obey(state: &AppState, hosts: u32) {
    let (send, mut words) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for word in std::io::stdin().lines().map_while(Result::ok) {
            if send.send(word).is_err() {
                return;
            }
        }
    });
    while let Some(word) = words.recv().await {
        match word.as_str() {
            "publish" => publish_to_all(state, hosts).await,
            "wake" => state.reload_all().await.expect("the store reads"),
            other => panic!("no command {other}"),
        }
        println!("done");
    }
}

async fn enrol(state: &AppState, number_of_hosts: u32) {
    let made: Vec<_> = (0..number_of_hosts)
        .map(|number| {
            let key = fleet::key(number);
            (fleet::host_id(number), format!("host-{number}"), key.lookup().to_owned(), state.keys.hmac(&key))
        })
        .collect();
    let write = move |sql: &rusqlite::Connection| {
        for (host_id, name, lookup, hmac) in &made {
            hosts::add(sql, *host_id, name, None, 0)?;
            keys::replace_host_key(sql, *host_id, lookup, hmac, 0)?;
        }
        Ok::<_, StoreError>(())
    };
    state.store.write(write).await.expect("a fresh store takes hosts");
}

async fn publish_to_all(state: &AppState, number_of_hosts: u32) {
    let document = crate::document([crate::lxc(101, "web"), crate::lxc(102, "db")]);
    let bytes = serde_json::to_vec(&document).expect("a document is plain data");
    let author = Author { name: "bench".to_owned(), note: None };
    let write = move |sql: &rusqlite::Connection| {
        for number in 0..number_of_hosts {
            let host = hosts::get(sql, fleet::host_id(number))?.expect("it was enrolled");
            publish(sql, &host, &bytes, &author, false).expect("a good document");
        }
        Ok::<_, StoreError>(())
    };
    state.store.write(write).await.expect("the store takes documents");
}
