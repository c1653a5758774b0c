//! What the agent costs a box where nothing happens, beside Debian's node-exporter in the same minutes: memory, CPU,
//! wake-ups, what is written to disk, and the size of the program.
//!
//! Each agent runs from a copy of the program of its own, or they would share pages that on a box nobody shares.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake_pve::{FakePve, Options};
use felhom_hub::config::Config;
use felhom_hub::publish::{Author, publish};
use felhom_hub::serve::{self, Running};
use felhom_hub::store::{StoreError, hosts, keys};
use felhom_tests::bench::fleet::{host_id, key};
use felhom_tests::bench::table::{Claim, number, print, print_claims, say};
use felhom_tests::bench::usage::Usage;
use felhom_tests::{document, lxc};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";
const GUESTS: u32 = 5;
const SCRAPED_EVERY: Duration = Duration::from_secs(10);
/// At a cycle a minute, jittered: long enough for three.
const WINDOW: Duration = Duration::from_secs(180);
const PATIENCE: Duration = Duration::from_secs(60);
/// What a program does once after its start is not idling, and neither is the slowest one's next cycle, which tells the
/// last of it.
const SETTLE: Duration = Duration::from_secs(75);

/// How often an agent does what.
struct Rhythm {
    name: &'static str,
    cycle_s: u64,
    poll_s: u64,
}

/// The first is what the targets are about (docs/decisions/0006): they were set with prototypes that polled every 10 s
/// and ran no cycles.
const RHYTHMS: [Rhythm; 3] = [
    Rhythm { name: "felhom-agent, cycle every 60 s, hub polled every 10 s", cycle_s: 60, poll_s: 10 },
    Rhythm {
        name: "felhom-agent as shipped: cycle every 60 s, poll parked for 50 s",
        cycle_s: 60,
        poll_s: 50,
    },
    Rhythm { name: "felhom-agent, cycle and report every 10 s (not judged)", cycle_s: 10, poll_s: 50 },
];

fn main() {
    say("## agent_idle\n");
    let Some(program) = agent_program() else {
        say("SKIPPED: build the agent first, `cargo build --profile small -p felhom-agent`");
        return;
    };
    assert_eq!(Config::default().poll_interval_s, 60, "the rhythm that is called shipped is another");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can be had");
    let houses = RHYTHMS.map(|rhythm| House::start(&runtime, &program, &rhythm));
    let exporter = exporter();
    let scraped = exporter.as_ref().map(|(_, address)| *address);
    let children: Vec<&Ended> =
        houses.iter().map(|house| &house.agent).chain(exporter.iter().map(|(child, _)| child)).collect();
    let read = || children.iter().map(|child| Usage::of(child.0.id())).collect::<Vec<_>>();
    scrape_for(SETTLE, scraped);
    let before = read();
    scrape_for(WINDOW, scraped);
    let after = read();
    let programs = [&*program; RHYTHMS.len()].into_iter().chain([Path::new(EXPORTER)]);
    let idle = before.iter().zip(&after).zip(programs);
    let idle: Vec<Idle> = idle.map(|(usages, program)| Idle::of(usages, WINDOW, program)).collect();
    for house in houses {
        house.end(&runtime);
    }
    drop(exporter);
    let names = RHYTHMS.iter().map(|rhythm| rhythm.name).chain(["node-exporter, scraped every 10 s"]);
    let rows: Vec<_> = idle.iter().zip(names).map(|(idle, name)| idle.row(name)).collect();
    let head = ["program", "RSS MiB", "PSS MiB", "CPU ms/min", "switches/min", "KiB written/h", "binary MB"];
    print(&head, &rows);
    print_claims(&claims(&idle[0], idle.get(RHYTHMS.len())));
}

/// A node, a hub that wants five guests of it, and the agent that has made them.
struct House {
    agent: Ended,
    hub: Running,
    _node: FakePve,
    _folder: TempDir,
}

impl House {
    fn start(runtime: &Runtime, program: &Path, rhythm: &Rhythm) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let node = FakePve::start(Options::default()).expect("fake-pve starts on a free port");
        let hub = runtime.block_on(hub(&folder.path().join("hub"), rhythm.cycle_s));
        let config = write_config(folder.path(), (&node, &hub), rhythm.poll_s);
        let copy = folder.path().join("felhom-agent");
        fs::copy(program, &copy).expect("the folder is ours");
        let mut agent = Command::new(copy);
        agent.arg("--config").arg(config).arg("run").envs(environment());
        let agent = Ended(spawn(&mut agent));
        runtime.block_on(converged(&hub));
        Self { agent, hub, _node: node, _folder: folder }
    }

    /// The agent first: an orderly end is not what is measured.
    fn end(self, runtime: &Runtime) {
        drop(self.agent);
        let _ = runtime.block_on(self.hub.shutdown());
    }
}

/// What a program costs in the window.
struct Idle {
    rss_mib: f64,
    pss_mib: f64,
    cpu_ms: f64,
    switches: f64,
    written_kib: f64,
    binary_mb: f64,
}

