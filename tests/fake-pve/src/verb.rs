//! The control handle as words: one enum is the command line, the wire form, and the
//! table of what each word does.

use std::time::Duration;

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::Control;
use crate::faults::{Action, Fault, TaskFault, When};
use crate::state::Download;
use crate::state::guest::Kind;
use crate::{ControlError, Token};

/// One thing to make happen or to look at.
#[derive(Clone, Debug, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Verb {
    /// Guests, storages, volumes and tasks.
    State,
    /// Calls so far, and how many changed something.
    Requests {
        /// Forget them afterwards.
        #[arg(long)]
        #[serde(default)]
        reset: bool,
    },
    /// Faults in force.
    Faults,
    /// Take a fault back, or all.
    ClearFaults {
        /// Which.
        id: Option<u64>,
    },
    /// Make a call go wrong: refuse|apply-then STATUS TEXT, close-before, close-after, delay MS, drop,
    /// task-fail TEXT, task-hang, task-die.
    Fault {
        /// HTTP method or *.
        method: String,
        /// Path after /api2/json; * stands for anything.
        path: String,
        /// What happens, and its arguments.
        #[arg(required = true)]
        action: Vec<String>,
        /// How often; 0 is always.
        #[arg(long, default_value_t = 1)]
        #[serde(default = "once")]
        times: u32,
        /// Chance for each call instead of a number of times.
        #[arg(long)]
        chance: Option<f64>,
        /// Matching calls to leave alone first.
        #[arg(long, default_value_t = 0)]
        #[serde(default)]
        skip: u32,
    },
    /// Quorum on or off.
    Quorum {
        /// on or off.
        state: Switch,
    },
    /// pvedaemon on or off.
    Daemon {
        /// on or off.
        state: Switch,
    },
    /// A storage answers (on) or not (off).
    Storage {
        /// Its id.
        id: String,
        /// on or off.
        state: Switch,
    },
    /// A drive is mounted at a path (on) or not (off).
    Mount {
        /// The path.
        path: String,
        /// on or off.
        state: Switch,
    },
    /// Mount a file system of the host's drives, as systemd would.
    MountDrive {
        /// Its UUID.
        uuid: String,
        /// The path.
        path: String,
    },
    /// Take it away again.
    UnmountDrive {
        /// The path.
        path: String,
    },
    /// Give a drive one partition, and that a file system.
    Repartition {
        /// Its name, or its partition's.
        name: String,
        /// `ext4`, or nothing.
        #[arg(default_value = "")]
        #[serde(default)]
        format: String,
        /// Of the file system.
        #[arg(default_value = "")]
        #[serde(default)]
        uuid: String,
        /// Of the partition.
        #[arg(default_value = "")]
        #[serde(default)]
        partition: String,
    },
    /// Run the host's `zpool` or `zfs`, as far as it has them.
    Zfs {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Mount a dataset of a pool.
    MountDataset {
        /// `tank/felhom`
        dataset: String,
        /// Where.
        path: String,
    },
    /// Plug a drive in (on) or pull it (off); it holds one ext4 file system.
    Drive {
        /// Its serial number: of one of the usual two, or of a new one.
        serial: String,
        /// on or off.
        state: Switch,
    },
    /// A bridge exists (on) or not (off).
    Bridge {
        /// Its name.
        name: String,
        /// on or off.
        state: Switch,
    },
    /// Drop all connections, as a restart of pveproxy does.
    Restart,
    /// Power cut and boot.
    Reboot,
    /// A new certificate.
    RenewCertificate,
    /// Set the persistent lock of a guest; without a name, clear it.
    Lock {
        /// The guest.
        vmid: u32,
        /// backup, snapshot …
        lock: Option<String>,
    },
    /// Hold (on) or release (off) a guest's file lock.
    Flock {
        /// The guest.
        vmid: u32,
        /// on or off.
        state: Switch,
    },
    /// Edit a guest's configuration by hand; without a value, delete the key.
    Edit {
        /// The guest.
        vmid: u32,
        /// The key.
        key: String,
        /// The value.
        value: Option<String>,
    },
    /// Start a guest by hand.
    Start {
        /// The guest.
        vmid: u32,
    },
    /// Stop a guest by hand.
    Stop {
        /// The guest.
        vmid: u32,
    },
    /// Create a guest nobody manages.
    CreateGuest {
        /// Its number.
        vmid: u32,
        /// lxc or qemu.
        kind: GuestKind,
        /// Its name.
        name: String,
    },
    /// Destroy a guest as the customer would.
    DestroyGuest {
        /// The guest.
        vmid: u32,
    },
    /// Teach download-url an address.
    Download {
        /// The address.
        url: String,
        /// Its SHA-256.
        sha256: String,
        /// Bytes.
        size: u64,
    },
    /// A token with privileges on one path: ID PATH PRIV… ; the secret is in the answer.
    Token {
        /// user@realm!id.
        id: String,
        /// ACL path.
        path: String,
        /// Privileges.
        privileges: Vec<String>,
    },
    /// How long tasks take, in milliseconds.
    TaskMs {
        /// Milliseconds.
        ms: u64,
    },
    /// What a call costs, in microseconds.
    LatencyUs {
        /// Microseconds.
        us: u64,
    },
}

fn once() -> u32 {
    1
}

/// on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Works.
    On,
    /// Does not.
    Off,
}

/// lxc or qemu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A container.
    Lxc,
    /// A virtual machine.
    Qemu,
}

