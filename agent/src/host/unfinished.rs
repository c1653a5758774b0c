//! A guest that was being made when the power went: PVE leaves it locked, for ever, and no token may take the lock off.
//!
//! The agent asks for it to be cleared by a file, and `felhom-unfinished.service`, which is root, proves again that it is
//! half-made, that no task of it runs and that it never ran, before it unlocks and removes it. Nothing can be asked about
//! a guest that was once whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use felhom_shared::desired::GuestKind;
use felhom_shared::id::Vmid;
use felhom_shared::report::Failure;
use tokio::time::Instant;

/// Watched by `felhom-unfinished.path`. The unit makes it: where it is missing, nobody would answer.
const REQUESTS: &str = "unfinished";
/// Why something was not done.
const ANSWERS: &str = "unfinished-answers";
/// `pct` waits ten seconds for a guest's file lock, and destroying takes a while on a slow disk.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Whether there is somebody to ask.
#[must_use]
pub fn is_served(state_dir: &Path) -> bool {
    state_dir.join(REQUESTS).is_dir()
}

/// Asks, and waits for the end of it.
pub async fn clear(state_dir: &Path, kind: GuestKind, vmid: Vmid) -> Result<(), Failure> {
    let name = format!("{}-{vmid}", kind.as_str());
    let (request, answer) = (state_dir.join(REQUESTS).join(&name), state_dir.join(ANSWERS).join(&name));
    let begin = || {
        match fs::remove_file(&answer) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::write(&request, "")
    };
    begin().map_err(|error| failed(&format!("{} cannot be written: {error}", request.display())))?;
    let deadline = Instant::now() + PATIENCE;
    while request.exists() {
        if Instant::now() > deadline {
            let _ = fs::remove_file(&request);
            return Err(failed(&by_hand(kind, vmid)));
        }
        tokio::time::sleep(PAUSE).await;
    }
    refusal(&answer).map_or(Ok(()), |text| Err(failed(&text)))
}

fn refusal(answer: &PathBuf) -> Option<String> {
    let text = fs::read_to_string(answer).ok()?;
    let _ = fs::remove_file(answer);
    Some(text.trim().to_owned())
}

fn by_hand(kind: GuestKind, vmid: Vmid) -> String {
    let tool = if kind == GuestKind::Lxc { "pct" } else { "qm" };
    format!(
        "nobody answered within {PATIENCE:?}: does felhom-unfinished.path run? By hand, once no task of it runs: \
         `{tool} unlock {vmid}` and `{tool} destroy {vmid}`"
    )
}

fn failed(text: &str) -> Failure {
    Failure { code: "unfinished_not_cleared".to_owned(), text: text.to_owned() }
}
