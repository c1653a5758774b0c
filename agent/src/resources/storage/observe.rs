//! Readings of the document's storages: the drives that are attached, what is mounted, the marker, and PVE's definitions.
//! Reads only; decides nothing.

use std::collections::BTreeMap;
use std::path::Path;

use felhom_shared::desired::StorageSpec;
use felhom_shared::drive::DriveReport;
use felhom_shared::id::{HostId, StorageId};
use felhom_shared::ordered;
use felhom_shared::report::Failure;
use uuid::Uuid;

use super::live;
use super::mark::DriveMarks;
use crate::host::block::Pool;
use crate::host::command::{DriveHead, is_served};
use crate::host::marker::Marker;
use crate::observe::{Reading, failure};
use crate::pve::{Pve, StorageDefinition};

/// All that a plan of the storages depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenStorages {
    /// This box, whose name stands in markers.
    pub host_id: HostId,
    /// Attached now.
    pub drives: Reading<Vec<DriveReport>>,
    /// By the document's names.
    pub storages: BTreeMap<StorageId, SeenStorage>,
    /// Both ends of the drives that are to be formatted.
    pub heads: BTreeMap<StorageId, Reading<DriveHead>>,
    /// Markers that were accepted before.
    pub marks: DriveMarks,
    /// Whether somebody mounts drives for us.
    pub served: bool,
    /// For a drive that gets its marker now.
    pub fresh: Uuid,
}

/// One storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenStorage {
    /// Whether anything is mounted where it belongs.
    pub mounted: bool,
    /// The pool that is mounted there, if it is one.
    pub pool: Option<Pool>,
    /// The marker of what is mounted there.
    pub marker: Reading<Marker>,
    /// As PVE defines it.
    pub definition: Reading<StorageDefinition>,
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// `/`, but in tests and beside a double.
    pub root: &'a Path,
    /// The agent's state.
    pub state_dir: &'a Path,
}

/// Reads everything about these storages.
pub async fn observe(
    pve: &Pve,
    place: Place<'_>,
    specs: &[StorageSpec],
    known: (HostId, Reading<Vec<DriveReport>>, DriveMarks),
) -> SeenStorages {
    let (host_id, drives, marks) = known;
    let definitions = definitions(pve, specs).await;
    let seen = specs.iter().map(|spec| {
        let definition = definitions.get(&spec.storage).cloned().unwrap_or(Reading::Absent);
        let live::Place { mounted, pool, marker } = live::look(place.root, &spec.storage);
        (spec.storage.clone(), SeenStorage { mounted, pool, marker, definition })
    });
    SeenStorages {
        host_id,
        drives,
        storages: ordered::map(seen),
        heads: BTreeMap::new(),
        marks,
        served: is_served(place.state_dir),
        fresh: Uuid::new_v4(),
    }
}

/// PVE shows a caller only what it may see: a definition that is not shown is absent only with the right to see it.
async fn definitions(pve: &Pve, specs: &[StorageSpec]) -> BTreeMap<StorageId, Reading<StorageDefinition>> {
    let all = |reading: Reading<StorageDefinition>| {
        ordered::map(specs.iter().map(|spec| (spec.storage.clone(), reading.clone())))
    };
    let listed = match pve.storage_definitions().await {
        Ok(listed) => listed,
        Err(error) => return all(Reading::Unreadable(failure(&error))),
    };
    let find = |spec: &StorageSpec| listed.iter().find(|entry| entry.storage == spec.storage.as_str());
    let permissions = if specs.iter().all(|spec| find(spec).is_some()) {
        None
    } else {
        match pve.permissions().await {
            Ok(permissions) => Some(permissions),
            Err(error) => return all(Reading::Unreadable(failure(&error))),
        }
    };
    let reading = |spec: &StorageSpec| {
        if let Some(found) = find(spec) {
            return Reading::Present(found.clone());
        }
        let path = format!("/storage/{}", spec.storage);
        if permissions.as_ref().is_some_and(|permissions| permissions.has(&path, "Datastore.Audit")) {
            return Reading::Absent;
        }
        let text =
            format!("the agent's token has no Datastore.Audit on {path}, so PVE would hide the storage");
        Reading::Unreadable(Failure { code: "no_right_to_see".to_owned(), text })
    };
    ordered::map(specs.iter().map(|spec| (spec.storage.clone(), reading(spec))))
}
