//! Tasks: what PVE goes on doing after it has answered.
//!
//! A 200 to a call proves nothing; only the task's end does, and `unexpected status` or a task that PVE no longer
//! knows proves nothing either. Those are [`TaskExit::Unknown`]: inspect the state.

use std::time::Duration;

use felhom_shared::id::{NodeName, Vmid};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::PveError;
use super::lenient;
use super::transport::{Pve, jittered, path};
use super::upid::Upid;

const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_LONGEST: Duration = Duration::from_secs(2);

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskExit {
    /// It did what it was to do.
    Ok,
    /// It did, with this many warnings in its log.
    Warnings(u32),
    /// It failed, in PVE's words.
    Failed(String),
    /// Nobody knows: it was killed, the host went down, or its log is gone.
    Unknown(String),
}

impl TaskExit {
    /// Reads an exit status, which PVE compares exactly: `OK`, `WARNINGS: n`, or why it failed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text == "OK" {
            return Self::Ok;
        }
        if let Some(count) = text.strip_prefix("WARNINGS: ").and_then(|count| count.parse().ok()) {
            return Self::Warnings(count);
        }
        match text {
            "" | "unexpected status" | "unknown" => Self::Unknown(text.to_owned()),
            failed => Self::Failed(failed.to_owned()),
        }
    }

    /// Whether it did what it was to do.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Ok | Self::Warnings(_))
    }
}

/// Whether a task is still at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskStatus {
    /// It is.
    Running,
    /// It is not.
    Stopped(TaskExit),
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only those of one guest.
    pub vmid: Option<Vmid>,
    /// Only those of one type (`vzcreate`).
    pub typefilter: Option<String>,
    /// Only those started since, in seconds since 1970.
    pub since: Option<u64>,
    /// Running, ended or both.
    pub source: TaskSource,
    /// At most so many, newest first; PVE's default is 50.
    pub limit: Option<u32>,
}

/// PVE's own default is `archive`, which hides what runs now; ours is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are PVE's")]
pub enum TaskSource {
    #[default]
    All,
    Active,
    Archive,
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskEntry {
    /// Its identifier; holds node, kind, guest, user and start.
    pub upid: Upid,
    /// When it ended, in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::optional_u64")]
    pub endtime: Option<u64>,
    /// Its state. A running task has no status in the list, or `RUNNING`.
    #[serde(default = "running", deserialize_with = "list_status")]
    pub status: TaskStatus,
}

impl Pve {
    /// Tasks of a node, newest first; of other users only with `Sys.Audit` on the node.
    pub async fn tasks(&self, node: &NodeName, filter: &TaskFilter) -> Result<Vec<TaskEntry>, PveError> {
        let vmid = filter.vmid.map(|vmid| vmid.to_string());
        let since = filter.since.map(|since| since.to_string());
        let limit = filter.limit.map(|limit| limit.to_string());
        let source = match filter.source {
            TaskSource::All => "all",
            TaskSource::Active => "active",
            TaskSource::Archive => "archive",
        };
        let mut query = vec![("source", source)];
        let optional =
            [("vmid", &vmid), ("typefilter", &filter.typefilter), ("since", &since), ("limit", &limit)];
        query.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))));
        self.get(&path(&["nodes", node.as_str(), "tasks"]), &query).await
    }

    /// Whether a task runs, and how it ended if not. A task PVE does not know (any more) ended unknown.
    pub async fn task_status(&self, node: &NodeName, upid: &Upid) -> Result<TaskStatus, PveError> {
        #[derive(Deserialize)]
        struct Answer {
            status: String,
            #[serde(default)]
            exitstatus: Option<String>,
        }
        let path = path(&["nodes", node.as_str(), "tasks", upid.as_str(), "status"]);
        match self.get::<Answer>(&path, &[]).await {
            Ok(answer) if answer.status == "running" => Ok(TaskStatus::Running),
            Ok(answer) => {
                Ok(TaskStatus::Stopped(TaskExit::parse(answer.exitstatus.as_deref().unwrap_or_default())))
            }
            Err(error @ PveError::BadParameter { .. }) if error.is_not_found() => {
                Ok(TaskStatus::Stopped(TaskExit::Unknown("no such task".to_owned())))
            }
            Err(error) => Err(error),
        }
    }

    /// The last `lines` lines of a task's log; none if PVE has no log of it.
    pub async fn task_log_tail(
        &self,
        node: &NodeName,
        upid: &Upid,
        lines: u32,
    ) -> Result<Vec<String>, PveError> {
        let path = path(&["nodes", node.as_str(), "tasks", upid.as_str(), "log"]);
        // PVE reads limit 0 as "all".
        let limit = lines.max(1).to_string();
        let mut log = self.log_page(&path, "0", &limit).await?;
        if let Some(start) = log.1.and_then(|total| total.checked_sub(lines.max(1).into())).filter(|s| *s > 0)
        {
            log = self.log_page(&path, &start.to_string(), &limit).await?;
        }
        let is_no_log = |text: &String| text.starts_with("unable to open file - ");
        Ok(if log.0.len() == 1 && log.0.iter().all(is_no_log) { Vec::new() } else { log.0 })
    }

    /// Waits for a task's end. `Ok(Running)` means that `deadline` came first.
    ///
    /// A reading that fails in passing (pveproxy restarting during an upgrade) does not end the wait; an error is
    /// returned when it is of a lasting kind, or the last thing seen at the deadline.
    pub async fn wait_task(
        &self,
        node: &NodeName,
        upid: &Upid,
        deadline: Instant,
    ) -> Result<TaskStatus, PveError> {
        let mut pause = POLL_FIRST;
        loop {
            let seen = self.task_status(node, upid).await;
            match &seen {
                Ok(TaskStatus::Running) => {}
                Err(error) if error.is_transient() => {}
                Ok(TaskStatus::Stopped(_)) | Err(_) => return seen,
            }
            let now = Instant::now();
            if now >= deadline {
                return seen;
            }
            tokio::time::sleep(jittered(pause).min(deadline - now)).await;
            pause = (pause * 3 / 2).min(POLL_LONGEST);
        }
    }

    async fn log_page(
        &self,
        path: &str,
        start: &str,
        limit: &str,
    ) -> Result<(Vec<String>, Option<u64>), PveError> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(default, deserialize_with = "lenient::text")]
            t: String,
        }
        let query = [("start", start), ("limit", limit)];
        let (lines, total): (Vec<Line>, _) = self.get_with_total(path, &query).await?;
        Ok((lines.into_iter().map(|line| line.t).collect(), total))
    }
}

