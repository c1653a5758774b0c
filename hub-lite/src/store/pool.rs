//! A pool of connections, and a transaction for every request: how most services write, and the rival that the
//! committing writer is measured against. Never what the hub does; only `Commit::connections` leads here.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{StoreError, open_connection};

pub(super) struct Pool {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn open(folder: &Path, connections: usize) -> Result<Arc<Self>, StoreError> {
        let idle: Result<Vec<_>, _> = (0..connections).map(|_| open_connection(folder)).collect();
        Ok(Arc::new(Self { permits: Semaphore::new(connections), idle: Mutex::new(idle?) }))
    }

    /// One transaction on a connection of its own. Whoever else writes at that moment, SQLite lets it wait.
    pub(super) async fn write<T, F>(self: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let _permit = self.permits.acquire().await.map_err(|_| StoreError::Stopped)?;
        let pool = Arc::clone(self);
        let on_its_thread = move || {
            let idle = || pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = idle().pop().ok_or(StoreError::Stopped)?;
            let result = commit_alone(&connection, work);
            idle().push(connection);
            result
        };
        tokio::task::spawn_blocking(on_its_thread).await.map_err(|_| StoreError::Stopped)?
    }
}

fn commit_alone<T>(
    connection: &Connection,
    work: impl Fn(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |statement| connection.prepare_cached(statement)?.execute([]);
    run("BEGIN IMMEDIATE")?;
    let done = work(connection).and_then(|result| run("COMMIT").map(|_| result).map_err(StoreError::from));
    if done.is_err() && !connection.is_autocommit() {
        run("ROLLBACK")?;
    }
    done
}