impl Idle {
    fn of((before, after): (&Usage, &Usage), window: Duration, program: &Path) -> Self {
        let minutes = window.as_secs_f64() / 60.0;
        Self {
            rss_mib: after.rss_kib as f64 / 1024.0,
            pss_mib: after.pss_kib as f64 / 1024.0,
            cpu_ms: after.cpu_us_since(before) / 1e3 / minutes,
            switches: (after.switches.saturating_sub(before.switches) as f64 / minutes).round(),
            written_kib: after.written_kib_since(before) / minutes * 60.0,
            binary_mb: fs::metadata(program).map_or(f64::NAN, |metadata| metadata.len() as f64 / 1e6),
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let mut row = vec![name.to_owned()];
        row.extend([self.rss_mib, self.pss_mib, self.cpu_ms].map(number));
        row.extend([format!("{:.0}", self.switches), number(self.written_kib), number(self.binary_mb)]);
        row
    }
}

fn claims(ours: &Idle, rival: Option<&Idle>) -> Vec<Claim> {
    let beside = |claim: Claim, figure: fn(&Idle) -> f64, unit: &str| match rival {
        Some(rival) => claim.beside(format!("{} {unit}", number(figure(rival)))),
        None => claim,
    };
    let mut claims = vec![
        beside(
            Claim::at_most("memory (RSS)", ours.rss_mib, 6.0, ("MiB", "≤ 6 MiB")),
            |idle| idle.rss_mib,
            "MiB",
        ),
        beside(
            Claim::at_most("CPU in a minute", ours.cpu_ms, 10.0, ("ms", "≤ 10 ms")),
            |idle| idle.cpu_ms,
            "ms",
        ),
        beside(
            Claim::at_most("size of the program", ours.binary_mb, 4.0, ("MB", "≤ 4 MB")),
            |idle| idle.binary_mb,
            "MB",
        ),
    ];
    claims.extend(rival.map(|rival| {
        let ratio = ours.rss_mib / rival.rss_mib;
        Claim {
            what: "memory against node-exporter",
            figure: format!("{} MiB", number(ours.rss_mib)),
            rival: format!("{} MiB", number(rival.rss_mib)),
            value: format!("{}×", number(ratio)),
            target: "≤ ⅓",
            met: ratio <= 1.0 / 3.0,
        }
    }));
    claims
}

/// The agent as it is shipped, built beside this program.
fn agent_program() -> Option<PathBuf> {
    let bench = std::env::current_exe().ok()?;
    let program = bench.parent()?.parent()?.join("small/felhom-agent");
    program.exists().then_some(program)
}

/// What systemd gives the agent on a box.
fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    let unit = include_str!("../../../../systemd/felhom-agent.service");
    unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// A hub that wants five guests of its one host.
async fn hub(folder: &Path, cycle_s: u64) -> Running {
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: folder.to_owned(),
        poll_interval_s: cycle_s,
        ..Config::default()
    };
    let hub = serve::start(config).await.expect("the hub starts");
    let key = key(0);
    let (lookup, hmac) = (key.lookup().to_owned(), hub.state.keys.hmac(&key));
    let guests = (0..GUESTS).map(|at| lxc(101 + at, &format!("service-{at}")));
    let bytes = serde_json::to_vec(&document(guests)).expect("a document is plain data");
    let write = move |sql: &rusqlite::Connection| {
        hosts::add(sql, host_id(0), "box", None, 0)?;
        keys::replace_host_key(sql, host_id(0), &lookup, &hmac, 0)?;
        let host = hosts::get(sql, host_id(0))?.expect("it was added");
        let author = Author { name: "bench".to_owned(), note: None };
        publish(sql, &host, &bytes, &author, false).expect("a good document");
        Ok::<_, StoreError>(())
    };
    hub.state.store.write(write).await.expect("a fresh store takes a host");
    hub.state.reload_all().await.expect("the store reads");
    hub
}

fn write_config(folder: &Path, (node, hub): (&FakePve, &Running), poll_s: u64) -> PathBuf {
    let private = |name: &str, text: &str| {
        let path = folder.join(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the folder is ours");
        path
    };
    let hub_key = private("hub-key", key(0).expose());
    let token = private("pve-token", node.token());
    let text = format!(
        "host_id = \"{}\"\nstate_dir = {:?}\n\n[hub]\nurl = \"https://{}\"\npins = [\"{}\"]\nkey_file = {hub_key:?}\npoll_wait_s = {poll_s}\n\n\
         [pve]\nurl = \"{}\"\ncertificate = {:?}\ntoken_file = {token:?}\n",
        host_id(0),
        folder.join("state"),
        hub.local_addr,
        hub.pin,
        node.base_url(),
        node.cert_path(),
    );
    private("agent.toml", &text)
}

async fn converged(hub: &Running) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let host = hub.state.store.read(|sql| hosts::get(sql, host_id(0))).await.expect("the store reads");
        if host.is_some_and(|host| host.reached.is_some() && host.reached == host.desired) {
            return;
        }
        assert!(Instant::now() < deadline, "the agent did not converge within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// node-exporter on a free port; a line that says so where it is missing.
fn exporter() -> Option<(Ended, SocketAddr)> {
    if !Path::new(EXPORTER).exists() {
        say("SKIPPED node-exporter: install prometheus-node-exporter to compare\n");
        return None;
    }
    // It takes no port 0, so a port that was free a moment ago has to do.
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let child = Ended(spawn(Command::new(EXPORTER).arg(format!("--web.listen-address={address}"))));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "node-exporter does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some((child, address))
}

fn scrape_for(length: Duration, address: Option<SocketAddr>) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        if let Some(address) = address {
            let mut stream = TcpStream::connect(address).expect("node-exporter listens");
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("node-exporter reads");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("node-exporter answers");
            assert!(answer.starts_with(b"HTTP/1.1 200"), "node-exporter refuses");
        }
        std::thread::sleep(SCRAPED_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
}

fn spawn(command: &mut Command) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().expect("an installed program starts")
}

/// A program that ends with us.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
