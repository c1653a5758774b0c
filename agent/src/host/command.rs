//! What the agent may ask to be done to the host: a closed set of values, done by `felhom-host`, which is root and has no
//! network.
//!
//! A request names a file system by its UUID, a pool by its number and a storage by its name. It names no device, no path and no option, so that
//! whoever speaks for the agent can mount a drive below `/mnt/felhom` and write a marker there. To format one it takes a
//! signature, which `felhom-host` checks itself. The tunnel's token passes through it, in a file that only root reads and
//! that is gone when the answer is there.

use std::path::Path;
use std::time::Duration;

use felhom_shared::desired::Filesystem;
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::Failure;
use felhom_shared::signed::HeadDigest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::desk::{Desk, Unanswered};
use super::marker::Marker;
use super::tunnel::{TunnelCommand, UnitState};

/// The watched folder within the agent's state folder.
pub const REQUESTS: &str = "host";
/// Where answers lie: [`Answer`] as JSON.
pub const ANSWERS: &str = "host-answers";
/// No storage's name ends so.
const TUNNEL: &str = "tunnel-";
/// A drive that is being checked after a crash takes its time to mount, and a large one to be formatted.
const DESK: Desk = Desk { requests: REQUESTS, answers: ANSWERS, patience: Duration::from_secs(240) };

const LOOK_PATIENCE: Duration = Duration::from_secs(15);

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
    /// Write another role into a marker that is there.
    RemarkDrive(MarkDrive),
    /// Unmount a drive, and mount it no more at boot.
    ReleaseDrive(UnmountDrive),
    /// Read both ends of a drive, where partition tables and file systems begin.
    ReadHead(ReadHead),
    /// Make a new file system on a drive, on the word of a signature.
    FormatDrive(SignedFormat),
    /// Change the Cloudflare tunnel, on trial.
    Tunnel(TunnelCommand),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done; nothing is left to say.
    Done,
    /// It was not done.
    Failed(Failure),
    /// What was read.
    Head(DriveHead),
    /// What systemd says of the tunnel.
    Tunnel(UnitState),
}

/// The ends of a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveHead {
    /// SHA-256 of its first and last MiB.
    pub sha256: HeadDigest,
    /// Both are nothing but zeros.
    pub blank: bool,
}

/// See [`HostCommand::ReadHead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadHead {
    /// For which storage it is asked.
    pub storage: StorageId,
    /// The whole drive.
    pub durable_id: DurableId,
}

/// See [`HostCommand::FormatDrive`]. What is to be formatted with what stands in the envelope, and is read there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedFormat {
    /// For which storage it is asked.
    pub storage: StorageId,
    /// `drive.format`, as it was signed.
    pub envelope: String,
    /// The keysets from the first on.
    pub keysets: Vec<String>,
}

/// See [`HostCommand::MountDrive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountDrive {
    /// For which storage.
    pub storage: StorageId,
    /// The file system or the pool, by what is written on its drives.
    pub id: DurableId,
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
    /// The file system or pool, which must be mounted where the marker's storage belongs.
    pub id: DurableId,
    /// What to write.
    pub marker: Marker,
}

impl HostCommand {
    /// What its request is called: one thing at a time is asked about a storage, and about the tunnel.
    fn name(&self) -> &str {
        let storage = match self {
            Self::MountDrive(mount) => &mount.storage,
            Self::UnmountDrive(unmount) | Self::ReleaseDrive(unmount) => &unmount.storage,
            Self::MarkDrive(mark) | Self::RemarkDrive(mark) => &mark.marker.storage,
            Self::ReadHead(read) => &read.storage,
            Self::FormatDrive(format) => &format.storage,
            Self::Tunnel(_) => return TUNNEL,
        };
        storage.as_str()
    }

    /// How long it may take. What only looks is over at once, or nobody is there.
    fn desk(&self) -> Desk {
        match self {
            Self::Tunnel(TunnelCommand::Look) => Desk { patience: LOOK_PATIENCE, ..DESK },
            _ => DESK,
        }
    }

    /// Asks for it, and waits for the end of it.
    pub async fn ask(&self, state_dir: &Path) -> Result<Answer, Failure> {
        let desk = self.desk();
        let request = Zeroizing::new(serde_json::to_vec(self).expect("a command is plain data"));
        match desk.ask(state_dir, self.name(), &request).await {
            Ok(None) => Ok(Answer::Done),
            Ok(Some(text)) => match serde_json::from_str(&text).unwrap_or(Answer::Failed(not_done(text))) {
                Answer::Failed(failure) => Err(failure),
                answer => Ok(answer),
            },
            Err(Unanswered::NotAsked(text)) => Err(not_done(text)),
            Err(Unanswered::Nobody) => Err(not_done(format!(
                "nobody answered within {:?}: does felhom-host.path run? `systemctl status felhom-host` says more",
                desk.patience
            ))),
        }
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
