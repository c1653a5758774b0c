//! Which drive was taken for which storage, remembered on the box. A drive that says the same of itself and does not carry
//! what was written on it is another one.

use std::collections::BTreeMap;

use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::state::{State, StateError};

/// A drive that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveMark {
    /// As the document named it.
    pub durable_id: DurableId,
    /// As its marker says, or will.
    pub drive_id: Uuid,
    /// The file system that was made on it under a signature, until its marker is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Uuid>,
    /// The ZFS pool, by its name: what PVE calls it while its drives are away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// All drives that were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveMarks(BTreeMap<StorageId, DriveMark>);

impl DriveMarks {
    /// What the drive of this storage must carry, if this very drive was taken before.
    #[must_use]
    pub fn of(&self, storage: &StorageId, durable_id: &DurableId) -> Option<&DriveMark> {
        self.0.get(storage).filter(|mark| mark.durable_id == *durable_id)
    }

    /// The drive that was taken for a storage, whatever the document calls it now.
    #[must_use]
    pub fn taken(&self, storage: &StorageId) -> Option<&DriveMark> {
        self.0.get(storage)
    }

    /// No drive is expected behind a storage.
    pub fn forget(&mut self, storage: &StorageId) {
        self.0.remove(storage);
    }

    /// A drive is about to be made new for a storage.
    pub fn making(&mut self, storage: StorageId, mark: DriveMark) {
        self.0.insert(storage, mark);
    }

    /// Remembers drives whose markers were accepted; whether that is news.
    pub fn learn(&mut self, proven: impl Iterator<Item = (StorageId, DriveMark)>) -> bool {
        let mut news = false;
        for (storage, mark) in proven {
            news |= self.0.get(&storage) != Some(&mark);
            self.0.insert(storage, mark);
        }
        news
    }
}

const DRIVE_MARKS: &str = "drive_marks";

impl State {
    /// The drives that were taken.
    pub fn drive_marks(&self) -> Result<DriveMarks, StateError> {
        Ok(self.get(DRIVE_MARKS)?.unwrap_or_default())
    }

    /// Remembers them.
    pub fn put_drive_marks(&self, marks: &DriveMarks) -> Result<(), StateError> {
        self.put(DRIVE_MARKS, marks)
    }
}
