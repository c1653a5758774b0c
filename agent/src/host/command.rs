//! What the agent may ask to be done to the host's drives: a closed set of values, done by `felhom-host`, which is root and
//! has no network.
//!
//! A request names a file system by its UUID and a storage by its name. It names no device, no path and no option, so that
//! whoever speaks for the agent can mount a drive below `/mnt/felhom` and write a marker there, and nothing else.

use std::path::Path;
use std::time::Duration;

use felhom_shared::desired::Filesystem;
use felhom_shared::id::StorageId;
use felhom_shared::report::Failure;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::desk::{Desk, Unanswered};
use super::marker::Marker;

/// The watched folder within the agent's state folder.
pub const REQUESTS: &str = "host";
/// Why something was not done: a [`Failure`] as JSON.
pub const ANSWERS: &str = "host-answers";
/// A drive that is being checked after a crash takes its time to mount.
const DESK: Desk = Desk { requests: REQUESTS, answers: ANSWERS, patience: Duration::from_secs(120) };

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HostCommand {
    /// Mount a file system where its storage belongs, now and at every boot.
    MountDrive(MountDrive),
    /// Take away what is mounted where the storage belongs: its drive is gone.
    UnmountDrive(UnmountDrive),
    /// Write the marker, on a file system that has none.
    MarkDrive(MarkDrive),
}

/// See [`HostCommand::MountDrive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountDrive {
    /// For which storage.
    pub storage: StorageId,
    /// The file system.
    pub uuid: Uuid,
    /// Its kind.
    pub filesystem: Filesystem,
}

/// See [`HostCommand::UnmountDrive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmountDrive {
    /// Of which storage.
    pub storage: StorageId,
}

/// See [`HostCommand::MarkDrive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkDrive {
    /// The file system, which must be mounted where the marker's storage belongs.
    pub uuid: Uuid,
    /// What to write.
    pub marker: Marker,
}

impl HostCommand {
    /// About which storage it is.
    #[must_use]
    pub fn storage(&self) -> &StorageId {
        match self {
            Self::MountDrive(mount) => &mount.storage,
            Self::UnmountDrive(unmount) => &unmount.storage,
            Self::MarkDrive(mark) => &mark.marker.storage,
        }
    }

    /// Asks for it, and waits for the end of it.
    pub async fn ask(&self, state_dir: &Path) -> Result<(), Failure> {
        let request = serde_json::to_vec(self).expect("a command is plain data");
        let answer = DESK.ask(state_dir, self.storage().as_str(), &request).await;
        answer.map_err(|unanswered| match unanswered {
            Unanswered::Refused(text) => serde_json::from_str(&text).unwrap_or_else(|_| not_done(text)),
            Unanswered::NotAsked(text) => not_done(text),
            Unanswered::Nobody => not_done(format!(
                "nobody answered within {:?}: does felhom-host.path run? `systemctl status felhom-host` says more",
                DESK.patience
            )),
        })
    }
}

/// Whether there is somebody to ask.
#[must_use]
pub fn is_served(state_dir: &Path) -> bool {
    DESK.is_served(state_dir)
}

fn not_done(text: String) -> Failure {
    Failure { code: "host_command_failed".to_owned(), text }
}
