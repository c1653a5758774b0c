//! The page of one host, put together from its parts.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use felhom_shared::desired::DesiredState;
use felhom_shared::id::{GuestId, HostId};
use felhom_shared::report::NodeState;
use jiff::Timestamp;
use rusqlite::Connection;
use serde::Deserialize;

use super::drives::{self, DriveRow};
use super::guests::{self, GuestRow, UnmanagedRow};
use super::numbers::{self, Range, StorageRow};
use super::past::{DeedRow, DocumentRow, EventRow, ReportRow};
use super::signing::{self, Signing};
use super::standing::{Remark, Standing};
use super::storages::{self, StorageItem};
use super::tunnel::{self, TunnelItem};
use crate::checks::staleness::Liveness;
use crate::state::AppState;
use crate::store::audit::{self, Deed};
use crate::store::desired_history::{self, Published};
use crate::store::events::{self, StoredEvent};
use crate::store::host_metrics::{self, Sample};
use crate::store::host_reports::{self, StoredReport};
use crate::store::host_state::{self, Latest, Summary};
use crate::store::hosts::{self, Host};
use crate::store::{StoreError, keysets, ledger_heads, signed_ops};
use crate::web::amount::{milliseconds, seconds};
use crate::web::badge::Badge;
use crate::web::chart::Chart;
use crate::web::moment::{Clock, Moment};
use crate::web::page::{Page, Piece, nothing_here, store_failed};
use crate::web::session::Operator;
use crate::web::shown::Shown;

const EVENTS: u32 = 50;
const REPORTS: u32 = 10;
const DOCUMENTS: u32 = 20;
const OPS: u32 = 30;
const DEEDS: u32 = 30;

#[derive(Debug, Default, Deserialize)]
pub(in crate::web) struct Wanted {
    range: Option<String>,
}

/// Everything the store knows of a host.
struct Known {
    host: Host,
    latest: Option<Latest>,
    /// The latest report is in words that this hub is too old for.
    too_new: bool,
    current: Option<Published>,
    samples: Vec<Sample>,
    events: Vec<StoredEvent>,
    reports: Vec<StoredReport>,
    documents: Vec<Published>,
    signed: signing::Known,
    deeds: Vec<Deed>,
}

