//! The frame around every page, and the pages that say no.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::session::Operator;
use super::{assets, shown::Shown};
use crate::store::StoreError;
use felhom_shared::text::chain;

#[derive(Template)]
#[template(path = "layout.html")]
struct Layout<'a> {
    title: &'a str,
    /// Who is logged in, with the token of their forms.
    operator: Option<(Shown, &'a str)>,
    live: Option<&'a str>,
    style: &'static str,
    script: &'static str,
    content: &'a str,
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    title: &'a str,
    text: &'a str,
}

/// Whether the script asks for the inside of a page only.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Piece {
    #[serde(default)]
    fragment: Option<String>,
}

/// A page for a logged-in operator.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) operator: &'a Operator,
    /// Where changes of this page are told, if it is live.
    pub(super) live: Option<&'a str>,
}

impl Page<'_> {
    pub(super) fn answer(&self, content: &impl Template, piece: &Piece) -> Response {
        let content = match content.render() {
            Ok(content) => content,
            Err(error) => return broken(&error),
        };
        if piece.fragment.is_some() {
            return Html(content).into_response();
        }
        let operator = Some((Shown::new(&self.operator.name), self.operator.csrf.as_str()));
        frame(StatusCode::OK, &Layout { operator, live: self.live, ..layout(self.title, &content) })
    }
}

/// A page for somebody who is not logged in.
pub(super) fn bare(status: StatusCode, title: &str, content: &impl Template) -> Response {
    match content.render() {
        Ok(content) => frame(status, &layout(title, &content)),
        Err(error) => broken(&error),
    }
}

/// A page that says no.
pub(super) fn refusal(status: StatusCode, title: &str, text: &str) -> Response {
    bare(status, title, &Refusal { title, text })
}

/// What is not there.
pub(super) async fn nothing_here() -> Response {
    refusal(StatusCode::NOT_FOUND, "Nothing here", "There is no such page, or no longer such a host.")
}

/// The store did not answer. What exactly failed is for the log.
pub(super) fn store_failed(error: &StoreError) -> Response {
    tracing::error!("a page could not be shown: {}", chain(error));
    let text = "The hub could not use its database. Its log says why; nothing was changed.";
    refusal(StatusCode::SERVICE_UNAVAILABLE, "The database did not answer", text)
}

fn layout<'a>(title: &'a str, content: &'a str) -> Layout<'a> {
    let (style, script) = (assets::style(), assets::script());
    Layout { title, operator: None, live: None, style, script, content }
}

fn frame(status: StatusCode, layout: &Layout<'_>) -> Response {
    match layout.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => broken(&error),
    }
}

/// Templates write into memory, so this is out of reach; it still must not be silent.
fn broken(error: &askama::Error) -> Response {
    tracing::error!("a page could not be rendered: {error}");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