fn running() -> TaskStatus {
    TaskStatus::Running
}

fn list_status<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TaskStatus, D::Error> {
    Ok(match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("RUNNING" | "") => TaskStatus::Running,
        Some(exit) => TaskStatus::Stopped(TaskExit::parse(exit)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_is_compared_exactly() {
        assert_eq!(TaskExit::parse("OK"), TaskExit::Ok);
        assert_eq!(TaskExit::parse("WARNINGS: 1"), TaskExit::Warnings(1));
        for failed in ["job errors", "OK but not", "WARNINGS: many", "interrupted by signal"] {
            assert_eq!(TaskExit::parse(failed), TaskExit::Failed(failed.to_owned()));
        }
        for unknown in ["unexpected status", ""] {
            assert!(matches!(TaskExit::parse(unknown), TaskExit::Unknown(_)), "{unknown:?}");
        }
    }

    #[test]
    fn running_and_ended_tasks_are_told_apart_in_a_list() {
        let entries: Vec<TaskEntry> = serde_json::from_str(
            r#"[{"node":"pve1","status":"RUNNING","upid":"UPID:pve1:0000050C:000E3B99:6B056E12:vzdump:101:root@pam!full:","saved":"0"},
                {"status":"WARNINGS: 1","endtime":1795517983,"upid":"UPID:pve1:000006A7:000E3FE9:6B056E1D:vzstart:101:root@pam!full:"},
                {"upid":"UPID:pve1:000006A7:000E3FE9:6B056E1D:vzstart:101:root@pam!full:"}]"#,
        )
        .unwrap();
        let states: Vec<_> = entries.iter().map(|entry| entry.status.clone()).collect();
        let ended = TaskStatus::Stopped(TaskExit::Warnings(1));
        assert_eq!(states, [TaskStatus::Running, ended, TaskStatus::Running]);
    }

    #[test]
    fn an_unreadable_entry_spoils_the_list_rather_than_vanishing_from_it() {
        assert!(
            serde_json::from_str::<Vec<TaskEntry>>(r#"[{"upid":"UPID:damaged","status":"OK"}]"#).is_err()
        );
    }
}
