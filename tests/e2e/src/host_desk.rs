//! Somebody with more rights beside a double: the real `felhom-host`, whose `systemctl` mounts the double's drives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fake_pve::Control;
use felhom_agent::host::clerk::Clerk;
use felhom_agent::host::command::REQUESTS;
use felhom_agent::host::format::Trust;

use crate::tunnel_unit::TunnelUnit;

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
    /// A drive gets a partition, or its partition a file system.
    Repartition {
        /// The drive or its partition.
        name: String,
        /// Empty where it is only a partition.
        format: String,
        /// Of the file system.
        uuid: String,
        /// Of the partition; mostly none is asked for.
        partition: String,
    },
    /// A dataset of a pool is mounted there.
    MountDataset {
        /// `tank/felhom`
        dataset: String,
        /// Where.
        at: String,
    },
    /// `zpool` or `zfs` is run.
    Zfs(Vec<String>),
}

/// Answers what lies on the desk now.
pub fn serve_once(
    state_dir: &Path,
    (root, trust, tunnel): (&Path, Option<&Trust>, Option<&TunnelUnit>),
    change: &dyn Fn(MountChange) -> Result<(), String>,
) {
    let tool = |program: &str, args: &[&str]| match tunnel {
        Some(tunnel) if program == "systemctl" && TunnelUnit::is_meant(args) => tunnel.systemctl(args),
        _ => run_tool(root, program, args, change),
    };
    let served = Clerk { root, tool: &tool, trust }.serve(state_dir);
    // The folder goes with its test.
    let _ = served;
}

/// `systemctl start UNIT` and its like, as far as the clerk calls them.
pub fn run_tool(
    root: &Path,
    program: &str,
    args: &[&str],
    change: &dyn Fn(MountChange) -> Result<(), String>,
) -> Result<String, String> {
    let done = do_tool(root, program, args, change);
    done.map(|()| String::new())
}

fn do_tool(
    root: &Path,
    program: &str,
    args: &[&str],
    change: &dyn Fn(MountChange) -> Result<(), String>,
) -> Result<(), String> {
    let last = args.last().copied().unwrap_or_default();
    match (program, args.first().copied()) {
        ("systemctl", Some("start")) if last.starts_with("modprobe@") => Ok(()),
        ("systemctl", Some("start")) => {
            let unit = read_unit(root, last)?;
            if !unit.what.starts_with("/dev/") {
                return change(MountChange::MountDataset { dataset: unit.what, at: unit.at });
            }
            let uuid = unit.what.rsplit('/').next().unwrap_or_default().to_owned();
            change(MountChange::Mount { uuid, at: unit.at })
        }
        ("systemctl", Some("stop")) => change(MountChange::Unmount { at: read_unit(root, last)?.at }),
        ("sgdisk", _) => {
            let partition = args.iter().find_map(|word| word.strip_prefix("--partition-guid=1:"));
            let partition = partition.unwrap_or_default().to_owned();
            let (format, uuid) = (String::new(), String::new());
            change(MountChange::Repartition { name: name_of(last), format, uuid, partition })
        }
        ("zpool" | "zfs", _) => {
            let words = std::iter::once(program).chain(args.iter().copied());
            change(MountChange::Zfs(words.map(str::to_owned).collect()))
        }
        ("mkfs.ext4" | "mkfs.xfs", _) => {
            let format = program.trim_start_matches("mkfs.").to_owned();
            let uuid =
                args.iter().rev().nth(1).map_or("", |word| word.trim_start_matches("uuid=")).to_owned();
            change(MountChange::Repartition { name: name_of(last), format, uuid, partition: String::new() })
        }
        _ => Ok(()),
    }
}

fn name_of(device: &str) -> String {
    device.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The same to a double in this process.
pub fn change_double(control: &Control, change: MountChange) -> Result<(), String> {
    let done = match change {
        MountChange::Mount { uuid, at } => control.mount_drive(&uuid, &at),
        MountChange::Unmount { at } => control.unmount_drive(&at),
        MountChange::Repartition { name, format, uuid, partition } => {
            control.repartition(&name, (&format, &uuid), &partition)
        }
        MountChange::MountDataset { dataset, at } => control.mount_dataset(&dataset, &at),
        MountChange::Zfs(words) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            control.run_zfs(&words)
        }
    };
    done.map_err(|error| error.to_string())
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
    pub fn open(
        state_dir: &Path,
        control: Control,
        trust: Option<Trust>,
        tunnel: Option<Arc<TunnelUnit>>,
    ) -> Self {
        fs::create_dir_all(state_dir.join(REQUESTS)).expect("the agent's folder can be written");
        let go_on = Arc::new(AtomicBool::new(true));
        let (asked, folder) = (Arc::clone(&go_on), state_dir.to_owned());
        let serving = std::thread::spawn(move || {
            let root = control.host_root();
            let change = |change| change_double(&control, change);
            while asked.load(Ordering::Relaxed) {
                serve_once(&folder, (&root, trust.as_ref(), tunnel.as_deref()), &change);
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
