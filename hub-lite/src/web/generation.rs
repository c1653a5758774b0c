//! `GET /hosts/{host_id}/generations/{generation}`: a published document, and what it changed.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use felhom_shared::id::{Generation, HostId};
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;

use super::moment::{Clock, Moment};
use super::page::{Page, Piece, nothing_here, store_failed};
use super::session::Operator;
use super::shown::Shown;
use crate::diff::{Change, diff};
use crate::state::AppState;
use crate::store::StoreError;
use crate::store::desired_history::{self, Published};
use crate::store::hosts::{self, Host};

#[derive(Template)]
#[template(path = "generation.html")]
struct GenerationPage {
    href: String,
    name: Shown,
    generation: u64,
    at: Moment,
    author: Shown,
    note: Option<Shown>,
    digest: String,
    /// The generation it is compared with.
    before: Option<u64>,
    changes: Vec<ChangeRow>,
    lines: Vec<Shown>,
    is_current: bool,
}

/// A field that differs.
pub(super) struct ChangeRow {
    pub(super) at: Shown,
    pub(super) before: Option<Shown>,
    pub(super) after: Option<Shown>,
}

pub(super) fn change_row(change: &Change) -> ChangeRow {
    ChangeRow {
        at: Shown::new(&change.at),
        before: change.before.as_ref().map(text),
        after: change.after.as_ref().map(text),
    }
}

struct Known {
    host: Host,
    document: Published,
    before: Option<Published>,
}

pub(super) async fn generation(
    State(state): State<AppState>,
    operator: Operator,
    Path((host_id, generation)): Path<(String, String)>,
    Query(piece): Query<Piece>,
) -> Response {
    let (Ok(host_id), Ok(generation)) = (host_id.parse::<HostId>(), generation.parse().map(Generation))
    else {
        return nothing_here().await;
    };
    let known = match state.store.read(move |sql| Known::read(sql, host_id, generation)).await {
        Ok(Some(known)) => known,
        Ok(None) => return nothing_here().await,
        Err(error) => return store_failed(&error),
    };
    let page = GenerationPage::new(&known, &Clock::new(Timestamp::now(), &state.config.timezone));
    let title = format!("{}, generation {generation}", page.name);
    Page { title: &title, operator: &operator, live: None }.answer(&page, &piece)
}

impl Known {
    fn read(sql: &Connection, host_id: HostId, generation: Generation) -> Result<Option<Self>, StoreError> {
        let (Some(host), Some(document)) =
            (hosts::get(sql, host_id)?, desired_history::get(sql, host_id, generation)?)
        else {
            return Ok(None);
        };
        let before = match generation.0.checked_sub(1) {
            Some(before) => desired_history::get(sql, host_id, Generation(before))?,
            None => None,
        };
        Ok(Some(Self { host, document, before }))
    }
}

impl GenerationPage {
    fn new(known: &Known, clock: &Clock) -> Self {
        let Known { host, document, before } = known;
        let json =
            |document: &Published| serde_json::from_slice::<Value>(&document.bytes).unwrap_or_default();
        let value = json(document);
        let changes = before.as_ref().map(|before| diff(&json(before), &value)).unwrap_or_default();
        let written = String::from_utf8_lossy(&document.bytes);
        let pretty = serde_json::to_string_pretty(&value).expect("a value that was parsed has string keys");
        // As its author laid it out, unless that was on one line.
        let laid_out = if written.lines().count() > 1 { &*written } else { &pretty };
        Self {
            href: format!("/hosts/{}", host.host_id),
            name: Shown::new(&host.name),
            generation: document.generation.0,
            at: clock.at_ms(document.published_at_ms),
            author: Shown::new(&document.author),
            note: document.note.as_deref().map(Shown::new),
            digest: document.digest.clone(),
            before: before.as_ref().map(|before| before.generation.0),
            changes: changes.iter().map(change_row).collect(),
            lines: laid_out.lines().map(Shown::new).collect(),
            is_current: host.desired == Some(document.generation),
        }
    }
}

/// A value as short as it can be written.
fn text(value: &Value) -> Shown {
    match value {
        Value::String(text) => Shown::new(text),
        other => Shown::new(&other.to_string()),
    }
}
