//! Guests wait for the drives they lie on. Pure.
//!
//! A guest whose storage is a drive that is not there, or not proven to be the right one, is left exactly as it is:
//! nothing is made, changed or started on it until the drive is back. Every other guest goes on.

use std::collections::BTreeSet;

use felhom_shared::desired::{GuestSpec, MountSource, Source};
use felhom_shared::id::StorageId;
use felhom_shared::report::{NoteKind, Outcome, Readiness};

use super::GuestPlan;
use crate::resources::storage::plan::StoragePlan;

/// Takes back the steps of a guest that has something on a storage that is not ready.
pub(super) fn wait(spec: &GuestSpec, storages: &[StoragePlan], guest: &mut GuestPlan) {
    let needed = storages_of(spec);
    let missing = storages
        .iter()
        .find(|storage| needed.contains(&storage.storage) && storage.readiness != Readiness::Ready);
    let Some(missing) = missing else { return };
    guest.steps.clear();
    let why = missing.notes.first().map(|note| format!(": {}", note.text)).unwrap_or_default();
    let text = format!(
        "{} lies on the storage {}, which is {}{why}",
        guest.name,
        missing.storage,
        missing.readiness.word()
    );
    guest.note(NoteKind::Waiting, "storage_not_ready", text);
    guest.outcome = match guest.outcome {
        Outcome::Converged | Outcome::Converging => Outcome::Waiting,
        graver => graver,
    };
}

/// Every storage that the document puts something of the guest on.
fn storages_of(spec: &GuestSpec) -> BTreeSet<&StorageId> {
    let disks = spec.disks.values().map(|disk| &disk.storage);
    let mounts = spec.mounts.values().filter_map(|mount| match &mount.source {
        MountSource::Volume(disk) => Some(&disk.storage),
        MountSource::Bind(_) => None,
    });
    let source = match &spec.source {
        Source::Template(file) | Source::Image(file) => Some(&file.storage),
        Source::Clone(clone) => clone.storage.as_ref(),
    };
    disks.chain(mounts).chain(source).collect()
}
