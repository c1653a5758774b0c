//! Both ends of drives that are to be formatted: asked of the host, remembered while the drive says the same of itself.
//!
//! What is remembered serves for showing what waits for a signature. Whoever formats reads again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use felhom_shared::desired::{StorageAction, StorageSpec};
use felhom_shared::drive::DriveReport;
use felhom_shared::id::StorageId;

use super::observe::SeenStorages;
use super::plan_format::is_made;
use super::resolve::drive_of;
use crate::host::command::{Answer, DriveHead, HostCommand, ReadHead};
use crate::host::format::objection;
use crate::observe::Reading;

/// Reading wakes a sleeping drive.
const AGE_MAX: Duration = Duration::from_secs(600);

/// What was read, and of which drive.
#[derive(Debug, Default)]
pub struct Heads(BTreeMap<StorageId, (DriveReport, DriveHead, Instant)>);

impl Heads {
    /// Puts what is known, or can be read, into `seen`.
    pub async fn read(&mut self, state_dir: &Path, specs: &[StorageSpec], seen: &mut SeenStorages) {
        let wanted: Vec<(StorageId, DriveReport)> =
            specs.iter().filter_map(|spec| wanted(spec, seen)).collect();
        self.0.retain(|storage, _| wanted.iter().any(|(wanted, _)| wanted == storage));
        for (storage, drive) in wanted {
            let reading = self.one(state_dir, &storage, drive).await;
            seen.heads.insert(storage, reading);
        }
    }

    async fn one(&mut self, state_dir: &Path, storage: &StorageId, drive: DriveReport) -> Reading<DriveHead> {
        if let Some((before, head, at)) = self.0.get(storage)
            && *before == drive
            && at.elapsed() < AGE_MAX
        {
            return Reading::Present(head.clone());
        }
        let Some(durable_id) = drive.durable_id.clone() else { return Reading::Absent };
        let read = HostCommand::ReadHead(ReadHead { storage: storage.clone(), durable_id });
        match read.ask(state_dir).await {
            Ok(Answer::Head(head)) => {
                self.0.insert(storage.clone(), (drive, head.clone(), Instant::now()));
                Reading::Present(head)
            }
            Ok(_) => Reading::Absent,
            Err(failure) => Reading::Unreadable(failure),
        }
    }
}

/// The drive that is to be read, where nothing else stands in the way.
fn wanted(spec: &StorageSpec, seen: &SeenStorages) -> Option<(StorageId, DriveReport)> {
    if spec.action != StorageAction::Format || is_made(spec, seen) || !seen.served {
        return None;
    }
    let drive = drive_of(spec, seen.drives.present()?).ok()?;
    objection(drive).is_none().then(|| (spec.storage.clone(), drive.clone()))
}
