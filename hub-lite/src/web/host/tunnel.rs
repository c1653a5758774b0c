//! The tunnel on the page: what is wanted beside what runs, and other tunnels that are not ours.

use felhom_shared::desired::{Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{HostState, Metrics, TunnelReadiness, TunnelReport};

use super::guests::{NoteRow, StepRow};
use crate::web::badge::{Badge, Tone};
use crate::web::shown::Shown;

/// The tunnel of the document or of the report.
pub(super) struct TunnelItem {
    /// `None` until the box has reported on it, and where the document says nothing of it.
    pub(super) outcome: Option<Badge>,
    pub(super) desired: Option<Shown>,
    pub(super) readiness: Option<Badge>,
    pub(super) connections: Option<String>,
    /// What is installed: the program's version and the token's hash.
    pub(super) installed: Option<Shown>,
    pub(super) notes: Vec<NoteRow>,
    pub(super) steps: Vec<StepRow>,
    pub(super) foreign: Vec<(Shown, &'static str)>,
}

/// Nothing where neither the document nor the box speaks of one.
pub(super) fn item(
    spec: Option<&TunnelSpec>,
    state: Option<&HostState>,
    newest: Option<&Metrics>,
) -> Option<TunnelItem> {
    let report = state.and_then(|state| state.tunnel.as_ref());
    if spec.is_none() && report.is_none() {
        return None;
    }
    let connections = newest.and_then(|metrics| metrics.tunnel_connections);
    Some(TunnelItem {
        outcome: report.and_then(|report| report.outcome).map(Badge::from),
        desired: spec.map(desired),
        readiness: report.map(|report| readiness(report.readiness)),
        connections: connections.map(|count| match count {
            1 => "1 connection".to_owned(),
            count => format!("{count} connections"),
        }),
        installed: report.and_then(installed),
        notes: report.into_iter().flat_map(|report| &report.notes).map(NoteRow::new).collect(),
        steps: report.into_iter().flat_map(|report| &report.steps).map(StepRow::new).collect(),
        foreign: report.into_iter().flat_map(foreign).collect(),
    })
}

fn desired(spec: &TunnelSpec) -> Shown {
    match (&spec.presence, &spec.token) {
        (Presence::Present, Some(token)) => {
            Shown::new(&format!("token {}, {}…", token.secret, token.sha256.short()))
        }
        _ => Shown::new("none"),
    }
}

fn installed(report: &TunnelReport) -> Option<Shown> {
    let token = report.token_sha256.as_ref().map(Sha256Hex::short)?;
    let version = report.version.as_deref().unwrap_or("of unknown version");
    Some(Shown::new(&format!("cloudflared {version}, token {token}…")))
}

fn foreign(report: &TunnelReport) -> impl Iterator<Item = (Shown, &'static str)> {
    report.foreign.iter().map(|foreign| {
        let remark = match (foreign.token_in_unit, foreign.updates_itself) {
            (true, _) => "its token stands in the unit, which everybody on the box can read",
            (false, true) => "it replaces its program by itself and restarts for it",
            (false, false) => "left alone",
        };
        (Shown::new(&foreign.unit), remark)
    })
}

fn readiness(readiness: TunnelReadiness) -> Badge {
    let tone = match readiness {
        TunnelReadiness::Connected => Tone::Good,
        TunnelReadiness::Unconnected => Tone::Warn,
        TunnelReadiness::Down => Tone::Bad,
        TunnelReadiness::Absent | TunnelReadiness::Unknown => Tone::Quiet,
    };
    Badge { word: readiness.word(), tone }
}
