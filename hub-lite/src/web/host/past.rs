//! What was: events, reports that said something new, documents that were published.

use felhom_shared::event::Event;
use felhom_shared::id::{Generation, GuestId};
use felhom_shared::report::{HostReport, Outcome};

use super::standing::number;
use crate::store::audit::Deed;
use crate::store::desired_history::Published;
use crate::store::events::StoredEvent;
use crate::store::host_reports::StoredReport;
use crate::store::host_state::Summary;
use crate::web::amount::bytes;
use crate::web::badge::{Badge, Count};
use crate::web::moment::{Clock, Moment};
use crate::web::shown::Shown;

/// One event on the page.
pub(super) struct EventRow {
    pub(super) at: Moment,
    pub(super) severity: Badge,
    pub(super) kind: Shown,
    pub(super) guest: Option<Shown>,
    pub(super) text: Shown,
}

impl EventRow {
    /// `names` gives a guest's name where it is known.
    pub(super) fn new(stored: &StoredEvent, clock: &Clock, names: impl Fn(GuestId) -> Option<Shown>) -> Self {
        let Event { at, severity, kind, guest_id, text, .. } = &stored.event;
        Self {
            at: clock.at(*at),
            severity: (*severity).into(),
            kind: Shown::new(kind),
            guest: guest_id.map(|id| names(id).unwrap_or_else(|| Shown::new(&id.to_string()))),
            text: Shown::new(text),
        }
    }
}

/// A deed of the audit.
pub(super) struct DeedRow {
    pub(super) at: Moment,
    pub(super) actor: Shown,
    pub(super) deed: Shown,
    pub(super) detail: Shown,
}

impl DeedRow {
    pub(super) fn new(deed: &Deed, clock: &Clock) -> Self {
        Self {
            at: clock.at_ms(deed.at_ms),
            actor: Shown::new(&deed.actor),
            deed: Shown::new(&deed.deed),
            detail: Shown::new(&deed.detail),
        }
    }
}

/// A report that said something new.
pub(super) struct ReportRow {
    pub(super) at: Moment,
    pub(super) size: String,
    /// `None` if it does not read back.
    pub(super) said: Option<Said>,
}

pub(super) struct Said {
    pub(super) received: String,
    pub(super) reached: String,
    pub(super) converged: u32,
    pub(super) guests: usize,
    pub(super) counts: Vec<Count>,
    pub(super) remark: Option<&'static str>,
}

impl ReportRow {
    pub(super) fn new(stored: &StoredReport, clock: &Clock) -> Self {
        let plain = stored.body.plain().ok();
        let report: Option<HostReport> = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        Self {
            at: clock.at_ms(stored.received_at_ms),
            size: bytes(stored.body.bytes.len() as u64),
            said: report.map(|report| Said::new(&report)),
        }
    }
}

impl Said {
    fn new(report: &HostReport) -> Self {
        let summary = Summary::of(&report.state);
        let remark = match (&summary.refused, &summary.node_unreadable) {
            (Some(_), _) => Some("document refused"),
            (None, Some(_)) => Some("node unreadable"),
            (None, None) => None,
        };
        Self {
            received: number(report.state.generation.received),
            reached: number(report.state.generation.reached),
            converged: summary.outcomes.get(&Outcome::Converged).copied().unwrap_or(0),
            guests: report.state.guests.len(),
            counts: Count::all_but_converged(&summary),
            remark,
        }
    }
}

/// A published document.
pub(super) struct DocumentRow {
    pub(super) generation: Generation,
    pub(super) at: Moment,
    pub(super) author: Shown,
    pub(super) note: Option<Shown>,
    pub(super) size: String,
}

impl DocumentRow {
    pub(super) fn new(published: &Published, clock: &Clock) -> Self {
        Self {
            generation: published.generation,
            at: clock.at_ms(published.published_at_ms),
            author: Shown::new(&published.author),
            note: published.note.as_deref().map(Shown::new),
            size: bytes(published.bytes.len() as u64),
        }
    }
}
