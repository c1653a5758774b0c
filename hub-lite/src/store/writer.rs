//! The one committing writer: a thread that takes whatever is queued, runs it in one transaction and answers
//! after the commit. Never answers before; a request that fails is rolled back alone.
//!
//! Failing is rare and a savepoint costs as much as a small write. So a batch runs without any first, and if one of
//! its requests fails all of it is undone and run again, each behind a savepoint of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::StoreError;

/// Most requests in one transaction: beyond this, waiting for more no longer saves anything.
const BATCH_MAX: usize = 1024;
const QUEUE_MAX: usize = 8192;

/// How writes are committed. Everything but the default exists to be compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Most requests in one transaction.
    pub batch_max: usize,
    /// What every commit takes longer: a slow disk.
    pub slowed_by: Duration,
    /// A transaction for every request, on a pool of so many connections.
    pub connections: Option<usize>,
    /// Reports are answered without coming here: what the rest of the hub costs.
    pub nothing: bool,
}

impl Default for Commit {
    fn default() -> Self {
        Self { batch_max: BATCH_MAX, slowed_by: Duration::ZERO, connections: None, nothing: false }
    }
}

/// A queued write with its answer.
trait Job: Send {
    /// Runs the work, perhaps not for the first time; `false` rolls it back.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers, after the commit or after its failure.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let result = (self.work)(connection);
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = self.result.unwrap_or(Err(StoreError::Stopped));
        // Whoever asked may be gone; what is committed stays committed.
        let _ = self.reply.send(committed.and(result));
    }
}

#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::SyncSender<Box<dyn Job>>,
    done: Arc<Done>,
}

/// How much was written.
#[derive(Debug, Default)]
struct Done {
    commits: AtomicU64,
    writes: AtomicU64,
}

impl Writer {
    /// Starts the writer's thread, which ends when the last clone is dropped.
    pub(super) fn start(connection: Connection, commit: Commit) -> Self {
        let (queue, jobs) = mpsc::sync_channel(QUEUE_MAX);
        let runtime = Handle::try_current().ok();
        let done = Arc::<Done>::default();
        let counted = Arc::clone(&done);
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_dropped(&connection, &jobs, (commit, runtime), &counted))
            .expect("the hub cannot do anything without its writer's thread");
        Self { queue, done }
    }

    /// Transactions so far, and the writes in them.
    pub(super) fn committed(&self) -> (u64, u64) {
        (self.done.commits.load(Ordering::Relaxed), self.done.writes.load(Ordering::Relaxed))
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending { work, result: None, reply });
        match self.queue.try_send(job) {
            Ok(()) => {}
            Err(mpsc::TrySendError::Full(_)) => return Err(StoreError::Busy),
            Err(mpsc::TrySendError::Disconnected(_)) => return Err(StoreError::Stopped),
        }
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

fn write_until_dropped(
    connection: &Connection,
    jobs: &mpsc::Receiver<Box<dyn Job>>,
    (commit, runtime): (Commit, Option<Handle>),
    done: &Done,
) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(commit.batch_max - 1));
        let committed = write_batch(connection, &mut batch, commit);
        if committed.is_ok() {
            done.commits.fetch_add(1, Ordering::Relaxed);
            done.writes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        let answer = move || {
            for job in batch {
                job.answer(committed.as_ref().map_err(|text| StoreError::Commit(text.clone())).copied());
            }
        };
        match &runtime {
            // Waking a thread of the runtime costs a system call, and its own tasks none: one of them wakes the rest.
            Some(runtime) => drop(runtime.spawn(async move { answer() })),
            None => answer(),
        }
    }
}

/// One transaction for all. The error is text because every waiter gets it.
fn write_batch(connection: &Connection, batch: &mut [Box<dyn Job>], commit: Commit) -> Result<(), String> {
    let done = run(connection, "BEGIN IMMEDIATE")
        .and_then(|()| match batch.iter_mut().all(|job| job.run(connection)) {
            true => Ok(()),
            false => run_apart(connection, batch),
        })
        .and_then(|()| run(connection, "COMMIT"));
    if !commit.slowed_by.is_zero() {
        thread::sleep(commit.slowed_by);
    }
    done.map_err(|error| {
        // A failed BEGIN leaves nothing to roll back, and a failed COMMIT may.
        let _ = connection.execute_batch("ROLLBACK");
        error.to_string()
    })
}

/// Begins the transaction anew, with a savepoint for each request: one that fails spoils no other.
fn run_apart(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    // A full disk can have ended the transaction already.
    if !connection.is_autocommit() {
        run(connection, "ROLLBACK")?;
    }
    run(connection, "BEGIN IMMEDIATE")?;
    for job in batch {
        run(connection, "SAVEPOINT request")?;
        if !job.run(connection) {
            run(connection, "ROLLBACK TO request")?;
        }
        run(connection, "RELEASE request")?;
    }
    Ok(())
}

/// Compiled once: planning these for every commit would cost as much as a small write.
fn run(connection: &Connection, statement: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}
