//! One cleared step, one request. Makes no choice and never tries again: what to do about an error is decided by
//! reading the guest and planning anew.

use felhom_shared::desired::GuestKind;

use crate::ops::Cleared;
use crate::pve::{ConfigChange, GuestAt, Params, Pve, PveError, RefusedCause, TemplateDownload, Upid};
use crate::step::Step;

/// Sends the step's request. PVE answers with a task, or with nothing where it has done the thing at once.
pub async fn apply(pve: &Pve, guest: GuestAt<'_>, cleared: Cleared<'_>) -> Result<Option<Upid>, PveError> {
    match cleared.step() {
        Step::FetchFile(fetch) => {
            let download = TemplateDownload {
                url: &fetch.url,
                content: &fetch.content,
                filename: &fetch.file,
                checksum: &fetch.checksum.value,
                algorithm: fetch.checksum.algorithm.as_str(),
            };
            pve.download_template(guest.node, &fetch.storage, &download).await.map(Some)
        }
        Step::CreateGuest(create) => {
            let params = with(&create.params, "vmid", guest.vmid);
            match guest.kind {
                GuestKind::Lxc => pve.create_lxc(guest.node, &params).await.map(Some),
                GuestKind::Qemu => pve.create_qemu(guest.node, &params).await.map(Some),
            }
        }
        Step::CloneGuest(clone) => {
            let source = GuestAt { vmid: clone.source, ..guest };
            pve.clone_guest(source, &with(&clone.params, "newid", guest.vmid)).await.map(Some)
        }
        Step::SetConfig(config) => {
            let change = ConfigChange {
                set: config.set.clone(),
                delete: config.delete.clone(),
                digest: Some(config.digest.clone()),
            };
            pve.set_config(guest, &change).await
        }
        Step::GrowDisk(grow) => pve.resize(guest, &grow.slot, &format!("{}G", grow.size_gib)).await,
        Step::DestroyGuest(_) => pve.destroy(guest).await.map(Some),
        Step::RollbackGuest(rollback) => pve.rollback(guest, &rollback.snapshot).await.map(Some),
        Step::RestoreGuest(restore) => pve.restore_over(guest, &restore.volid).await.map(Some),
        // Nothing that the guests' API could do: `execute` asks the host, or storage's own folder.
        Step::ClearUnfinished(_) | Step::Storage(_) | Step::Tunnel(_) => Ok(None),
        Step::StartGuest => pve.start(guest).await.map(Some),
        Step::ShutdownGuest { timeout_s } => pve.shutdown(guest, *timeout_s, false).await.map(Some),
        Step::RebootGuest { timeout_s } => pve.reboot(guest, *timeout_s).await.map(Some),
    }
}

/// Whether an error says that the goal was reached before we asked.
#[must_use]
pub fn is_already_true(step: &Step, error: &PveError) -> bool {
    let PveError::Refused { cause, .. } = error else { return false };
    matches!(
        (step, cause),
        (Step::StartGuest, RefusedCause::AlreadyRunning)
            | (Step::ShutdownGuest { .. }, RefusedCause::NotRunning)
            | (Step::GrowDisk(_), RefusedCause::AlreadySized)
    )
}

/// Whether a plan made after an error still wants what the step was to do.
#[must_use]
pub fn is_still_wanted(step: &Step, planned: &[Step]) -> bool {
    planned.iter().any(|other| match (step, other) {
        (Step::SetConfig(ours), Step::SetConfig(theirs)) => {
            ours.set.keys().any(|key| theirs.set.contains_key(key))
                || ours.delete.iter().any(|key| theirs.delete.contains(key))
        }
        (Step::GrowDisk(ours), Step::GrowDisk(theirs)) => ours.slot == theirs.slot,
        _ => step.word() == other.word(),
    })
}

fn with(params: &Params, key: &str, vmid: felhom_shared::id::Vmid) -> Params {
    let mut params = params.clone();
    params.insert(key.to_owned(), vmid.to_string());
    params
}
