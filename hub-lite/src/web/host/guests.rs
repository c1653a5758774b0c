//! The guests of one host: what each should be beside what it is.

use std::collections::BTreeMap;

use felhom_shared::desired::{GuestKind, GuestSpec, MountSource, Power, Presence, Source};
use felhom_shared::id::GuestId;
use felhom_shared::report::{Class, GuestReport, HostState, Note, Observed, StepReport, UnmanagedGuest};

use crate::web::amount::{count, mebibytes};
use crate::web::badge::Badge;
use crate::web::shown::Shown;

/// One guest on the page.
pub(super) struct GuestRow {
    pub(super) id: String,
    pub(super) name: Shown,
    pub(super) kind: &'static str,
    pub(super) vmid: u32,
    /// `None` until the box has reported on it.
    pub(super) outcome: Option<Badge>,
    pub(super) desired: Option<DesiredGuest>,
    pub(super) observed: Option<ObservedGuest>,
    pub(super) notes: Vec<NoteRow>,
    pub(super) steps: Vec<StepRow>,
    pub(super) steps_title: String,
    pub(super) steps_open: bool,
}

/// What the published document says.
pub(super) struct DesiredGuest {
    pub(super) power: &'static str,
    pub(super) size: String,
    pub(super) volumes: Vec<String>,
    pub(super) networks: Vec<Shown>,
    pub(super) source: Shown,
}

/// What the box saw.
pub(super) struct ObservedGuest {
    pub(super) status: Shown,
    pub(super) lock: Option<Shown>,
    pub(super) pending: Vec<Shown>,
}

pub(super) struct NoteRow {
    pub(super) kind: Badge,
    pub(super) code: Shown,
    pub(super) text: Shown,
}

pub(super) struct StepRow {
    pub(super) step: Shown,
    pub(super) detail: Shown,
    pub(super) guarded: bool,
    pub(super) outcome: Badge,
    pub(super) upid: Option<Shown>,
    pub(super) error: Option<(Shown, Shown)>,
}

/// A guest that is not ours to touch.
pub(super) struct UnmanagedRow {
    pub(super) vmid: u32,
    pub(super) kind: &'static str,
    pub(super) name: Shown,
    pub(super) status: Shown,
    pub(super) marked: bool,
}

/// Every guest of the document and of the report, by vmid.
pub(super) fn rows(specs: &[GuestSpec], state: Option<&HostState>) -> Vec<GuestRow> {
    type Sides<'a> = (Option<&'a GuestSpec>, Option<&'a GuestReport>);
    let mut guests: BTreeMap<GuestId, Sides<'_>> = BTreeMap::new();
    for spec in specs {
        guests.entry(spec.guest_id).or_default().0 = Some(spec);
    }
    for report in state.into_iter().flat_map(|state| &state.guests) {
        guests.entry(report.guest_id).or_default().1 = Some(report);
    }
    let mut rows: Vec<GuestRow> =
        guests.into_iter().map(|(id, (spec, report))| GuestRow::new(id, spec, report)).collect();
    rows.sort_by_key(|row| row.vmid);
    rows
}

/// The guests that the desired state does not name, by vmid.
pub(super) fn unmanaged(guests: &[UnmanagedGuest]) -> Vec<UnmanagedRow> {
    let mut rows: Vec<UnmanagedRow> = guests
        .iter()
        .map(|guest| UnmanagedRow {
            vmid: guest.vmid.get(),
            kind: kind(guest.kind),
            name: Shown::new(&guest.name),
            status: Shown::new(&guest.status),
            marked: guest.marked,
        })
        .collect();
    rows.sort_by_key(|row| row.vmid);
    rows
}

