//! `POST /hosts/{host_id}/storage`: the form that gives a drive a purpose. First it shows what would change; sent again
//! from there, it publishes.
//!
//! Only a drive that the box has reported is taken, and the document is checked as any other. Nothing here reaches a drive:
//! it is a document, which the box judges.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use felhom_shared::desired::{
    ContentType, DesiredState, Filesystem, StorageAction, StorageRole, StorageSpec,
};
use felhom_shared::drive::{DriveReport, DurableId};
use felhom_shared::id::{Generation, HostId, StorageId};
use rusqlite::Connection;
use serde::Deserialize;
use serde::de::value::StrDeserializer;

use crate::diff::diff;
use crate::publish::{Author, PublishError, publish};
use crate::state::AppState;
use crate::store::desired_history::{self, Published};
use crate::store::hosts::{self, Host};
use crate::store::{StoreError, host_state};
use crate::web::generation::{ChangeRow, change_row};
use crate::web::page::{Page, Piece, nothing_here, refusal, store_failed};
use crate::web::session::Operator;
use crate::web::shown::Shown;

/// What the form sends. A box that is not ticked is not sent.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::web) struct Sent {
    csrf: String,
    durable_id: String,
    storage: String,
    action: String,
    role: String,
    #[serde(default)]
    filesystem: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    backup: Option<String>,
    #[serde(default)]
    images: Option<String>,
    #[serde(default)]
    import: Option<String>,
    #[serde(default)]
    iso: Option<String>,
    #[serde(default)]
    rootdir: Option<String>,
    #[serde(default)]
    vztmpl: Option<String>,
    /// The generation over which it is to be published: sent by the second form only.
    #[serde(default)]
    over: Option<u64>,
}

