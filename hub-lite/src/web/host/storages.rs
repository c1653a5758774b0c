//! Storages on the page: what each drive is for beside how far it has come.

use std::collections::BTreeMap;

use felhom_shared::desired::{StorageAction, StorageSpec};
use felhom_shared::id::StorageId;
use felhom_shared::report::{HostState, Readiness, StorageReport};

use super::guests::{NoteRow, StepRow};
use crate::web::badge::{Badge, Tone};
use crate::web::shown::Shown;

/// One storage of the document or of the report.
pub(super) struct StorageItem {
    pub(super) id: Shown,
    pub(super) label: Option<Shown>,
    /// `None` until the box has reported on it.
    pub(super) outcome: Option<Badge>,
    pub(super) desired: Option<Shown>,
    pub(super) durable_id: Shown,
    pub(super) readiness: Option<Badge>,
    pub(super) name: Option<Shown>,
    pub(super) notes: Vec<NoteRow>,
    pub(super) steps: Vec<StepRow>,
}

/// Every storage of the document and of the report, by name.
pub(super) fn rows(specs: &[StorageSpec], state: Option<&HostState>) -> Vec<StorageItem> {
    type Sides<'a> = (Option<&'a StorageSpec>, Option<&'a StorageReport>);
    let mut storages: BTreeMap<&StorageId, Sides<'_>> = BTreeMap::new();
    for spec in specs {
        storages.entry(&spec.storage).or_default().0 = Some(spec);
    }
    for report in state.into_iter().flat_map(|state| &state.storage) {
        storages.entry(&report.storage).or_default().1 = Some(report);
    }
    storages.into_iter().map(|(id, (spec, report))| StorageItem::new(id, spec, report)).collect()
}

impl StorageItem {
    fn new(id: &StorageId, spec: Option<&StorageSpec>, report: Option<&StorageReport>) -> Self {
        let durable_id = spec.map(|spec| &spec.durable_id).or(report.map(|report| &report.durable_id));
        Self {
            id: Shown::new(id.as_str()),
            label: spec.and_then(|spec| spec.label.as_deref()).map(Shown::new),
            outcome: report.map(|report| report.outcome.into()),
            desired: spec.map(desired),
            durable_id: Shown::new(durable_id.map(|id| id.as_str()).unwrap_or_default()),
            readiness: report.map(|report| readiness(report.readiness)),
            name: report.and_then(|report| report.name.as_deref()).map(Shown::new),
            notes: report.into_iter().flat_map(|report| &report.notes).map(NoteRow::new).collect(),
            steps: report.into_iter().flat_map(|report| &report.steps).map(StepRow::new).collect(),
        }
    }
}

fn desired(spec: &StorageSpec) -> Shown {
    let action = match spec.action {
        StorageAction::Adopt => "adopt",
        StorageAction::Format => "format",
        StorageAction::Ignore => return Shown::new("ignore"),
    };
    let content: Vec<&str> = spec.content.iter().map(|content| content.word()).collect();
    Shown::new(&format!("{action} for {}: {}", spec.role.word(), content.join(", ")))
}

fn readiness(readiness: Readiness) -> Badge {
    let tone = match readiness {
        Readiness::Ready => Tone::Good,
        Readiness::Attached | Readiness::Mounted => Tone::Busy,
        Readiness::Unplugged => Tone::Warn,
        Readiness::Unknown => Tone::Quiet,
    };
    Badge { word: readiness.word(), tone }
}
