//! The log of what was asked, so that a test can say "and nothing was changed". It keeps
//! no secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One call as it arrived and how it was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// HTTP method.
    pub method: String,
    /// Path after `/api2/json`.
    pub path: String,
    /// Parameters, without passwords.
    pub params: BTreeMap<String, String>,
    /// Status; 0 while unanswered or where the connection was cut.
    pub status: u16,
}

/// How many calls there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// All of them.
    pub all: u64,
    /// Those that are not GET.
    pub changing: u64,
}

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    pub(crate) counters: Counters,
    entries: Vec<LoggedRequest>,
    /// Entries dropped from the front, so that tickets stay valid.
    dropped: usize,
}

/// Entries kept; older ones make room.
const KEPT: usize = 20_000;

impl RequestLog {
    /// Notes a call and gives the ticket for its answer.
    pub(crate) fn arrived(&mut self, method: &str, path: &str, params: &BTreeMap<String, String>) -> usize {
        self.counters.all += 1;
        self.counters.changing += u64::from(method != "GET");
        let secret = |key: &str| key.contains("password") || key == "encryption-key";
        let params = params.iter().filter(|(k, _)| !secret(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if self.entries.len() == KEPT {
            self.entries.drain(..KEPT / 2);
            self.dropped += KEPT / 2;
        }
        self.entries.push(LoggedRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params,
            status: 0,
        });
        self.dropped + self.entries.len() - 1
    }

    pub(crate) fn answered(&mut self, ticket: usize, status: u16) {
        if let Some(entry) = ticket.checked_sub(self.dropped).and_then(|i| self.entries.get_mut(i)) {
            entry.status = status;
        }
    }

    pub(crate) fn entries(&self) -> &[LoggedRequest] {
        &self.entries
    }

    pub(crate) fn reset(&mut self) {
        self.dropped += self.entries.len();
        self.entries.clear();
        self.counters = Counters::default();
    }
}
