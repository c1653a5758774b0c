//! The last look at a drive before something is written to it: the marker, read through the mount.

use std::path::Path;

use felhom_shared::id::StorageId;
use felhom_shared::report::Failure;
use uuid::Uuid;

use crate::host::block::BlockDevices;
use crate::host::marker::{Marker, mount_point};
use crate::observe::Reading;

/// Whether the drive that was proven to be this storage's is mounted there and answers, now.
pub fn is_live(root: &Path, storage: &StorageId, drive_id: Uuid) -> Result<(), Failure> {
    let dead = |text: String| Err(Failure { code: "storage_not_live".to_owned(), text });
    let mounted = BlockDevices::new(root).is_mount_point(&mount_point(Path::new("/"), storage));
    if !mounted.unwrap_or(false) {
        return dead(format!("the drive of {storage} is no longer mounted: nothing was written"));
    }
    match Marker::read(&mount_point(root, storage)) {
        Reading::Present(marker) if marker.drive_id == drive_id => Ok(()),
        Reading::Present(_) => dead(format!("another drive is mounted as {storage}: nothing was written")),
        Reading::Absent => dead(format!("the drive of {storage} lost its marker: nothing was written")),
        Reading::Unreadable(failure) => dead(format!("{}: nothing was written", failure.text)),
    }
}
