//! What can be made to go wrong with a call, and when. A fault is found by method and
//! path; it says whether the call took effect, which is all a client must find out.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// How often a fault strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The next so many matching calls.
    Times(u32),
    /// Every matching call.
    Always,
    /// Each matching call with this seeded chance.
    Chance(f64),
}

/// What happens to a task's worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskFault {
    /// Ends with this error, cleaned up.
    Fail(String),
    /// Never ends, and holds its locks, until it is stopped.
    Hang,
    /// Killed: `unexpected status`, nothing cleaned up.
    Die,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// This answer; nothing was applied.
    Refuse(u16, String),
    /// This answer; all was applied, and a task goes on.
    ApplyThenAnswer(u16, String),
    /// The connection is closed; nothing was applied.
    CloseBefore,
    /// The connection is closed without an answer; all was applied.
    CloseAfter,
    /// Waits so many milliseconds before applying; beyond the proxy's patience the answer is 596.
    Delay(u64),
    /// Never answers; nothing was applied.
    Drop,
    /// The task this call starts goes wrong.
    Task(TaskFault),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// HTTP method or `*`.
    pub method: String,
    /// Path after `/api2/json`; `*` stands for anything.
    pub path: String,
    /// How often.
    pub when: When,
    /// Matching calls to leave alone first.
    pub skip: u32,
    /// What happens.
    pub action: Action,
}

impl Fault {
    /// A fault for `method` (or `*`) and a path glob; by default it strikes once.
    #[must_use]
    pub fn on(method: &str, path: &str) -> FaultBuilder {
        FaultBuilder { method: method.to_owned(), path: path.to_owned(), when: When::Times(1), skip: 0 }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        (self.method == "*" || self.method.eq_ignore_ascii_case(method)) && glob(&self.path, path)
    }
}

/// A fault without its action.
#[derive(Clone, Debug)]
pub struct FaultBuilder {
    method: String,
    path: String,
    when: When,
    skip: u32,
}

impl FaultBuilder {
    /// Strikes `n` times.
    #[must_use]
    pub fn times(self, n: u32) -> Self {
        Self { when: When::Times(n), ..self }
    }

    /// Strikes always.
    #[must_use]
    pub fn always(self) -> Self {
        Self { when: When::Always, ..self }
    }

    /// Strikes with this chance.
    #[must_use]
    pub fn chance(self, p: f64) -> Self {
        Self { when: When::Chance(p), ..self }
    }

    /// Leaves the first `n` matching calls alone.
    #[must_use]
    pub fn after(self, n: u32) -> Self {
        Self { skip: n, ..self }
    }

    /// Answers without applying.
    #[must_use]
    pub fn refuse(self, status: u16, text: &str) -> Fault {
        self.with(Action::Refuse(status, text.to_owned()))
    }

    /// Applies, then answers this.
    #[must_use]
    pub fn apply_then(self, status: u16, text: &str) -> Fault {
        self.with(Action::ApplyThenAnswer(status, text.to_owned()))
    }

    /// Closes the connection before applying.
    #[must_use]
    pub fn close_before(self) -> Fault {
        self.with(Action::CloseBefore)
    }

    /// Applies, then closes the connection.
    #[must_use]
    pub fn close_after(self) -> Fault {
        self.with(Action::CloseAfter)
    }

    /// Waits before applying.
    #[must_use]
    pub fn delay_ms(self, ms: u64) -> Fault {
        self.with(Action::Delay(ms))
    }

    /// Never answers.
    #[must_use]
    pub fn swallow(self) -> Fault {
        self.with(Action::Drop)
    }

    /// The task fails with `text`.
    #[must_use]
    pub fn task_fails(self, text: &str) -> Fault {
        self.with(Action::Task(TaskFault::Fail(text.to_owned())))
    }

    /// The task never ends.
    #[must_use]
    pub fn task_hangs(self) -> Fault {
        self.with(Action::Task(TaskFault::Hang))
    }

    /// The task is killed.
    #[must_use]
    pub fn task_dies(self) -> Fault {
        self.with(Action::Task(TaskFault::Die))
    }

    /// Any action.
    #[must_use]
    pub fn with(self, action: Action) -> Fault {
        let Self { method, path, when, skip } = self;
        Fault { method, path, when, skip, action }
    }
}

/// A fault in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActiveFault {
    /// Its handle.
    pub id: u64,
    /// What it is.
    pub fault: Fault,
    /// How often it struck.
    pub hits: u32,
    matched: u32,
}

/// All faults in force.
#[derive(Debug)]
pub(crate) struct Faults {
    active: Vec<ActiveFault>,
    next_id: u64,
    rng: Rng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { active: Vec::new(), next_id: 1, rng: Rng::new(seed ^ 0xfa17) }
    }

    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.active.push(ActiveFault { id, fault, hits: 0, matched: 0 });
        id
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.active.retain(|f| f.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    pub(crate) fn list(&self) -> Vec<ActiveFault> {
        self.active.clone()
    }

    /// The actions that strike this call, oldest fault first.
    pub(crate) fn strike(&mut self, method: &str, path: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        for active in self.active.iter_mut().filter(|f| f.fault.matches(method, path)) {
            active.matched += 1;
            let strikes = active.matched > active.fault.skip
                && match active.fault.when {
                    When::Times(n) => active.hits < n,
                    When::Always => true,
                    When::Chance(p) => self.rng.unit() < p,
                };
            if strikes {
                active.hits += 1;
                actions.push(active.fault.action.clone());
            }
        }
        actions
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let tail: Vec<&str> = parts.collect();
    let Some((last, middle)) = tail.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Action, Fault, Faults, glob};

    #[test]
    fn a_star_stands_for_anything_and_nothing_else_does() {
        assert!(glob("/nodes/*/lxc/*/config", "/nodes/pve1/lxc/101/config"));
        assert!(glob("*", "/version") && glob("/version", "/version"));
        assert!(!glob("/nodes/*/lxc", "/nodes/pve1/lxc/101") && !glob("/version", "/versions"));
    }

    #[test]
    fn a_fault_skips_strikes_and_is_spent() {
        let mut faults = Faults::new(1);
        faults.add(Fault::on("POST", "/x*").after(1).times(2).close_after());
        let hit = |f: &mut Faults| !f.strike("POST", "/xy").is_empty();
        assert_eq!(
            [hit(&mut faults), hit(&mut faults), hit(&mut faults), hit(&mut faults)],
            [false, true, true, false]
        );
        assert!(faults.strike("GET", "/xy").is_empty());
    }

    #[test]
    fn chance_repeats_with_the_seed() {
        let run = |seed| {
            let mut faults = Faults::new(seed);
            faults.add(Fault::on("*", "*").chance(0.5).with(Action::CloseBefore));
            (0..32).map(|_| faults.strike("GET", "/").len()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        let hits: usize = run(7).iter().sum();
        assert!((4..28).contains(&hits), "{hits} of 32");
    }
}
