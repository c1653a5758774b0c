//! The ZFS pools that the kernel has imported, in its own words. Runs no tool: asking `zpool` about a pool whose drive is
//! gone can hang for as long as the drive is away.

use std::fs;
use std::path::Path;

/// A pool that is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What it is called here.
    pub name: String,
    /// Its number; a kernel that does not say it leaves the name to tell.
    pub guid: Option<String>,
    /// `ONLINE`, `DEGRADED`, `SUSPENDED`.
    pub state: String,
}

impl Pool {
    /// Its drives are gone: whoever reads or writes waits until they are back.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.state == "SUSPENDED"
    }

    /// It works without one of its drives.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.state == "DEGRADED"
    }

    /// Whether it is the pool with this number, as far as the kernel says.
    #[must_use]
    pub fn is(&self, guid: &str) -> bool {
        self.guid.as_deref().is_none_or(|own| own == guid)
    }
}

/// All of them; none where the kernel has no ZFS.
pub(super) fn read(root: &Path) -> Vec<Pool> {
    let Ok(entries) = fs::read_dir(root.join("proc/spl/kstat/zfs")) else { return Vec::new() };
    let pool = |entry: fs::DirEntry| {
        let word = |file: &str| Some(fs::read_to_string(entry.path().join(file)).ok()?.trim().to_owned());
        let name = entry.file_name().to_string_lossy().into_owned();
        Some(Pool { name, guid: word("guid").filter(|word| !word.is_empty()), state: word("state")? })
    };
    entries.flatten().filter_map(pool).collect()
}
