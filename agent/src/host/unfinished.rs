//! A guest that was being made when the power went: PVE leaves it locked, for ever, and no token may take the lock off.
//!
//! The agent asks for it to be cleared by a file, and `felhom-unfinished.service`, which is root, proves again that it is
//! half-made, that no task of it runs and that it never ran, before it unlocks and removes it. Nothing can be asked about
//! a guest that was once whole.

use std::path::Path;
use std::time::Duration;

use felhom_shared::desired::GuestKind;
use felhom_shared::id::Vmid;
use felhom_shared::report::Failure;

use super::desk::{Desk, Unanswered};

/// `pct` waits ten seconds for a guest's file lock, and destroying takes a while on a slow disk.
const DESK: Desk =
    Desk { requests: "unfinished", answers: "unfinished-answers", patience: Duration::from_secs(60) };

/// Whether there is somebody to ask.
#[must_use]
pub fn is_served(state_dir: &Path) -> bool {
    DESK.is_served(state_dir)
}

/// Asks, and waits for the end of it.
pub async fn clear(state_dir: &Path, kind: GuestKind, vmid: Vmid) -> Result<(), Failure> {
    let name = format!("{}-{vmid}", kind.as_str());
    let text = match DESK.ask(state_dir, &name, b"").await {
        Ok(None) => return Ok(()),
        // Only what was not done is spoken of.
        Ok(Some(text)) | Err(Unanswered::NotAsked(text)) => text,
        Err(Unanswered::Nobody) => by_hand(kind, vmid),
    };
    Err(Failure { code: "unfinished_not_cleared".to_owned(), text })
}

fn by_hand(kind: GuestKind, vmid: Vmid) -> String {
    let tool = if kind == GuestKind::Lxc { "pct" } else { "qm" };
    format!(
        "nobody answered within {:?}: does felhom-unfinished.path run? By hand, once no task of it runs: \
         `{tool} unlock {vmid}` and `{tool} destroy {vmid}`",
        DESK.patience
    )
}
