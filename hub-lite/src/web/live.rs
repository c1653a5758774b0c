//! `GET /live` and `/hosts/{id}/live`: tells an open page that something has changed. Never what: the page then
//! fetches its own inside, with its own session.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use felhom_shared::id::HostId;
use futures_util::stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::session::{Operator, SessionKey};
use crate::state::AppState;

/// Open pages at once: each is a connection and a task.
const SEATS: usize = 200;
/// How often an open page hears that the hub is there; also how long a dead session lives on.
const BEAT: Duration = Duration::from_secs(15);
/// A page of many hosts would otherwise be fetched anew with every report of any of them.
const PAUSE_ALL: Duration = Duration::from_secs(5);
const PAUSE_ONE: Duration = Duration::from_secs(1);
const LOOK_FOR_STOP: Duration = Duration::from_millis(500);

/// How many more pages may be open.
#[derive(Clone)]
pub(super) struct Seats(Arc<Semaphore>);

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SEATS)))
    }
}

pub(super) async fn all(
    State(state): State<AppState>,
    Extension(seats): Extension<Seats>,
    operator: Operator,
) -> Response {
    watch(state, &seats, operator.key, (None, PAUSE_ALL))
}

pub(super) async fn one(
    State(state): State<AppState>,
    Extension(seats): Extension<Seats>,
    operator: Operator,
    Path(host_id): Path<HostId>,
) -> Response {
    watch(state, &seats, operator.key, (Some(host_id), PAUSE_ONE))
}

struct Watch {
    state: AppState,
    bell: Receiver<HostId>,
    session: SessionKey,
    host_id: Option<HostId>,
    pause: Duration,
    greeted: bool,
    _seat: OwnedSemaphorePermit,
}

fn watch(
    state: AppState,
    seats: &Seats,
    session: SessionKey,
    (host_id, pause): (Option<HostId>, Duration),
) -> Response {
    let Ok(seat) = Arc::clone(&seats.0).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "60")]).into_response();
    };
    let bell = state.changes.subscribe();
    let watch = Watch { state, bell, session, host_id, pause, greeted: false, _seat: seat };
    Sse::new(stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    }))
    .into_response()
}

impl Watch {
    /// The next thing to tell; `None` once the session has ended or the hub stops.
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            return Some(Event::default().event("hello").data("live"));
        }
        let state = self.state.clone();
        let rung = tokio::select! {
            rung = self.rung() => rung,
            () = tokio::time::sleep(BEAT) => false,
            () = stopping(&state) => return None,
        };
        if !self.session_lives().await {
            return None;
        }
        if !rung {
            return Some(Event::default().comment("here"));
        }
        tokio::time::sleep(self.pause).await;
        // What rang meanwhile is told with this; a bell that cannot be emptied rings again, which does no harm.
        self.bell = self.bell.resubscribe();
        Some(Event::default().event("changed").data("look"))
    }

    /// Waits until this page's host rings; `false` when the hub stops. Missed rings count as one.
    async fn rung(&mut self) -> bool {
        loop {
            match self.bell.recv().await {
                Ok(host_id) if self.host_id.is_none_or(|wanted| wanted == host_id) => return true,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => return false,
            }
        }
    }

    async fn session_lives(&self) -> bool {
        matches!(self.session.find(&self.state.store).await, Ok(Some(_)))
    }
}

/// Ends soon after the hub was told to stop: an open page must not hold it up.
async fn stopping(state: &AppState) {
    while !state.live.is_stopping() {
        tokio::time::sleep(LOOK_FOR_STOP).await;
    }
}
