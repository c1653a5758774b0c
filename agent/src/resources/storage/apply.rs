//! One storage step, done. Makes no choice and never tries again: what to do about an error is decided by reading and
//! planning anew. Every step is one that can be done twice without harm.

use std::collections::BTreeMap;
use std::path::Path;

use felhom_shared::id::StorageId;
use felhom_shared::report::Failure;

use super::step::StorageStep;
use crate::host::command::{HostCommand, MarkDrive, UnmountDrive};
use crate::observe::failure;
use crate::pve::Pve;

/// Asks the host or PVE for it.
pub async fn apply(
    pve: &Pve,
    state_dir: &Path,
    storage: &StorageId,
    step: &StorageStep,
) -> Result<(), Failure> {
    match step {
        StorageStep::MountDrive(mount) => {
            HostCommand::MountDrive(mount.clone()).ask(state_dir).await.map(drop)
        }
        StorageStep::UnmountDrive(unmount) => {
            HostCommand::UnmountDrive(unmount.clone()).ask(state_dir).await.map(drop)
        }
        StorageStep::MarkDrive(mark) => HostCommand::MarkDrive(mark.clone()).ask(state_dir).await.map(drop),
        StorageStep::AssignStorage(assign) => {
            let mark = MarkDrive { id: assign.id.clone(), marker: assign.marker.clone() };
            HostCommand::RemarkDrive(mark).ask(state_dir).await?;
            let content: Vec<&str> = assign.content.iter().map(|content| content.word()).collect();
            let set = BTreeMap::from([("content".to_owned(), content.join(","))]);
            let changed = pve.change_storage(storage, &set, &[], &assign.digest).await;
            changed.map_err(|error| explained(&error))
        }
        StorageStep::DetachStorage(_) => {
            pve.forget_storage(storage).await.map_err(|error| explained(&error))?;
            let release = UnmountDrive { storage: storage.clone() };
            HostCommand::ReleaseDrive(release).ask(state_dir).await.map(drop)
        }
        // Only the box's own memory is about it: `execute` has changed that.
        StorageStep::ReplaceDrive(_) => Ok(()),
        // Its envelope is the ledger's: `execute` brings both to the host.
        StorageStep::FormatDrive(_) => Err(Failure {
            code: "step_needs_signature".to_owned(),
            text: "a drive is formatted only on the word of a signature".to_owned(),
        }),
        StorageStep::DefineStorage(params) => {
            pve.define_storage(params).await.map_err(|error| explained(&error))
        }
        StorageStep::ChangeStorage(change) => {
            let changed = pve.change_storage(storage, &change.set, &change.delete, &change.digest).await;
            changed.map_err(|error| explained(&error))
        }
    }
}

/// The one right that only this part of the work needs is not given by default.
fn explained(error: &crate::pve::PveError) -> Failure {
    let mut failure = failure(error);
    if failure.text.contains("Datastore.Allocate") {
        failure.text.push_str(" `felhom-pve-role setup --storage` gives the agent's token this right");
    }
    failure
}
