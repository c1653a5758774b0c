//! A machine as a test sees it: scripts go in, answers come out.

use std::time::{Duration, Instant};

use crate::container::Container;
use crate::evidence::Evidence;
use crate::store::Store;
use crate::vm::Vm;

const PAUSE: Duration = Duration::from_millis(200);

/// What carries a machine.
pub(crate) trait Ground {
    /// Runs `/bin/sh -c script` as root with a clean environment, and waits for its end.
    fn run(&self, script: &str, stdin: &[u8]) -> Answer;
}

/// How a script ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Exit code; 128 and the signal's number when one ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// Exit code 0.
    #[must_use]
    pub fn well(&self) -> bool {
        self.code == 0
    }
}

/// A running machine. Dropped, it is gone; when its test failed, its logs stay.
pub struct Machine {
    // Before the ground: a journal can only be read while the machine runs.
    evidence: Evidence,
    ground: Kind,
}

enum Kind {
    Container(Container),
    Vm(Box<Vm>),
}

impl Ground for Kind {
    fn run(&self, script: &str, stdin: &[u8]) -> Answer {
        match self {
            Self::Container(container) => container.run(script, stdin),
            Self::Vm(vm) => vm.run(script, stdin),
        }
    }
}

impl Machine {
    /// Boots a container of this name; the name is the test's own.
    #[must_use]
    pub fn container(name: &str) -> Self {
        let store = Store::open();
        let folder = store.run_folder(name);
        let ground = Kind::Container(Container::boot(&store, &folder));
        Self { evidence: Evidence::of(&folder), ground }
    }

    /// A VM of this name, woken from a snapshot: seconds after a boot.
    #[must_use]
    pub fn vm(name: &str) -> Self {
        let store = Store::open();
        let folder = store.run_folder(name);
        let ground = Kind::Vm(Box::new(Vm::wake(&store, &folder)));
        Self { evidence: Evidence::of(&folder), ground }
    }

    /// A VM of this name, booted from its disk: its power can be cut.
    #[must_use]
    pub fn booted_vm(name: &str) -> Self {
        let store = Store::open();
        let folder = store.run_folder(name);
        let vm = Vm::off(&store, &folder);
        vm.power_on();
        Self { evidence: Evidence::of(&folder), ground: Kind::Vm(Box::new(vm)) }
    }

    /// The machine as a VM, for what only a VM has.
    #[must_use]
    pub fn hardware(&self) -> &Vm {
        match &self.ground {
            Kind::Vm(vm) => vm,
            Kind::Container(_) => panic!("a container has no hardware of its own"),
        }
    }

    /// Runs a script that must end well, and returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.feed(script, "")
    }

    /// As `sh`, with this on standard input.
    #[track_caller]
    pub fn feed(&self, script: &str, stdin: &str) -> String {
        let answer = self.ground.run(script, stdin.as_bytes());
        assert!(
            answer.well(),
            "exit code {} of\n{script}\nwhich printed\n{}{}",
            answer.code,
            answer.out,
            answer.err
        );
        answer.out
    }

    /// Runs a script that may end as it likes.
    #[must_use]
    pub fn try_sh(&self, script: &str) -> Answer {
        self.ground.run(script, b"")
    }

    /// Waits until a script ends well, and returns what it printed; panics with `what` when `patience` is over.
    #[track_caller]
    pub fn eventually(&self, what: &str, patience: Duration, script: &str) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let answer = self.try_sh(script);
            if answer.well() {
                return answer.out;
            }
            assert!(
                Instant::now() < deadline,
                "waited {patience:?} in vain: {what}; the last try of\n{script}\nsaid {answer:?}"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Writes a file, with the folders above it.
    #[track_caller]
    pub fn put(&self, path: &str, text: &str) {
        self.feed(&format!("mkdir -p \"$(dirname '{path}')\" && cat > '{path}'"), text);
    }

    /// Writes a script that can be run.
    #[track_caller]
    pub fn put_program(&self, path: &str, text: &str) {
        self.put(path, text);
        self.sh(&format!("chmod 755 '{path}'"));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.evidence.keep_if_failing(&self.ground);
    }
}
