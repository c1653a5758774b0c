//! Tasks and the workers that carry them out. A task's outcome lies in its last log
//! line; a worker that dies leaves none.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{World, now};
use crate::faults::TaskFault;
use crate::upid::Upid;

/// What `tasks/{upid}/status` and the lists show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The whole name.
    pub upid: String,
    /// `vzcreate`, `qmstart` …
    pub kind: String,
    /// Usually the VMID; may be empty.
    pub id: String,
    /// `user@realm` or `user@realm!token`.
    pub user: String,
    /// Process id of the worker.
    pub pid: u32,
    /// Clock ticks since boot at its start.
    pub pstart: u64,
    /// Epoch seconds.
    pub starttime: u64,
    /// Epoch seconds; `None` while it runs.
    pub endtime: Option<u64>,
    /// `OK`, `WARNINGS: n`, `unexpected status` or the error's text.
    pub exitstatus: Option<String>,
    /// The log so far.
    pub log: Vec<String>,
    pub(crate) stop_requested: bool,
}

impl Task {
    /// Ends with the verdict its log and `result` give.
    pub(crate) fn end(&mut self, result: Result<(), String>) {
        let warnings = self.log.iter().filter(|line| line.starts_with("WARN:")).count();
        let status = match result {
            Ok(()) if warnings == 0 => "OK".to_owned(),
            Ok(()) => format!("WARNINGS: {warnings}"),
            Err(text) => text,
        };
        let line = match status.as_str() {
            "OK" => "TASK OK".to_owned(),
            warned if warned.starts_with("WARNINGS: ") => format!("TASK {warned}"),
            error => format!("TASK ERROR: {error}"),
        };
        self.log.extend(line.lines().map(str::to_owned));
        self.exitstatus = Some(status);
        self.endtime = Some(now());
    }

    /// Killed: no end line, so nobody knows how it went.
    pub(crate) fn die(&mut self) {
        self.exitstatus = Some("unexpected status".to_owned());
        self.endtime = Some(now());
    }
}

/// Log lines a step writes.
#[derive(Default)]
pub(crate) struct TaskLog(pub(crate) Vec<String>);

impl TaskLog {
    pub(crate) fn line(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }
}

/// One step of a worker, run under the world's lock.
pub(crate) type Step = Box<dyn FnOnce(&mut World, &mut TaskLog) -> Result<(), String> + Send>;
/// What a failed worker puts back.
pub(crate) type Undo = Box<dyn FnOnce(&mut World) + Send>;

/// A process forked by a call. It takes the guest's lock, begins, works, finishes.
pub(crate) struct Worker {
    pub(crate) upid: String,
    /// The guest whose configuration lock it holds.
    pub(crate) flock: Option<u32>,
    /// Whether it got that lock when it was forked.
    pub(crate) holds: bool,
    pub(crate) begin: Option<Step>,
    pub(crate) finish: Option<Step>,
    pub(crate) undo: Option<Undo>,
    /// How it ends when it is stopped and still has something to say.
    pub(crate) stopped: Option<Step>,
    pub(crate) fault: Option<TaskFault>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("upid", &self.upid).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker of type `kind` about `id`, registered as running.
    pub(crate) fn fork(world: &mut World, kind: &str, id: &str, user: &str) -> Self {
        let pid = world.pid();
        let starttime = now();
        let pstart = (starttime - world.node.booted.min(starttime)) * 100 + u64::from(pid % 100);
        let (node, kind, id, user) =
            (world.node.name.clone(), kind.to_owned(), id.to_owned(), user.to_owned());
        let upid = Upid { node, pid, pstart, starttime, kind, id, user };
        let text = upid.to_string();
        world.tasks.push(Task {
            upid: text.clone(),
            kind: upid.kind,
            id: upid.id,
            user: upid.user,
            pid,
            pstart,
            starttime,
            endtime: None,
            exitstatus: None,
            log: Vec::new(),
            stop_requested: false,
        });
        Self {
            upid: text,
            flock: None,
            holds: false,
            begin: None,
            finish: None,
            undo: None,
            stopped: None,
            fault: None,
        }
    }

    pub(crate) fn locking(mut self, vmid: u32) -> Self {
        self.flock = Some(vmid);
        self
    }

    pub(crate) fn begin(
        mut self,
        step: impl FnOnce(&mut World, &mut TaskLog) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.begin = Some(Box::new(step));
        self
    }

    pub(crate) fn finish(
        mut self,
        step: impl FnOnce(&mut World, &mut TaskLog) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.finish = Some(Box::new(step));
        self
    }

    pub(crate) fn undo(mut self, step: impl FnOnce(&mut World) + Send + 'static) -> Self {
        self.undo = Some(Box::new(step));
        self
    }

    pub(crate) fn stopped(
        mut self,
        step: impl FnOnce(&mut World, &mut TaskLog) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.stopped = Some(Box::new(step));
        self
    }

    /// Hands the worker to the engine; the answer is its UPID.
    pub(crate) fn start(self, world: &mut World) -> crate::call::Reply {
        let upid = self.upid.clone();
        world.started.push(self);
        crate::call::Reply::data(upid)
    }
}

impl World {
    pub(crate) fn task_mut(&mut self, upid: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().rev().find(|t| t.upid == upid)
    }
}