impl GuestRow {
    fn new(id: GuestId, spec: Option<&GuestSpec>, report: Option<&GuestReport>) -> Self {
        let steps = report.map_or(&[][..], |report| &report.steps);
        let name = spec.map(|spec| spec.name.as_str()).or(report.map(|report| report.name.as_str()));
        let vmid = spec.map(|spec| spec.vmid).or(report.map(|report| report.vmid));
        let guest_kind = spec.map(|spec| spec.kind).or(report.map(|report| report.kind));
        Self {
            id: id.to_string(),
            name: Shown::new(name.unwrap_or_default()),
            kind: guest_kind.map(kind).unwrap_or_default(),
            vmid: vmid.map(felhom_shared::id::Vmid::get).unwrap_or_default(),
            outcome: report.map(|report| report.outcome.into()),
            desired: spec.map(DesiredGuest::new),
            observed: report.map(|report| ObservedGuest::new(&report.observed)),
            notes: report.into_iter().flat_map(|report| &report.notes).map(NoteRow::new).collect(),
            steps: steps.iter().map(StepRow::new).collect(),
            steps_title: format!("{} in the last cycle", count(steps.len(), "step")),
            steps_open: steps.iter().any(|step| step.error.is_some()),
        }
    }
}

impl DesiredGuest {
    fn new(spec: &GuestSpec) -> Self {
        let power = match (spec.presence, spec.power) {
            (Presence::Absent, _) => "absent",
            (Presence::Present, Power::Running) => "running",
            (Presence::Present, Power::Stopped) => "stopped",
        };
        let swap = spec.swap_mib.map(|swap| format!(" · {} swap", mebibytes(swap))).unwrap_or_default();
        let size = format!("{} · {}{swap}", count(spec.cores as usize, "core"), mebibytes(spec.memory_mib));
        let disks =
            spec.disks.iter().map(|(key, disk)| format!("{key} {} GiB on {}", disk.size_gib, disk.storage));
        let mounts = spec.mounts.iter().map(|(key, mount)| match &mount.source {
            MountSource::Volume(disk) => {
                format!("{key} {} GiB on {} at {}", disk.size_gib, disk.storage, mount.path)
            }
            MountSource::Bind(folder) => format!("{key} {folder} at {}", mount.path),
        });
        let networks = spec.networks.iter().map(|(key, card)| {
            let vlan = card.vlan.map(|vlan| format!(" vlan {vlan}")).unwrap_or_default();
            let ip = card.ip.as_deref().map(|ip| format!(" {ip}")).unwrap_or_default();
            Shown::new(&format!("{key} {}{vlan}{ip}", card.bridge))
        });
        let source = match &spec.source {
            Source::Template(template) => format!("template {}", template.file),
            Source::Clone(clone) => format!("clone of {}", clone.vmid),
            Source::Image(image) => format!("image {}", image.file),
        };
        Self {
            power,
            size,
            volumes: disks.chain(mounts).collect(),
            networks: networks.collect(),
            source: Shown::new(&source),
        }
    }
}

impl ObservedGuest {
    fn new(observed: &Observed) -> Self {
        match observed {
            Observed::Present { status, lock, pending } => Self {
                status: Shown::new(status),
                lock: lock.as_deref().map(Shown::new),
                pending: pending.iter().map(|key| Shown::new(key)).collect(),
            },
            Observed::Absent => Self::word("not there"),
            Observed::Unreadable => Self::word("unreadable"),
        }
    }

    fn word(word: &str) -> Self {
        Self { status: Shown::new(word), lock: None, pending: Vec::new() }
    }
}

impl NoteRow {
    pub(super) fn new(note: &Note) -> Self {
        Self { kind: note.kind.into(), code: Shown::new(&note.code), text: Shown::new(&note.text) }
    }
}

impl StepRow {
    pub(super) fn new(step: &StepReport) -> Self {
        Self {
            step: Shown::new(&step.step),
            detail: Shown::new(&step.detail),
            guarded: step.class == Class::Guarded,
            outcome: step.outcome.into(),
            upid: step.upid.as_deref().map(Shown::new),
            error: step.error.as_ref().map(|error| (Shown::new(&error.code), Shown::new(&error.text))),
        }
    }
}

fn kind(kind: GuestKind) -> &'static str {
    kind.as_str()
}
