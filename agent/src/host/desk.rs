//! Asking somebody with more rights: a file in a folder that systemd watches, and an answer in another.
//!
//! The agent has no rights over the host. What it needs done there, a unit of its own does, which is root, reads a closed
//! set of requests, proves each anew and knows nothing of any network. An answer is left only where
//! there is something to say.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::remove_if_there;

/// How a request that is not whole ends.
const DRAFT: &str = ".draft";
const PAUSE: Duration = Duration::from_millis(200);

/// Where one kind of request goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Desk {
    /// The watched folder. The agent's unit makes it: where it is missing, nobody would answer.
    pub(super) requests: &'static str,
    /// Where the answer lies, if there is one.
    pub(super) answers: &'static str,
    /// How long the work may take.
    pub(super) patience: Duration,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The request could not be left.
    NotAsked(String),
    /// Nobody took it.
    Nobody,
}

/// Removes what a kill left half-written of requests: one may hold a secret.
pub(crate) fn clear_drafts(state_dir: &Path) {
    for entry in fs::read_dir(state_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(DRAFT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Desk {
    /// Whether there is somebody to ask.
    pub(super) fn is_served(&self, state_dir: &Path) -> bool {
        state_dir.join(self.requests).is_dir()
    }

    /// Leaves a request, waits for the end of it, and returns what was said.
    pub(super) async fn ask(
        &self,
        state_dir: &Path,
        name: &str,
        request: &[u8],
    ) -> Result<Option<String>, Unanswered> {
        let (at, answer) =
            (state_dir.join(self.requests).join(name), state_dir.join(self.answers).join(name));
        let leave = || {
            remove_if_there(&answer)?;
            // Whole or not at all: whoever is woken by it must not read the half of it. It may hold a secret, so none is
            // left behind, and one that a kill left is written over.
            let draft = state_dir.join(format!("{}-{name}{DRAFT}", self.requests));
            let left = fs::write(&draft, request).and_then(|()| fs::rename(&draft, &at));
            left.inspect_err(|_| drop(fs::remove_file(&draft)))
        };
        leave()
            .map_err(|error| Unanswered::NotAsked(format!("{} cannot be written: {error}", at.display())))?;
        let deadline = Instant::now() + self.patience;
        while at.exists() {
            if Instant::now() > deadline {
                let _ = fs::remove_file(&at);
                return Err(Unanswered::Nobody);
            }
            tokio::time::sleep(PAUSE).await;
        }
        let Ok(text) = fs::read_to_string(&answer) else { return Ok(None) };
        let _ = fs::remove_file(&answer);
        Ok(Some(text.trim().to_owned()))
    }
}
