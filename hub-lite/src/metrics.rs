//! The hub's numbers for an operator's Prometheus: `GET /metrics`, on a loopback listener of its own where the
//! configuration names one, and on the hub's listener for an operator's key.
//!
//! Hosts appear by name, so the number of series is bounded by the number of hosts. No text of a box is in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, http::HeaderName};
use felhom_shared::exposition::{Exposition, by, label, labels};
use felhom_shared::id::Generation;

use crate::auth::OperatorKey;
use crate::checks::staleness::Liveness;
use crate::error::ApiFailure;
use crate::state::AppState;
use crate::store::hosts::Overview;

/// The path, on either listener.
pub const PATH: &str = "/metrics";
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted since the start.
#[derive(Debug)]
pub struct Counters {
    started: SystemTime,
    reports_stored: AtomicU64,
    reports_unchanged: AtomicU64,
    events: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let (reports_stored, reports_unchanged, events) = Default::default();
        Self { started: SystemTime::now(), reports_stored, reports_unchanged, events }
    }
}

impl Counters {
    /// A report was heard; `stored` where it said something new.
    pub(crate) fn report(&self, stored: bool) {
        let counter = if stored { &self.reports_stored } else { &self.reports_unchanged };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// So many events are durable.
    pub(crate) fn events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The loopback listener's only route: whoever is on the machine may look.
pub(crate) fn open_router(state: AppState) -> Router {
    Router::new().route(PATH, get(open)).with_state(state)
}

async fn open(State(state): State<AppState>) -> Result<impl IntoResponse, ApiFailure> {
    render(&state).await
}

/// The same for an operator's key.
pub(crate) async fn for_operators(
    State(state): State<AppState>,
    _operator: OperatorKey,
) -> Result<impl IntoResponse, ApiFailure> {
    render(&state).await
}

async fn render(state: &AppState) -> Result<([(HeaderName, &'static str); 1], String), ApiFailure> {
    let rows = state.overview().await?;
    let mut text = Exposition::new("felhom_hub");
    let version = label("version", env!("CARGO_PKG_VERSION"));
    text.gauge("build_info", "The hub's version.", [(version, 1.0)]);
    let started = state.counters.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.one("start_time_seconds", "When the hub started.", started.as_secs_f64());
    fleet(&mut text, &rows);
    hosts(&mut text, &rows);
    traffic(&mut text, state);
    Ok(([(CONTENT_TYPE, FORMAT)], text.into_text()))
}

/// How many hosts and guests stand where.
fn fleet(text: &mut Exposition, rows: &[(Overview, Liveness)]) {
    let all = [Liveness::Never, Liveness::Ok, Liveness::Stale, Liveness::Down];
    let mut liveness = BTreeMap::from(all.map(|word| (word.word(), 0)));
    rows.iter().for_each(|(_, word)| *liveness.entry(word.word()).or_default() += 1);
    text.gauge("hosts", "Hosts by whether they are heard.", by("liveness", &liveness));
    let count = |holds: fn(&Overview) -> bool| rows.iter().filter(|(row, _)| holds(row)).count() as f64;
    text.one("hosts_paused", "Hosts that the operator has paused.", count(|row| row.host.paused));
    text.one(
        "hosts_in_conflict",
        "Hosts with a newer document than this hub.",
        count(|row| row.host.in_conflict()),
    );
    text.one(
        "hosts_rolled_back",
        "Hosts whose ledger of signed operations was rolled back.",
        count(|row| row.rolled_back),
    );
    let refusing = count(|row| row.summary.as_ref().is_some_and(|said| said.refused.is_some()));
    text.one("hosts_refusing", "Hosts that did not accept the newest document.", refusing);
    let summaries = || rows.iter().filter_map(|(row, _)| row.summary.as_ref());
    let held: u32 = summaries().map(|said| said.to_sign).sum();
    text.one("held_steps", "Steps that wait for a signature, on all hosts.", f64::from(held));
    let queued: u32 = rows.iter().map(|(row, _)| row.queued).sum();
    text.one("queued_operations", "Signed operations that no box has taken yet.", f64::from(queued));
    let mut guests = BTreeMap::new();
    for (outcome, count) in summaries().flat_map(|said| &said.outcomes) {
        *guests.entry(outcome.word()).or_default() += u64::from(*count);
    }
    text.gauge("guests", "Guests by where they stand, on all hosts.", by("outcome", &guests));
}

/// Each host by itself.
fn hosts(text: &mut Exposition, rows: &[(Overview, Liveness)]) {
    let name = |row: &Overview| labels(&[("host", &row.host.name)]);
    let seen = rows.iter().filter_map(|(row, _)| Some((name(row), row.host.last_seen_ms? as f64 / 1000.0)));
    text.gauge("host_last_seen_timestamp_seconds", "When a host last reported.", seen);
    let number = |generation: Option<Generation>| generation.map_or(0.0, |generation| generation.0 as f64);
    let desired = rows.iter().map(|(row, _)| (name(row), number(row.host.desired)));
    text.gauge(
        "host_desired_generation",
        "The newest document published for a host; 0 without one.",
        desired,
    );
    let reached = rows.iter().map(|(row, _)| (name(row), number(row.host.reached)));
    text.gauge("host_reached_generation", "The newest document that a host has fully reached.", reached);
}

/// What the hub is busy with.
fn traffic(text: &mut Exposition, state: &AppState) {
    let counters = &state.counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let reports = BTreeMap::from([
        ("stored", read(&counters.reports_stored)),
        ("unchanged", read(&counters.reports_unchanged)),
    ]);
    text.counter("reports_total", "Reports heard since the start.", by("result", &reports));
    let one = |value: u64| [(String::new(), value as f64)];
    text.counter("events_total", "Events acknowledged since the start.", one(read(&counters.events)));
    text.one("parked_polls", "Polls that wait for news.", state.live.parked() as f64);
    let (commits, writes) = state.store.committed();
    text.counter("commits_total", "Transactions of the committing writer.", one(commits));
    text.counter("writes_total", "Writes in them: by how many one sync is shared.", one(writes));
    let bytes = state.store.bytes();
    let sizes = [("database", bytes.0), ("log", bytes.1)];
    text.gauge(
        "store_bytes",
        "The store's files: the database and its write-ahead log.",
        sizes.map(|(file, bytes)| (label("file", file), bytes as f64)),
    );
}
