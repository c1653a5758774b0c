//! The file by which a drive is known to be ours: written once, read through the mount before anything trusts it.
//!
//! A file system's UUID says which file system it claims to be; a copy claims the same. The marker says that this agent has
//! taken it for this storage, and a folder whose drive is not mounted has none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use felhom_shared::desired::StorageRole;
use felhom_shared::id::{HostId, StorageId};
use felhom_shared::report::Failure;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::observe::Reading;

/// In the root of the file system.
pub const FILE_NAME: &str = ".felhom-drive.json";
/// More than any marker has.
const BYTES_MAX: u64 = 4096;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Always 1.
    pub version: u32,
    /// Random, made when the drive was taken: tells it from every copy made before.
    pub drive_id: Uuid,
    /// The box that took it.
    pub host_id: HostId,
    /// For which storage.
    pub storage: StorageId,
    /// And what for.
    pub role: StorageRole,
}

impl Marker {
    /// Reads the marker of what is mounted at `folder`, from the drive and not from memory: a drive that is gone does not
    /// answer.
    #[must_use]
    pub fn read(folder: &Path) -> Reading<Self> {
        let path = folder.join(FILE_NAME);
        match read_through(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(marker) => Reading::Present(marker),
                Err(error) => unreadable(&path, &format!("it is no marker: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Absent,
            Err(error) => unreadable(&path, &error.to_string()),
        }
    }
}

fn read_through(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let file = fs::File::open(path)?;
    // What the kernel remembers of the file would be read also from a drive that is no longer there.
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, why: &str) -> Reading<Marker> {
    let text = format!("{} cannot be read: {why}", path.display());
    Reading::Unreadable(Failure { code: "marker_unreadable".to_owned(), text })
}

/// Where a storage's drive is mounted, below `root`, which is `/` but in tests and beside a double.
#[must_use]
pub fn mount_point(root: &Path, storage: &StorageId) -> PathBuf {
    root.join("mnt/felhom").join(storage.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_marker_has_none_and_a_broken_one_is_not_absent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Marker::read(folder.path()), Reading::Absent);
        fs::write(folder.path().join(FILE_NAME), "{").unwrap();
        assert!(matches!(Marker::read(folder.path()), Reading::Unreadable(_)));
        let marker = Marker {
            version: 1,
            drive_id: Uuid::from_u128(7),
            host_id: HostId(Uuid::from_u128(8)),
            storage: StorageId::new("photos").unwrap(),
            role: StorageRole::Files,
        };
        fs::write(folder.path().join(FILE_NAME), serde_json::to_vec(&marker).unwrap()).unwrap();
        assert_eq!(Marker::read(folder.path()), Reading::Present(marker));
    }
}
