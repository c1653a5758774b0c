//! Is the drive there? What is mounted where a storage belongs, and its marker, read through the mount: for every plan, and once
//! more right before something is written to it.

use std::path::Path;

use felhom_shared::id::StorageId;
use felhom_shared::report::Failure;
use uuid::Uuid;

use crate::host::block::{BlockDevices, Mounted, Pool};
use crate::host::marker::{Marker, mount_point};
use crate::observe::Reading;

/// The place of a storage's drive, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Whether anything is mounted there.
    pub mounted: bool,
    /// The pool, where it is one.
    pub pool: Option<Pool>,
    /// The marker of what is mounted there.
    pub marker: Reading<Marker>,
}

/// Looks there. A pool whose drives are gone is not read: whoever does waits until they are back, and cannot be stopped.
pub(super) fn look(root: &Path, storage: &StorageId) -> Place {
    let at = mount_point(Path::new("/"), storage);
    let place = |mounted, marker| Place { mounted, pool: None, marker };
    let read = || Marker::read(&mount_point(root, storage));
    let unreadable = |code: &str, text: String| Reading::Unreadable(Failure { code: code.to_owned(), text });
    match BlockDevices::new(root).mounted_at(&at) {
        Ok(Mounted::Nothing) => place(false, Reading::Absent),
        Ok(Mounted::Pool(pool)) if pool.is_suspended() => {
            let text = format!("the pool {} has lost its drives and waits for them", pool.name);
            Place { pool: Some(pool), ..place(true, unreadable("pool_suspended", text)) }
        }
        Ok(Mounted::Pool(pool)) => Place { pool: Some(pool), ..place(true, read()) },
        Ok(Mounted::Other) => place(true, read()),
        Err(error) => {
            let text = format!("what is mounted cannot be read: {error}");
            place(false, unreadable("mounts_unreadable", text))
        }
    }
}

/// Whether the drive that was proven to be this storage's is mounted there and answers, now.
pub fn is_live(root: &Path, storage: &StorageId, drive_id: Uuid) -> Result<(), Failure> {
    let dead = |text: String| Err(Failure { code: "storage_not_live".to_owned(), text });
    let place = look(root, storage);
    match place.marker {
        Reading::Present(marker) if marker.drive_id == drive_id => Ok(()),
        Reading::Present(_) => dead(format!("another drive is mounted as {storage}: nothing was written")),
        Reading::Absent if !place.mounted => {
            dead(format!("the drive of {storage} is no longer mounted: nothing was written"))
        }
        Reading::Absent => dead(format!("the drive of {storage} lost its marker: nothing was written")),
        Reading::Unreadable(failure) => dead(format!("{}: nothing was written", failure.text)),
    }
}
