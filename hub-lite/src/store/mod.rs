//! The hub's memory: one SQLite file, one committing writer, a few readers.
//!
//! Whatever writes are queued run in one transaction, none spoilt by another's failure, and are answered after the
//! commit: nothing is acknowledged before it is durable, and one fsync serves everybody who waits. The only SQL of the hub
//! stands in this folder, one table a file, portable between SQLite and PostgreSQL.

pub mod audit;
pub(crate) mod copy;
pub mod desired_history;
pub mod events;
pub mod host_metrics;
pub mod host_reports;
pub mod host_state;
pub mod hosts;
pub mod keys;
pub mod keysets;
pub mod ledger_heads;
mod migrations;
pub mod operators;
mod pool;
pub mod secrets;
pub mod sessions;
pub mod signed_ops;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pool::Pool;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Semaphore;

pub use writer::Commit;
use writer::Writer;

/// The file's name within the data folder.
pub const FILE_NAME: &str = "hub.db";
/// Readers at once: reading is quick, and each holds a cache.
const READERS: usize = 4;
/// 32 MiB of log before it is copied back into the database.
const WAL_PAGES_BETWEEN_CHECKPOINTS: i64 = 8192;
/// A full batch stays in memory until its commit. A cache that it does not fit into would write pages of it early,
/// and many of them twice.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Waited for another process's lock.
const BUSY: Duration = Duration::from_secs(10);
/// What the write-ahead log may keep of the disk while it is empty.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no; a full disk is the usual cause.
    #[error("the database refuses")]
    Sql(#[from] rusqlite::Error),
    /// The data folder or file cannot be used.
    #[error("cannot open {path}")]
    Open {
        /// Which file.
        path: std::path::PathBuf,
        /// The database's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer hub has used this database; there is no way back.
    #[error(
        "the database is of a newer hub (schema {found}, this hub knows {known}); install that hub or newer"
    )]
    Newer {
        /// The database's schema.
        found: u32,
        /// The newest schema that this hub knows.
        known: u32,
    },
    /// A stored value does not read back.
    #[error("a stored {what} cannot be read: {text}")]
    Damaged {
        /// Which value.
        what: &'static str,
        /// The parser's words.
        text: String,
    },
    /// More writes are waiting than the hub can hold.
    #[error("too many writes are waiting; try again")]
    Busy,
    /// The transaction could not be committed; nothing of it was written.
    #[error("nothing was written: {0}")]
    Commit(String),
    /// The hub is stopping.
    #[error("the store has stopped")]
    Stopped,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    /// In the writer's place, where the two are compared.
    pool: Option<Arc<Pool>>,
    readers: Arc<Readers>,
}

struct Readers {
    permits: Semaphore,
    idle: std::sync::Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
}

impl Store {
    /// Opens or makes the database in `folder` and brings its schema up to date.
    pub fn open(folder: &Path, commit: Commit) -> Result<Self, StoreError> {
        let connection = open_connection(folder)?;
        let pool = commit.connections.map(|connections| Pool::open(folder, connections)).transpose()?;
        let path = folder.join(FILE_NAME);
        let readers = Readers { permits: Semaphore::new(READERS), idle: std::sync::Mutex::default(), path };
        Ok(Self { writer: Writer::start(connection, commit), pool, readers: Arc::new(readers) })
    }

    /// Queues a write and waits until it is durable. `work` can run more than once; only its last run counts.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.pool {
            None => self.writer.write(work).await,
            Some(pool) => pool.write(work).await,
        }
    }

    /// Transactions so far, and the writes in them.
    #[must_use]
    pub fn committed(&self) -> (u64, u64) {
        self.writer.committed()
    }

    /// Bytes of the database and of its write-ahead log.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let log = self.readers.path.with_extension("db-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        (size(&self.readers.path), size(&log))
    }

    /// Reads on a thread of its own, without waiting for writers.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let _permit = self.readers.permits.acquire().await.map_err(|_| StoreError::Stopped)?;
        tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().ok().and_then(|mut idle| idle.pop());
            let connection = idle.map_or_else(|| open_reader(&readers.path), Ok)?;
            let result = work(&connection);
            if let Ok(mut idle) = readers.idle.lock() {
                idle.push(connection);
            }
            result
        })
        .await
        .map_err(|_| StoreError::Stopped)?
    }
}

/// A connection of its own with the schema up to date: for the command line.
pub(crate) fn open_connection(folder: &Path) -> Result<Connection, StoreError> {
    let path = folder.join(FILE_NAME);
    let failed = |source| StoreError::Open { path: path.clone(), source };
    let mut connection = Connection::open(&path).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    migrations::run(&mut connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    write_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A burst makes the log long; the next checkpoint gives the space back.
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    // A page that many reports touch is copied back once and not every thousand pages.
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_BETWEEN_CHECKPOINTS)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    compile_once(connection)
}

/// SQLite does not wait where two connections change a new file's journal at once: it refuses one of them at once, whatever its
/// time limit.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Statements stay compiled for as long as the connection lasts. A plan that depended on the values it was first
/// run with would be thrown away with them, and planning costs far more than looking up a row.
fn compile_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
    connection.busy_timeout(BUSY)?;
    compile_once(&connection)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    /// SQLite numbers `$1` by first appearance, PostgreSQL by its digit: only ascending order means the same to both.
    #[test]
    fn parameters_appear_in_ascending_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store");
        let mut statements = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for statement in text.split('"').skip(1).step_by(2).filter(|text| text.contains("$1")) {
                statements += 1;
                let digits =
                    statement.split('$').skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10));
                let newest = digits.fold(0, |newest, digit| {
                    assert!(digit <= newest + 1, "${digit} comes too early in {statement:?}");
                    newest.max(digit)
                });
                assert!(newest > 0);
            }
        }
        assert!(statements > 20, "only {statements} statements were found");
    }
}
