//! Durable ingest of changed 8 KiB reports: the hub beside itself without a database and with one commit a
//! request, on this disk and on one whose syncs take 5 ms longer. And what an unchanged report writes: nothing.
//!
//! One commit a request is shown twice. A pool of connections is how services write that have no committing writer,
//! and is the rival that is judged (decision 0005). The writer itself with batches of one tells what grouping alone
//! is worth: it is judged where a sync takes time, and shown where it takes none.

use std::rc::Rc;
use std::time::Duration;

use felhom_tests::bench::fleet::report_request;
use felhom_tests::bench::hub_child::{HubChild, HubKind, is_child};
use felhom_tests::bench::load::{Round, Script, round};
use felhom_tests::bench::table::{Claim, median, number, print, print_claims, say};

const ROUNDS: usize = 3;
const LENGTH: Duration = Duration::from_millis(1500);
const CONNECTIONS: [usize; 2] = [64, 512];
/// Two hosts a connection.
const HOSTS: u32 = 1024;
/// Different states that a host goes through again and again.
const STATES: usize = 4;

/// Connections of the pool: what reference measurements of such services were made with.
const POOL: usize = 10;

/// What one connection sends.
type Requests = Rc<[Rc<[u8]>]>;

struct Variant {
    name: &'static str,
    hub: HubChild,
    /// Its own, so that a host never repeats to this hub what it said last.
    scripts: Vec<Script>,
    /// By number of connections.
    rounds: [Vec<Round>; 2],
}

impl Variant {
    fn start(name: &'static str, requests: &[Requests], change: impl FnOnce(&mut HubKind)) -> Self {
        let mut kind = HubKind::product(HOSTS);
        change(&mut kind);
        let scripts = requests.iter().cloned().map(Script::new).collect();
        Self { name, hub: HubChild::start(&kind), scripts, rounds: [Vec::new(), Vec::new()] }
    }

    fn median(&self, at: usize, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds[at].iter().map(figure))
    }

    fn row(&self, at: usize) -> Vec<String> {
        let figures: [fn(&Round) -> f64; 5] = [
            |round| round.per_second,
            |round| round.p50_ms,
            |round| round.p99_ms,
            |round| round.cpu_us,
            |round| round.written_kib,
        ];
        let mut row = vec![self.name.to_owned(), CONNECTIONS[at].to_string()];
        row.extend(figures.iter().map(|figure| number(self.median(at, figure))));
        row
    }
}

fn main() {
    if is_child() {
        return;
    }
    say("## hub_ingest\n");
    let (changing, constant) = (requests(STATES), requests(1));
    let mut variants = [
        Variant::start("group commit", &changing, |_| ()),
        Variant::start("no database", &changing, |kind| kind.no_database = true),
        Variant::start("one commit a request, pool of 10", &changing, |kind| kind.connections = Some(POOL)),
        Variant::start("one commit a request, one writer", &changing, |kind| kind.batch_max = Some(1)),
        Variant::start("group commit, sync + 5 ms", &changing, |kind| kind.slowed_by_ms = 5),
        Variant::start("one writer, sync + 5 ms", &changing, |kind| {
            (kind.slowed_by_ms, kind.batch_max) = (5, Some(1));
        }),
    ];
    let mut unchanged = Variant::start("group commit, unchanged reports", &constant, |_| ());
    for _ in 0..ROUNDS {
        for (at, connections) in CONNECTIONS.into_iter().enumerate() {
            for variant in variants.iter_mut().chain([&mut unchanged]) {
                let round = round(&variant.hub, &variant.scripts[..connections], LENGTH);
                variant.rounds[at].push(round);
            }
        }
    }
    let all = variants.iter().chain([&unchanged]);
    let rows: Vec<Vec<String>> = all.flat_map(|variant| [variant.row(0), variant.row(1)]).collect();
    let head = ["variant", "connections", "req/s", "p50 ms", "p99 ms", "hub CPU µs/req", "KiB written/req"];
    print(&head, &rows);
    print_claims(&claims(&variants, &unchanged));
}

fn claims([product, bare, pool, _, slow, slow_single]: &[Variant; 6], unchanged: &Variant) -> Vec<Claim> {
    let speed = |variant: &Variant, at| variant.median(at, |round| round.per_second);
    let pair = |ours, rival, at| (speed(ours, at), speed(rival, at));
    let written = |variant: &Variant| variant.median(0, |round| round.written_kib);
    vec![
        Claim::at_least("against no database, 64", pair(product, bare, 0), 0.35, "≥ 0.35×"),
        Claim::at_least("against no database, 512", pair(product, bare, 1), 0.35, "≥ 0.35×"),
        Claim::at_least("against one commit a request, 64", pair(product, pool, 0), 5.0, "≥ 5×"),
        Claim::at_least("against one commit a request, 512", pair(product, pool, 1), 5.0, "≥ 5×"),
        Claim::at_least("against one writer, sync + 5 ms, 64", pair(slow, slow_single, 0), 12.0, "≥ 12×"),
        Claim::at_least("against one writer, sync + 5 ms, 512", pair(slow, slow_single, 1), 30.0, "≥ 30×"),
        Claim::at_most("written per changed report, 64", written(product), 8.0, ("KiB", "≤ 8 KiB")),
        Claim::at_most("written per unchanged report, 64", written(unchanged), 0.0, ("KiB", "0")),
    ]
}

/// For each connection the requests of its two hosts, alternating.
fn requests(states: usize) -> Vec<Requests> {
    let connections = HOSTS / 2;
    let of = |connection: u32| {
        let pair = [connection * 2, connection * 2 + 1];
        (0..states).flat_map(|state| pair.map(|host| Rc::from(report_request(host, state)))).collect()
    };
    (0..connections).map(of).collect()
}
