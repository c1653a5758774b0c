//! What stays of a machine whose test failed: its console, which is written all along, and its journal.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::Ground;

/// The name of a machine's console log within its folder.
pub(crate) const CONSOLE: &str = "console.log";

pub(crate) struct Evidence {
    folder: PathBuf,
}

impl Evidence {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Called while the machine still runs, before it goes.
    #[expect(clippy::print_stderr, reason = "a failing test says where its logs lie")]
    pub(crate) fn keep_if_failing(&self, ground: &dyn Ground) {
        if !std::thread::panicking() {
            return;
        }
        // A machine that no longer answers has its console at least; a second panic would hide the first.
        let asked =
            std::panic::AssertUnwindSafe(|| ground.run("journalctl --no-pager -o short-precise", b""));
        let journal = std::panic::catch_unwind(asked)
            .map_or_else(|_| "the machine did not answer\n".to_owned(), |answer| answer.out);
        let written = fs::write(self.folder.join("journal.log"), journal);
        eprintln!("{CONSOLE} and journal.log of the machine are in {}", self.folder.display());
        if let Err(error) = written {
            eprintln!("the journal could not be written: {error}");
        }
    }
}