#[derive(Template)]
#[template(path = "host/page.html")]
struct HostPage {
    row: Top,
    facts: Vec<(&'static str, Shown)>,
    reported: bool,
    too_new: bool,
    desired_unreadable: bool,
    guests: Vec<GuestRow>,
    signing: Signing,
    unmanaged: Vec<UnmanagedRow>,
    assigned: Vec<StorageItem>,
    tunnel: Option<TunnelItem>,
    drives: Vec<DriveRow>,
    storages: Vec<StorageRow>,
    charts: Vec<Chart>,
    ranges: Vec<(Range, bool)>,
    events: Vec<EventRow>,
    reports: Vec<ReportRow>,
    documents: Vec<DocumentRow>,
    deeds: Vec<DeedRow>,
}

/// The head of the page.
struct Top {
    href: String,
    name: Shown,
    customer: Option<Shown>,
    liveness: Badge,
    /// It is silent: what is shown of it is what it last said.
    old: bool,
    paused: Option<Badge>,
    heard: Option<Moment>,
    standing: Standing,
    remarks: Vec<Remark>,
}

pub(in crate::web) async fn host(
    State(state): State<AppState>,
    operator: Operator,
    Path(host_id): Path<String>,
    Query(wanted): Query<Wanted>,
    Query(piece): Query<Piece>,
) -> Response {
    let Ok(host_id) = host_id.parse::<HostId>() else { return nothing_here().await };
    let range = Range::read(wanted.range.as_deref());
    let since_ms = Timestamp::now().as_millisecond() - range.ms();
    let mut known = match state.store.read(move |sql| Known::read(sql, host_id, since_ms)).await {
        Ok(Some(known)) => known,
        Ok(None) => return nothing_here().await,
        Err(error) => return store_failed(&error),
    };
    let newest = state.live.metrics(host_id);
    known
        .samples
        .extend(newest.filter(|newest| known.samples.last().is_none_or(|last| last.at_ms < newest.at_ms)));
    known.host.last_seen_ms = state.live.last_seen_ms(host_id).or(known.host.last_seen_ms);
    let clock = Clock::new(Timestamp::now(), &state.config.timezone);
    let command = signing::command(&known.host, &state.config);
    let about = (&clock, state.liveness(host_id));
    let page = HostPage::new(&known, range, about, (command, &operator.csrf));
    let live = format!("/hosts/{host_id}/live");
    Page { title: page.row.name.as_str(), operator: &operator, live: Some(&live) }.answer(&page, &piece)
}

impl Known {
    fn read(sql: &Connection, host_id: HostId, since_ms: i64) -> Result<Option<Self>, StoreError> {
        let Some(host) = hosts::get(sql, host_id)? else { return Ok(None) };
        let (latest, too_new) = match host_state::latest(sql, host_id) {
            Ok(latest) => (latest, false),
            Err(StoreError::Damaged { .. }) => (None, true),
            Err(error) => return Err(error),
        };
        Ok(Some(Self {
            host,
            latest,
            too_new,
            current: desired_history::current(sql, host_id)?,
            samples: host_metrics::series(sql, host_id, since_ms)?,
            events: events::recent(sql, host_id, EVENTS)?,
            reports: host_reports::recent(sql, host_id, REPORTS)?,
            documents: desired_history::list(sql, host_id, DOCUMENTS)?,
            signed: signing::Known {
                ops: signed_ops::list(sql, host_id, OPS)?,
                newest_keyset: keysets::newest(sql)?,
                ledger: ledger_heads::get(sql, host_id)?,
            },
            deeds: audit::of_host(sql, host_id, DEEDS)?,
        }))
    }
}

impl HostPage {
    fn new(
        known: &Known,
        range: Range,
        (clock, alive): (&Clock, Liveness),
        (command, csrf): (String, &str),
    ) -> Self {
        let state = known.latest.as_ref().map(|latest| &latest.state);
        let desired = known.current.as_ref().map(|document| DesiredState::from_json(&document.bytes));
        let desired_unreadable = matches!(desired, Some(Err(_)));
        let desired = desired.and_then(Result::ok);
        let (specs, storage, wanted) =
            desired.map(|desired| (desired.guests, desired.storage, desired.tunnel)).unwrap_or_default();
        let guests = guests::rows(&specs, state);
        let names: HashMap<String, Shown> =
            guests.iter().map(|guest| (guest.id.clone(), guest.name.clone())).collect();
        let name = |id: GuestId| names.get(&id.to_string()).cloned();
        let newest = known.samples.last().map(|sample| &sample.metrics);
        Self {
            row: Top::new(known, (clock, alive)),
            facts: facts(known, clock),
            reported: state.is_some(),
            too_new: known.too_new,
            desired_unreadable,
            signing: Signing::new(
                &known.signed,
                state.map(|state| &state.ops),
                &names,
                (command, csrf, clock),
            ),
            unmanaged: state.map(|state| guests::unmanaged(&state.unmanaged)).unwrap_or_default(),
            assigned: storages::rows(&storage, state),
            tunnel: tunnel::item(wanted.as_ref(), state, newest),
            drives: state.map(|state| drives::rows(&state.drives, &storage)).unwrap_or_default(),
            storages: newest.map(numbers::storages).unwrap_or_default(),
            charts: numbers::charts(&known.samples, range, clock),
            ranges: Range::ALL.into_iter().map(|other| (other, other == range)).collect(),
            events: known.events.iter().map(|event| EventRow::new(event, clock, name)).collect(),
            reports: known.reports.iter().map(|report| ReportRow::new(report, clock)).collect(),
            documents: known.documents.iter().map(|document| DocumentRow::new(document, clock)).collect(),
            deeds: known.deeds.iter().map(|deed| DeedRow::new(deed, clock)).collect(),
            guests,
        }
    }
}

impl Top {
    fn new(known: &Known, (clock, alive): (&Clock, Liveness)) -> Self {
        let host = &known.host;
        let summary = known.latest.as_ref().map(|latest| Summary::of(&latest.state));
        let rolled_back = known.signed.ledger.as_ref().is_some_and(|ledger| ledger.rolled_back);
        Self {
            href: format!("/hosts/{}", host.host_id),
            name: Shown::new(&host.name),
            customer: host.customer.as_deref().map(Shown::new),
            liveness: alive.into(),
            old: matches!(alive, Liveness::Stale | Liveness::Down),
            paused: host.paused.then_some(Badge::PAUSED),
            heard: host.last_seen_ms.map(|at_ms| clock.at_ms(at_ms)),
            standing: Standing::new(host, summary.as_ref()),
            remarks: Remark::all(host, summary.as_ref(), rolled_back),
        }
    }
}

/// Small facts beside the name.
fn facts(known: &Known, clock: &Clock) -> Vec<(&'static str, Shown)> {
    let mut facts = Vec::new();
    let mut fact = |name, text: String| facts.push((name, Shown::new(&text)));
    if let Some(latest) = &known.latest {
        let state = &latest.state;
        match &state.node {
            NodeState::Present { node, pve_version } => {
                fact("Node", node.to_string());
                fact("Proxmox VE", pve_version.clone());
            }
            NodeState::Unreadable { code, .. } => fact("Node", format!("unreadable: {code}")),
        }
        fact("Agent", state.agent_version.clone());
        fact("State unchanged for", unchanged_for(latest.changed_at_ms, clock));
        if state.journal_open > 0 {
            fact("Steps without an outcome", state.journal_open.to_string());
        }
    }
    if let Some(metrics) = known.samples.last().map(|sample| &sample.metrics) {
        fact("Up for", seconds(metrics.uptime_s));
        let cycle = metrics.cycle;
        let cost = milliseconds(cycle.duration_ms);
        fact(
            "Last cycle",
            format!("{cost}, {} requests, {} changing", cycle.requests, cycle.changing_requests),
        );
    }
    fact("Host id", known.host.host_id.to_string());
    facts
}

fn unchanged_for(since_ms: i64, clock: &Clock) -> String {
    let apart_s = (clock.now.as_millisecond() - since_ms).max(0) / 1000;
    seconds(apart_s.unsigned_abs())
}
