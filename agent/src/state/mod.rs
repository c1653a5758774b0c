//! What the agent must not forget: one SQLite file on the box.
//!
//! WAL with `synchronous=FULL`: when a call here returns, the row survives a power cut. Secrets are never
//! stored. A file that cannot be opened stops the agent with a reason; it is never silently begun anew.

mod book;
mod format;
mod journal;
mod ledger;
mod lost_creation;
mod memory;
mod op_ledger;
mod outbox;
mod trust;
mod uplink;

use std::cell::{Ref, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rusqlite::Connection;

pub use book::{Book, Standing};
pub use format::FORMAT;
pub use journal::{Boundary, EntryId, JournalEntry, OpenEntry, PastStep};
pub use ledger::LastSeen;
pub use lost_creation::LostCreation;
use memory::Memory;
pub use outbox::Telling;

/// The file's name within the state folder.
pub const FILE_NAME: &str = "agent.db";

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be opened or made.
    #[error("cannot open the agent's state {path}: is the folder there, writable, and the disk not full?")]
    Open {
        /// Which file.
        path: PathBuf,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer agent has written it.
    #[error(
        "the agent's state {path} has format {found}, and this version knows formats up to {FORMAT}. Nothing was changed: \
         install the newer felhom-agent again"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A row could not be read or written.
    #[error("cannot read or write the agent's state; a full disk is the usual cause")]
    Sql(#[from] rusqlite::Error),
    /// A stored value does not read back: written by another version, or damaged.
    #[error("a stored {what} cannot be read: {text}")]
    Damaged {
        /// Which value.
        what: &'static str,
        /// The parser's words.
        text: String,
    },
}

/// The agent's durable state. Cheap to clone; single-threaded like the agent.
#[derive(Clone)]
pub struct State {
    connection: Rc<RefCell<Connection>>,
    folder: PathBuf,
    memory: Rc<RefCell<Memory>>,
    book: Rc<RefCell<Book>>,
    probe: Option<Rc<dyn Fn(Boundary)>>,
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS ledger (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS document (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    digest TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY,
    item TEXT NOT NULL,
    vmid INTEGER,
    kind TEXT,
    step TEXT NOT NULL,
    cycle INTEGER NOT NULL,
    began_at_ms INTEGER NOT NULL,
    upid TEXT,
    ended_at_ms INTEGER,
    outcome TEXT,
    failure TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS journal_open ON journal (id) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS journal_began ON journal (began_at_ms);
CREATE TABLE IF NOT EXISTS op_ledger (
    seq INTEGER PRIMARY KEY,
    op_id TEXT,
    nonce TEXT UNIQUE,
    row TEXT NOT NULL,
    chain BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS op_base (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    chain BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS op_blobs (
    op_id TEXT PRIMARY KEY,
    blob TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS op_held (
    op_id TEXT PRIMARY KEY,
    blob TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS op_told (
    op_id TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keysets (
    version INTEGER PRIMARY KEY,
    blob TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL
) STRICT;
";

impl State {
    /// Opens or makes the state in `folder`.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(FILE_NAME);
        let cannot_open = |source| StateError::Open { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(cannot_open)?;
        format::refuse_newer(&connection, &path)?;
        let mut open = || -> Result<(), rusqlite::Error> {
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // A dozen pages: in rest nothing is read, and what is written at once is small.
            connection.pragma_update(None, "cache_size", -64)?;
            format::complete(&mut connection)
        };
        open().map_err(cannot_open)?;
        Self::over(connection, folder)
    }

    fn over(connection: Connection, folder: &Path) -> Result<Self, StateError> {
        let connection = Rc::new(RefCell::new(connection));
        let folder = folder.to_owned();
        let state = Self { connection, folder, memory: Rc::default(), book: Rc::default(), probe: None };
        state.reload_book()?;
        state.shrink()?;
        Ok(state)
    }

    /// Opens an existing state for reading, beside a running agent.
    pub fn open_read_only(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(FILE_NAME);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)
            .map_err(|source| StateError::Open { path: path.clone(), source })?;
        connection.busy_timeout(Duration::from_secs(5))?;
        format::refuse_newer(&connection, &path)?;
        Self::over(connection, folder)
    }

    /// Calls `probe` at every journal boundary: how tests stop the agent exactly there.
    #[must_use]
    pub fn with_probe(mut self, probe: Rc<dyn Fn(Boundary)>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn sql(&self) -> Ref<'_, Connection> {
        self.connection.borrow()
    }
}
