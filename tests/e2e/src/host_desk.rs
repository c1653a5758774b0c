//! Somebody with more rights beside a double: the real `felhom-host`, whose `systemctl` mounts the double's drives.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fake_pve::Control;
use felhom_agent::host::clerk::Clerk;
use felhom_agent::host::command::REQUESTS;

const PAUSE: Duration = Duration::from_millis(10);

/// What systemd does to the double's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountChange {
    /// This file system is mounted there.
    Mount {
        /// The file system.
        uuid: String,
        /// Where.
        at: String,
    },
    /// What is there is unmounted.
    Unmount {
        /// Where.
        at: String,
    },
}

/// Answers what lies on the desk now.
pub fn serve_once(state_dir: &Path, root: &Path, change: &dyn Fn(MountChange) -> Result<(), String>) {
    let tool = |program: &str, args: &[&str]| run(root, program, args, change);
    let served = Clerk { root, tool: &tool }.serve(state_dir);
    // The folder goes with its test.
    let _ = served;
}

/// `systemctl start UNIT` and its like, as far as the clerk calls them.
fn run(
    root: &Path,
    program: &str,
    args: &[&str],
    change: &dyn Fn(MountChange) -> Result<(), String>,
) -> Result<(), String> {
    let last = args.last().copied().unwrap_or_default();
    match (program, args.first().copied()) {
        ("systemctl", Some("start")) => {
            let unit = read_unit(root, last)?;
            let uuid = unit.what.rsplit('/').next().unwrap_or_default().to_owned();
            change(MountChange::Mount { uuid, at: unit.at })
        }
        ("systemctl", Some("stop")) => change(MountChange::Unmount { at: read_unit(root, last)?.at }),
        _ => Ok(()),
    }
}

struct Unit {
    what: String,
    at: String,
}

fn read_unit(root: &Path, name: &str) -> Result<Unit, String> {
    let path = root.join("etc/systemd/system").join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let setting = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.map(str::to_owned).ok_or_else(|| format!("{name} says nothing of {key}"))
    };
    Ok(Unit { what: setting("What")?, at: setting("Where")? })
}

/// The desk of a house, served until this is dropped.
#[derive(Debug)]
pub struct HostDesk {
    go_on: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
    state_dir: PathBuf,
}

impl HostDesk {
    /// Opens it.
    #[must_use]
    pub fn open(state_dir: &Path, control: Control) -> Self {
        fs::create_dir_all(state_dir.join(REQUESTS)).expect("the agent's folder can be written");
        let go_on = Arc::new(AtomicBool::new(true));
        let (asked, folder) = (Arc::clone(&go_on), state_dir.to_owned());
        let serving = std::thread::spawn(move || {
            let root = control.host_root();
            let change = |change| {
                let done = match change {
                    MountChange::Mount { uuid, at } => control.mount_drive(&uuid, &at),
                    MountChange::Unmount { at } => control.unmount_drive(&at),
                };
                done.map_err(|error| error.to_string())
            };
            while asked.load(Ordering::Relaxed) {
                serve_once(&folder, &root, &change);
                std::thread::sleep(PAUSE);
            }
        });
        Self { go_on, serving: Some(serving), state_dir: state_dir.to_owned() }
    }
}

impl Drop for HostDesk {
    fn drop(&mut self) {
        self.go_on.store(false, Ordering::Relaxed);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
        let _ = fs::remove_dir_all(self.state_dir.join(REQUESTS));
    }
}

/// Counts what was asked, for tests of the clerk alone.
#[derive(Debug, Default)]
pub struct Asked(RefCell<Vec<String>>);

impl Asked {
    /// Notes a call.
    pub fn note(&self, program: &str, args: &[&str]) {
        self.0.borrow_mut().push(format!("{program} {}", args.join(" ")));
    }

    /// All calls so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}