#[derive(Template)]
#[template(path = "host/assign.html")]
struct Preview {
    href: String,
    name: Shown,
    csrf: String,
    over: u64,
    formats: bool,
    changes: Vec<ChangeRow>,
    /// The form again, as it was sent.
    fields: Vec<(&'static str, Shown)>,
}

pub(in crate::web) async fn assign(
    State(state): State<AppState>,
    operator: Operator,
    Path(host_id): Path<String>,
    Form(sent): Form<Sent>,
) -> Response {
    let Ok(host_id) = host_id.parse::<HostId>() else { return nothing_here().await };
    if let Some(refused) = operator.refuses(&sent.csrf) {
        return refused;
    }
    let known = match state.store.read(move |sql| Known::read(sql, host_id)).await {
        Ok(Some(known)) => known,
        Ok(None) => return nothing_here().await,
        Err(error) => return store_failed(&error),
    };
    let (before, after) = match edited(&known, &sent) {
        Ok(edited) => edited,
        Err(text) => return refusal(StatusCode::BAD_REQUEST, "Not published", &text),
    };
    let Some(over) = sent.over.map(Generation) else {
        return preview(&known, &operator, &sent, (&before, &after));
    };
    let author = Author { name: operator.name.clone(), note: Some(format!("storage {}", sent.storage)) };
    let bytes = serde_json::to_vec_pretty(&after).expect("a document is plain data");
    let work = move |sql: &Connection| publish_over(sql, host_id, over, &bytes, &author);
    match state.store.write(work).await {
        Ok(Ok(_)) => {}
        Ok(Err(text)) => return refusal(StatusCode::CONFLICT, "Not published", &text),
        Err(error) => return store_failed(&error),
    }
    match state.reload(host_id).await {
        Ok(()) => Redirect::to(&format!("/hosts/{host_id}#storage")).into_response(),
        Err(error) => store_failed(&error),
    }
}

struct Known {
    host: Host,
    current: Option<Published>,
    drives: Vec<DriveReport>,
}

impl Known {
    fn read(sql: &Connection, host_id: HostId) -> Result<Option<Self>, StoreError> {
        let Some(host) = hosts::get(sql, host_id)? else { return Ok(None) };
        let current = desired_history::current(sql, host_id)?;
        let drives = match host_state::latest(sql, host_id) {
            Ok(latest) => latest.map(|latest| latest.state.drives).unwrap_or_default(),
            Err(StoreError::Damaged { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Some(Self { host, current, drives }))
    }
}

/// The document as it is and as it would be.
fn edited(known: &Known, sent: &Sent) -> Result<(DesiredState, DesiredState), String> {
    let current = known.current.as_ref().ok_or(
        "Nothing is published for this host yet. Publish a document first: `felhom-hub desired publish`.",
    )?;
    let before = DesiredState::from_json(&current.bytes)
        .map_err(|error| format!("The published document is of another version: {error}."))?;
    let spec = sent.spec()?;
    let is_there = |drive: &DriveReport| {
        drive.durable_id.as_ref() == Some(&spec.durable_id)
            || drive.contents.iter().any(|content| content.known_by.contains(&spec.durable_id))
    };
    if !known.drives.iter().any(is_there) {
        return Err(
            "The box reports no drive by this name. Reload the page: it may have been unplugged.".to_owned()
        );
    }
    let mut after = before.clone();
    after.storage.retain(|other| other.storage != spec.storage && other.durable_id != spec.durable_id);
    after.storage.push(spec);
    after.check().map_err(|error| format!("{error}."))?;
    Ok((before, after))
}

/// Publishes only over what was shown: another operator may have been quicker.
fn publish_over(
    sql: &Connection,
    host_id: HostId,
    over: Generation,
    bytes: &[u8],
    author: &Author,
) -> Result<Result<Published, String>, StoreError> {
    let Some(host) = hosts::get(sql, host_id)? else { return Ok(Err("There is no such host.".to_owned())) };
    if host.desired != Some(over) {
        return Ok(Err(
            "Another generation was published meanwhile. Nothing was changed; look again.".to_owned()
        ));
    }
    match publish(sql, &host, bytes, author, false) {
        Ok(published) => Ok(Ok(published)),
        Err(PublishError::Store(error)) => Err(error),
        Err(refused) => Ok(Err(format!("{refused}."))),
    }
}

fn preview(
    known: &Known,
    operator: &Operator,
    sent: &Sent,
    (before, after): (&DesiredState, &DesiredState),
) -> Response {
    let value = |state: &DesiredState| serde_json::to_value(state).unwrap_or_default();
    let page = Preview {
        href: format!("/hosts/{}", known.host.host_id),
        name: Shown::new(&known.host.name),
        csrf: operator.csrf.clone(),
        over: known.host.desired.map_or(0, |generation| generation.0),
        formats: sent.action == "format",
        changes: diff(&value(before), &value(after)).iter().map(change_row).collect(),
        fields: sent.fields(),
    };
    let title = format!("{}, storage {}", page.name, sent.storage);
    Page { title: &title, operator, live: None }.answer(&page, &Piece::default())
}

impl Sent {
    fn spec(&self) -> Result<StorageSpec, String> {
        let storage = StorageId::new(self.storage.trim()).map_err(|error| format!("{error}."))?;
        let filesystem = match self.filesystem.as_str() {
            "" => None,
            word => Some(Filesystem::of_word(word).ok_or("There is no such file system.")?),
        };
        let label = Some(self.label.trim().to_owned()).filter(|label| !label.is_empty());
        Ok(StorageSpec {
            storage,
            durable_id: word::<DurableId>(&self.durable_id)?,
            action: word::<StorageAction>(&self.action)?,
            role: word::<StorageRole>(&self.role)?,
            class: None,
            filesystem,
            content: self.ticked().map(|(content, _)| content).collect(),
            label,
        })
    }

    fn ticked(&self) -> impl Iterator<Item = (ContentType, &'static str)> {
        let all = [
            (&self.backup, ContentType::Backup),
            (&self.images, ContentType::Images),
            (&self.import, ContentType::Import),
            (&self.iso, ContentType::Iso),
            (&self.rootdir, ContentType::Rootdir),
            (&self.vztmpl, ContentType::Vztmpl),
        ];
        let ticked = all.map(|(sent, content)| sent.is_some().then(|| (content, content.word())));
        ticked.into_iter().flatten()
    }

    fn fields(&self) -> Vec<(&'static str, Shown)> {
        let texts = [
            ("durable_id", &self.durable_id),
            ("storage", &self.storage),
            ("action", &self.action),
            ("role", &self.role),
            ("filesystem", &self.filesystem),
            ("label", &self.label),
        ];
        let texts = texts.into_iter().map(|(name, text)| (name, Shown::new(text)));
        texts.chain(self.ticked().map(|(_, word)| (word, Shown::new("on")))).collect()
    }
}

/// A word of a document, as a document would be read.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    T::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)).map_err(|error| format!("{error}."))
}
