//! A cycle with nothing to do over 50 guests: the agent beside proxmoxer, on one node whose three workers take
//! 4 ms a call.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fake_pve::Options;
use felhom_tests::bench::table::{Claim, median, number, print, print_claims, say};
use felhom_tests::{Agent, House, document, lxc};

const GUESTS: u32 = 50;
const ROUNDS: usize = 15;
const WORKERS: usize = 3;
/// The prototypes' 3.6 ms; timers tick in whole milliseconds.
const LATENCY: Duration = Duration::from_millis(4);
/// Sequentially, as its users do: the list, then each guest's configuration.
const RIVAL: &str = r#"
import json, sys, time, urllib3
from proxmoxer import ProxmoxAPI
urllib3.disable_warnings()
access = json.load(open(sys.argv[1]))
user, rest = access["token"].split("!", 1)
name, value = rest.split("=", 1)
pve = ProxmoxAPI("127.0.0.1", port=access["port"], user=user, token_name=name, token_value=value, verify_ssl=False)
print("ready", flush=True)
for _ in sys.stdin:
    begun = time.perf_counter()
    read = 0
    for guest in pve.nodes("pve1").lxc.get():
        pve.nodes("pve1").lxc(guest["vmid"]).config.get()
        read += 1
    print((time.perf_counter() - begun) * 1000, read, flush=True)
"#;

fn main() {
    say("## noop_cycle\n");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = |latency| Options {
        dir: Some(folder.path().to_owned()),
        workers: WORKERS,
        task_time: Duration::from_millis(1),
        latency,
        ..Options::default()
    };
    let wanted = document((0..GUESTS).map(|at| lxc(101 + at, &format!("service-{at}"))));
    let house = House::with(options(Duration::ZERO));
    let mut agent = house.agent();
    agent.desire(&wanted);
    agent.settle();
    drop((agent, house));
    // The same node, slow as a real one.
    let house = House::with(options(LATENCY));
    let mut agent = house.agent();
    agent.desire(&wanted);
    agent.settle();
    let mut rival = Proxmoxer::start(&house, folder.path());
    let (mut whole, mut ordinary, mut sequential) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        agent.time_passes();
        whole.push(timed(&mut agent));
        ordinary.push(timed(&mut agent));
        sequential.extend(rival.as_mut().map(Proxmoxer::read_all));
    }
    let figures = |rounds: &[(f64, f64)]| {
        (median(rounds.iter().map(|round| round.0)), median(rounds.iter().map(|round| round.1)))
    };
    let (whole, ordinary, sequential) = (figures(&whole), figures(&ordinary), figures(&sequential));
    let rows = [
        ("ordinary cycle, configurations remembered", ordinary),
        ("whole read, after a start or a new document", whole),
        ("proxmoxer, list and every configuration", sequential),
    ];
    let rows = rows.map(|(name, (ms, requests))| {
        vec![name.to_owned(), number(ms), number(requests), format!("{}×", number(sequential.0 / ms))]
    });
    print(&["variant", "ms", "requests", "as fast as proxmoxer"], &rows);
    print_claims(&claims(ordinary, sequential));
}

/// What is promised of a cycle with nothing to do: the one that the product runs, a configuration being read again
/// when its guest's row has changed or it is five minutes old.
fn claims(ordinary: (f64, f64), sequential: (f64, f64)) -> Vec<Claim> {
    let limit = 1.5 * f64::from(GUESTS) * LATENCY.as_secs_f64() * 1e3 / WORKERS as f64;
    let most_requests = f64::from(GUESTS + 1);
    let mut claims = vec![
        Claim::at_most("no-op cycle", ordinary.0, limit, ("ms", "≤ 1.5 × N × latency ÷ workers = 100 ms")),
        Claim::at_most("its requests", ordinary.1, most_requests, ("", "≤ N + 1 = 51")),
    ];
    if sequential.0.is_finite() {
        let faster = (1.0 / ordinary.0, 1.0 / sequential.0);
        let mut claim = Claim::at_least("no-op cycle against proxmoxer", faster, 8.0, "≥ 8× as fast");
        claim.figure = format!("{} ms", number(ordinary.0));
        claim.rival = format!("{} ms", number(sequential.0));
        claims.push(claim);
    }
    claims
}

/// Milliseconds and requests of one cycle.
fn timed(agent: &mut Agent) -> (f64, f64) {
    let begun = Instant::now();
    let end = agent.cycle();
    assert_eq!(end.cost.changing_requests, 0, "the cycle had something to do");
    (begun.elapsed().as_secs_f64() * 1e3, end.cost.requests as f64)
}

/// proxmoxer in a Python of its own, reading whenever it is told.
struct Proxmoxer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Proxmoxer {
    /// `None`, and a line that says so, where it cannot be had.
    fn start(house: &House, folder: &Path) -> Option<Self> {
        let Some(python) = python_with_proxmoxer() else {
            say("SKIPPED proxmoxer: pip could not install it\n");
            return None;
        };
        // The token travels in a private file, not on a command line.
        let access = folder.join("access.json");
        let node = house.node();
        let text = format!(r#"{{"port": {}, "token": "{}"}}"#, node.address().port(), node.token());
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600).open(&access);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the folder is ours");
        let mut child = Command::new(python)
            .args(["-c", RIVAL])
            .arg(&access)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let orders = child.stdin.take();
        let mut rival = Self { orders, answers: BufReader::new(child.stdout.take()?), child };
        assert_eq!(rival.line().trim(), "ready", "proxmoxer does not start");
        // Whatever is made once at the first read is made now.
        rival.read_all();
        Some(rival)
    }

    /// Milliseconds and requests of one whole read.
    fn read_all(&mut self) -> (f64, f64) {
        let orders = self.orders.as_mut().expect("open until it is dropped");
        writeln!(orders, "read").expect("proxmoxer listens");
        let line = self.line();
        let mut words = line.split_whitespace().map(|word| word.parse::<f64>());
        let (Some(Ok(ms)), Some(Ok(read))) = (words.next(), words.next()) else {
            panic!("proxmoxer says {line:?}")
        };
        assert_eq!(read, f64::from(GUESTS), "proxmoxer has read other guests");
        (ms, read + 1.0)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a pipe reads");
        line
    }
}

impl Drop for Proxmoxer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// A virtual environment beside the built programs, made at the first run.
fn python_with_proxmoxer() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?.parent()?.join("proxmoxer");
    let python = folder.join("bin/python");
    let run = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let works = |python: &Path| run(Command::new(python).args(["-c", "import proxmoxer, requests"]));
    if works(&python) {
        return Some(python);
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && run(Command::new(&python).args(["-m", "pip", "install", "-q", "proxmoxer", "requests"]));
    (made && works(&python)).then_some(python)
}