impl Verb {
    /// Does it; the answer is for people and scripts alike.
    ///
    /// # Errors
    /// Where the node cannot have it so.
    pub fn run(self, control: &Control) -> Result<Value, ControlError> {
        let done = json!("done");
        match self {
            Self::State => return Ok(plain(control.snapshot())),
            Self::Requests { reset } => {
                let answer = json!({"counters": control.counters(), "requests": control.requests()});
                if reset {
                    control.reset_requests();
                }
                return Ok(answer);
            }
            Self::Faults => return Ok(plain(control.faults())),
            Self::ClearFaults { id: Some(id) } => control.remove_fault(id),
            Self::ClearFaults { id: None } => control.clear_faults(),
            Self::Fault { method, path, action, times, chance, skip } => {
                let when = match (chance, times) {
                    (Some(p), _) => When::Chance(p),
                    (None, 0) => When::Always,
                    (None, n) => When::Times(n),
                };
                let action = parse_action(&action)?;
                return Ok(json!({"fault": control.add_fault(Fault { method, path, when, skip, action })}));
            }
            other => return other.touch(control).map(|()| done),
        }
        Ok(done)
    }

    /// The verbs that answer nothing.
    fn touch(self, control: &Control) -> Result<(), ControlError> {
        let on = |state: Switch| state == Switch::On;
        match self {
            Self::Quorum { state } => control.set_quorum(on(state)),
            Self::Daemon { state } => control.set_daemon(on(state)),
            Self::Storage { id, state } => control.set_storage_online(&id, on(state))?,
            Self::Mount { path, state } => control.set_mounted(&path, on(state)),
            Self::MountDrive { uuid, path } => {
                control.mount_drive(&uuid, &path).map_err(ControlError::Host)?;
            }
            Self::UnmountDrive { path } => control.unmount_drive(&path).map_err(ControlError::Host)?,
            Self::Repartition { name, format, uuid, partition } => {
                control.repartition(&name, (&format, &uuid), &partition).map_err(ControlError::Host)?;
            }
            Self::Zfs { words } => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                control.run_zfs(&words).map_err(ControlError::Host)?;
            }
            Self::MountDataset { dataset, path } => {
                control.mount_dataset(&dataset, &path).map_err(ControlError::Host)?;
            }
            Self::Drive { serial, state } => {
                control.plug_drive(&serial, on(state)).map_err(ControlError::Host)?;
            }
            Self::Bridge { name, state } => control.set_bridge(&name, on(state)),
            Self::Restart => control.restart(),
            Self::Reboot => control.reboot_host(),
            Self::RenewCertificate => control.renew_certificate().map_err(ControlError::Certificate)?,
            Self::Lock { vmid, lock } => control.set_lock(vmid, lock.as_deref())?,
            Self::Flock { vmid, state: Switch::On } => control.hold_flock(vmid),
            Self::Flock { vmid, state: Switch::Off } => control.release_flock(vmid),
            Self::Edit { vmid, key, value } => control.edit_config(vmid, &key, value.as_deref())?,
            Self::Start { vmid } => control.set_running(vmid, true)?,
            Self::Stop { vmid } => control.set_running(vmid, false)?,
            Self::CreateGuest { vmid, kind, name } => {
                let kind = if kind == GuestKind::Lxc { Kind::Lxc } else { Kind::Qemu };
                control.create_guest(vmid, kind, &name)?;
            }
            Self::DestroyGuest { vmid } => control.destroy_guest(vmid)?,
            Self::Download { url, sha256, size } => {
                control
                    .add_download(&url, Download { size, checksums: [("sha256".to_owned(), sha256)].into() });
            }
            Self::Token { id, path, privileges } => {
                let privileges: Vec<&str> = privileges.iter().map(String::as_str).collect();
                let secret = uuid_of(&id);
                control.add_token(Token::poor(&id, &secret).grant(&path, &privileges));
            }
            Self::TaskMs { ms } => control.set_task_time(Duration::from_millis(ms)),
            Self::LatencyUs { us } => control.set_latency(Duration::from_micros(us)),
            Self::State
            | Self::Requests { .. }
            | Self::Faults
            | Self::ClearFaults { .. }
            | Self::Fault { .. } => {}
        }
        Ok(())
    }
}

/// A test token's secret and a spare drive's file system follow from their names, so that nothing need be carried about.
pub(crate) fn uuid_of(id: &str) -> String {
    let seed =
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    crate::rng::Rng::new(seed).uuid()
}

fn plain(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}

fn parse_action(words: &[String]) -> Result<Action, ControlError> {
    let bad = || ControlError::Refused(format!("no such action: {}", words.join(" ")));
    let number = |i: usize| words.get(i).and_then(|w| w.parse::<u64>().ok()).ok_or_else(bad);
    let text = |i: usize| words.get(i..).unwrap_or_default().join(" ");
    let status = || number(1).and_then(|n| u16::try_from(n).map_err(|_| bad()));
    Ok(match words.first().map(String::as_str) {
        Some("refuse") => Action::Refuse(status()?, text(2)),
        Some("apply-then") => Action::ApplyThenAnswer(status()?, text(2)),
        Some("close-before") => Action::CloseBefore,
        Some("close-after") => Action::CloseAfter,
        Some("delay") => Action::Delay(number(1)?),
        Some("drop") => Action::Drop,
        Some("task-fail") => Action::Task(TaskFault::Fail(text(1))),
        Some("task-hang") => Action::Task(TaskFault::Hang),
        Some("task-die") => Action::Task(TaskFault::Die),
        _ => return Err(bad()),
    })
}
