//! Drives on the page: what is attached, what it is known by, and what is on it.

use felhom_shared::desired::StorageSpec;
use felhom_shared::drive::{Content, DriveReport, DurableId};

use crate::web::amount::bytes;
use crate::web::badge::{Badge, Tone};
use crate::web::shown::Shown;

/// One drive.
pub(super) struct DriveRow {
    pub(super) title: Shown,
    pub(super) place: Shown,
    pub(super) size: String,
    pub(super) health: Badge,
    /// What is left of its life.
    pub(super) life: Option<String>,
    pub(super) words: Vec<&'static str>,
    pub(super) durable_id: Option<Shown>,
    pub(super) contents: Vec<ContentRow>,
    pub(super) problems: Vec<(Shown, Shown)>,
    /// For the form's own ids.
    pub(super) key: String,
    /// What of it can be given a purpose: its identity, and how a person finds it. None where it has one, or must not.
    pub(super) offers: Vec<(Shown, Shown)>,
}

/// What is on a drive.
pub(super) struct ContentRow {
    pub(super) name: Shown,
    pub(super) what: Shown,
    pub(super) size: String,
    pub(super) known_by: Option<Shown>,
    pub(super) used_by: Vec<Shown>,
}

pub(super) fn rows(drives: &[DriveReport], assigned: &[StorageSpec]) -> Vec<DriveRow> {
    drives.iter().zip(1..).map(|(drive, number)| DriveRow::new(drive, number, assigned)).collect()
}

impl DriveRow {
    fn new(drive: &DriveReport, number: usize, assigned: &[StorageSpec]) -> Self {
        let serial = drive.serial.as_deref().map(|serial| format!(" {serial}")).unwrap_or_default();
        let words = [(drive.system, "the box runs from it"), (drive.read_only, "read-only")];
        Self {
            title: Shown::new(&format!("{}{serial}", drive.model.as_deref().unwrap_or("drive"))),
            place: Shown::new(&format!("{} {}", drive.kind, drive.name)),
            size: bytes(drive.size_bytes),
            health: health(drive.health.as_deref()),
            life: drive.life_left_percent.map(|percent| format!("{percent} % of its life left")),
            words: words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect(),
            durable_id: drive.durable_id.as_ref().map(|id| Shown::new(id.as_str())),
            contents: drive.contents.iter().map(ContentRow::new).collect(),
            problems: drive
                .problems
                .iter()
                .map(|problem| (Shown::new(&problem.text), Shown::new(&problem.code)))
                .collect(),
            key: format!("assign-{number}"),
            offers: offers(drive, assigned),
        }
    }
}

/// Only what the box can tell from everything else, and does not run from.
fn offers(drive: &DriveReport, assigned: &[StorageSpec]) -> Vec<(Shown, Shown)> {
    let ids = drive.contents.iter().flat_map(|content| &content.known_by).chain(&drive.durable_id);
    let is_assigned = |id: &DurableId| assigned.iter().any(|spec| spec.durable_id == *id);
    if drive.system || drive.clash().is_some() || ids.clone().any(is_assigned) {
        return Vec::new();
    }
    let content = |content: &Content| {
        let what = content.format.as_deref().unwrap_or("nothing recognised");
        let label = content.label.as_deref().map(|label| format!(" “{label}”")).unwrap_or_default();
        let id = content.known_by.first()?;
        Some((Shown::new(id.as_str()), Shown::new(&format!("{what}{label} on {}", content.name))))
    };
    let whole = drive.durable_id.as_ref();
    let whole =
        whole.map(|id| (Shown::new(id.as_str()), Shown::new(&format!("the whole drive {}", drive.name))));
    drive.contents.iter().filter_map(content).chain(whole).collect()
}

impl ContentRow {
    fn new(content: &Content) -> Self {
        let label = content.label.as_deref().map(|label| format!(" “{label}”")).unwrap_or_default();
        let what = content.format.as_deref().unwrap_or("nothing recognised");
        let mounted = content.mounted_at.iter().map(|point| format!("mounted at {point}"));
        let held = content.held_by.iter().map(|holder| format!("held by {holder}"));
        Self {
            name: Shown::new(&content.name),
            what: Shown::new(&format!("{what}{label}")),
            size: bytes(content.size_bytes),
            known_by: content.known_by.first().map(|id| Shown::new(id.as_str())),
            used_by: mounted.chain(held).map(|text| Shown::new(&text)).collect(),
        }
    }
}

/// SMART's word: PVE writes `PASSED` or `OK` for a drive that is well.
fn health(word: Option<&str>) -> Badge {
    match word {
        None => Badge { word: "health not known", tone: Tone::Quiet },
        Some("PASSED" | "OK") => Badge { word: "healthy", tone: Tone::Good },
        Some(word) if word.starts_with("FAIL") => Badge { word: "failing", tone: Tone::Bad },
        Some(_) => Badge { word: "health unclear", tone: Tone::Warn },
    }
}
