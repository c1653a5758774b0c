//! `GET /`: all hosts, those that need a person first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use felhom_shared::report::Outcome;
use jiff::Timestamp;

use super::amount::count;
use super::badge::{Badge, Count};
use super::host::standing::{Remark, Standing};
use super::moment::{Clock, Moment};
use super::page::{Page, Piece, store_failed};
use super::session::Operator;
use super::shown::Shown;
use crate::checks::staleness::Liveness;
use crate::state::AppState;
use crate::store::host_state::Summary;
use crate::store::hosts::{Host, Overview};

#[derive(Template)]
#[template(path = "hosts.html")]
struct HostsPage {
    headline: String,
    totals: Vec<(usize, Badge)>,
    rows: Vec<Row>,
}

/// One host in the list.
struct Row {
    href: String,
    name: Shown,
    customer: Option<Shown>,
    liveness: Badge,
    /// It is silent: what is shown of it is what it last said.
    old: bool,
    heard: Option<Moment>,
    paused: Option<Badge>,
    standing: Standing,
    guests: Option<Guests>,
    /// It has reported in words that this hub is too old for.
    unread: bool,
    /// What waits for a signature, and what is signed and waits for the box.
    signed: Option<String>,
    remarks: Vec<Remark>,
    rank: Rank,
}

struct Guests {
    converged: u32,
    all: u32,
    counts: Vec<Count>,
    unmanaged: Option<String>,
}

/// What a person should see first; the order of the variants is the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Broken,
    Down,
    Failed,
    Unreadable,
    Stale,
    Held,
    Paused,
    New,
    Busy,
    Well,
}

pub(super) async fn hosts(
    State(state): State<AppState>,
    operator: Operator,
    Query(piece): Query<Piece>,
) -> Response {
    let hosts = match state.overview().await {
        Ok(hosts) => hosts,
        Err(error) => return store_failed(&error),
    };
    let clock = Clock::new(Timestamp::now(), &state.config.timezone);
    let page = HostsPage::new(hosts.iter().map(|(host, alive)| Row::new(host, *alive, &clock)).collect());
    Page { title: "Hosts", operator: &operator, live: Some("/live") }.answer(&page, &piece)
}

impl HostsPage {
    fn new(mut rows: Vec<Row>) -> Self {
        rows.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
        let waiting = rows.iter().filter(|row| row.rank <= Rank::Held).count();
        let headline = match (rows.len(), waiting) {
            (0, _) => "No hosts yet".to_owned(),
            (all, 0) => format!("{}, none needs you", count(all, "host")),
            (all, 1) => format!("{}, 1 needs you", count(all, "host")),
            (all, some) => format!("{}, {some} need you", count(all, "host")),
        };
        let all = [Liveness::Ok, Liveness::Stale, Liveness::Down, Liveness::Never].map(Badge::from);
        let totals = all.map(|badge| (rows.iter().filter(|row| row.liveness == badge).count(), badge));
        Self { headline, totals: totals.into_iter().filter(|(number, _)| *number > 0).collect(), rows }
    }
}

impl Row {
    fn new(overview: &Overview, alive: Liveness, clock: &Clock) -> Self {
        let Overview { host, summary, changed_at_ms, queued, rolled_back } = overview;
        let summary = summary.as_ref();
        Self {
            href: format!("/hosts/{}", host.host_id),
            name: Shown::new(&host.name),
            customer: host.customer.as_deref().map(Shown::new),
            liveness: alive.into(),
            old: matches!(alive, Liveness::Stale | Liveness::Down),
            heard: host.last_seen_ms.map(|at_ms| clock.at_ms(at_ms)),
            paused: host.paused.then_some(Badge::PAUSED),
            standing: Standing::new(host, summary),
            guests: summary.map(Guests::new),
            unread: summary.is_none() && changed_at_ms.is_some(),
            signed: signed(summary.map_or(0, |summary| summary.to_sign), *queued),
            remarks: Remark::all(host, summary, *rolled_back),
            rank: if *rolled_back { Rank::Broken } else { Rank::new(host, summary, alive) },
        }
    }
}

fn signed(to_sign: u32, queued: u32) -> Option<String> {
    let waiting = (to_sign > 0).then(|| format!("{to_sign} to sign"));
    let on_their_way = (queued > 0).then(|| format!("{queued} signed, not fetched yet"));
    let parts: Vec<String> = [waiting, on_their_way].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

impl Guests {
    fn new(summary: &Summary) -> Self {
        let converged = summary.outcomes.get(&Outcome::Converged).copied().unwrap_or(0);
        Self {
            converged,
            all: summary.outcomes.values().sum(),
            counts: Count::all_but_converged(summary),
            unmanaged: (summary.unmanaged > 0).then(|| format!("{} unmanaged", summary.unmanaged)),
        }
    }
}

impl Rank {
    fn new(host: &Host, summary: Option<&Summary>, alive: Liveness) -> Self {
        let has = |outcomes: &[Outcome]| {
            summary.is_some_and(|summary| {
                outcomes.iter().any(|outcome| {
                    summary.outcomes.contains_key(outcome)
                        || summary.storage.contains_key(outcome)
                        || summary.tunnel == Some(*outcome)
                })
            })
        };
        if host.in_conflict() || summary.is_some_and(|summary| summary.refused.is_some()) {
            Self::Broken
        } else if alive == Liveness::Down {
            Self::Down
        } else if has(&[Outcome::Failed, Outcome::Interrupted, Outcome::Refused]) {
            Self::Failed
        } else if has(&[Outcome::Unreadable])
            || summary.is_some_and(|summary| summary.node_unreadable.is_some())
        {
            Self::Unreadable
        } else if alive == Liveness::Stale {
            Self::Stale
        } else if has(&[Outcome::Held]) {
            Self::Held
        } else if host.paused {
            Self::Paused
        } else if alive == Liveness::Never {
            Self::New
        } else if host.reached != host.desired || has(&[Outcome::Waiting, Outcome::Converging]) {
            Self::Busy
        } else {
            Self::Well
        }
    }
}
