//! The tunnel's unit, program and token, by `felhom-host`, which is root and has no network.
//!
//! What is asked for names a program by its hash and carries a token. The program is the one that the box's own package
//! brought: it is copied, so that the one that ran before is still there when a change is taken back. Nothing else is
//! started, and no unit is touched but the one that stands in this program.

mod program;
pub mod slots;
mod token;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use felhom_shared::id::Sha256Hex;
use felhom_shared::report::Failure;
use felhom_shared::secret::SecretValue;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::clerk::{Clerk, UNITS, failed, put};
use super::command::Answer;
use crate::observe::Reading;
use program::{copy_program, has_room};
pub use program::{hash_file, installed_program};
use slots::{PROGRAM, Slots, TOKEN, UNIT};

/// The unit's text, as it stands in the repository.
pub const UNIT_TEXT: &str = include_str!("../../../../systemd/felhom-tunnel.service");
/// How a unit that may be written over begins.
const OURS: &str = "# Made by felhom-host";

/// What may be asked about the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TunnelCommand {
    /// Run it with this token and this program, on trial: what ran before is kept.
    Try(TryTunnel),
    /// Run it no more, on trial.
    Stop,
    /// The change stays.
    Keep,
    /// What was there before comes back.
    Revert,
    /// Start what is installed, should it have been stopped.
    Start,
    /// Say what systemd knows of it.
    Look,
}

/// See [`TunnelCommand::Try`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TryTunnel {
    /// Its token.
    pub token: SecretValue,
    /// The program that must be installed on the box, or already be the tunnel's.
    pub program_sha256: Sha256Hex,
}

/// What systemd says of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// `active`, `activating`, `failed`…
    pub active: String,
    /// What the program last ended with.
    pub exit_status: String,
}

impl UnitState {
    /// It runs, and has said that it is ready.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// It does not run, and systemd does not start it by itself.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }
}

impl Clerk<'_> {
    pub(super) fn tunnel(&self, command: &TunnelCommand) -> Result<Answer, Failure> {
        let slots = Slots::below(self.root);
        slots.settle().map_err(|error| unwritten(&error))?;
        match command {
            TunnelCommand::Try(wanted) => self.change(&slots, Some(wanted))?,
            TunnelCommand::Stop => self.change(&slots, None)?,
            TunnelCommand::Keep => self.keep(&slots)?,
            TunnelCommand::Revert => {
                self.halt()?;
                // Whatever is there then is started: that one thing fails is no reason to run nothing.
                let reverted = slots.revert();
                self.start(&slots).and(reverted.map_err(|error| unwritten(&error)))?;
            }
            TunnelCommand::Start => self.start(&slots)?,
            TunnelCommand::Look => return self.look().map(Answer::Tunnel),
        }
        Ok(Answer::Done)
    }

    /// What runs is stopped before the other takes its place: what answers afterwards is the other.
    fn change(&self, slots: &Slots, wanted: Option<&TryTunnel>) -> Result<(), Failure> {
        if slots.on_trial() {
            if holds(slots, wanted) {
                // Asked again: we were ended between the change and the start.
                return self.start(slots);
            }
            let text = "a change of the tunnel is being tried already: it is kept or taken back first";
            return Err(failed("tunnel_on_trial", text.to_owned()));
        }
        self.refuse_foreign_unit()?;
        if let Err(failure) = self.prepare(slots, wanted).and_then(|()| self.halt()) {
            // Half a copy must not fill the disk.
            slots.settle().map_err(|error| unwritten(&error))?;
            return Err(failure);
        }
        let placed = slots.place();
        self.start(slots).and(placed.map_err(|error| unwritten(&error)))
    }

    /// Everything that can fail without touching what runs.
    fn prepare(&self, slots: &Slots, wanted: Option<&TryTunnel>) -> Result<(), Failure> {
        let account = self.trust.and_then(|trust| trust.tunnel_account.as_deref());
        if let Some(wanted) = wanted {
            token::check(&wanted.token, account)?;
        }
        let next = slots.begin().map_err(|error| unwritten(&error))?;
        if let Some(wanted) = wanted {
            self.fill(&next, slots, wanted)?;
        }
        slots.offer().map_err(|error| unwritten(&error))
    }

    /// Anybody on the box can answer where cloudflared would while that is away. That the unit is active, systemd says, and
    /// it is told so by the unit's own process.
    fn keep(&self, slots: &Slots) -> Result<(), Failure> {
        let runs = slots.current().join(PROGRAM).exists();
        if runs && !self.look()?.is_active() {
            let text = "systemd does not call the tunnel's unit active: the change is not kept";
            return Err(failed("tunnel_not_active", text.to_owned()));
        }
        slots.keep().map_err(|error| unwritten(&error))
    }

    fn fill(&self, next: &Path, slots: &Slots, wanted: &TryTunnel) -> Result<(), Failure> {
        let source = self.program(slots, &wanted.program_sha256)?;
        let room = has_room(next, &source).map_err(|error| unwritten(&error))?;
        if !room {
            let text = "there is no room for a copy of cloudflared below /var/lib: make some";
            return Err(failed("tunnel_no_room", text.to_owned()));
        }
        let copied = copy_program(&source, &next.join(PROGRAM)).map_err(|error| unwritten(&error))?;
        if copied != wanted.program_sha256 {
            let text = format!("{} is not what was asked for", source.display());
            return Err(failed("cloudflared_differs", text));
        }
        let write = |name: &str, mode: u32, text: &str| {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(mode).open(next.join(name))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        let written = write(TOKEN, 0o600, wanted.token.expose()).and_then(|()| write(UNIT, 0o644, UNIT_TEXT));
        written.map_err(|error| unwritten(&error))
    }

    /// The box's own program, or the tunnel's copy of an earlier one.
    fn program(&self, slots: &Slots, sha256: &Sha256Hex) -> Result<PathBuf, Failure> {
        let copy = slots.current().join(PROGRAM);
        if copy.is_file() && hash_file(&copy).is_ok_and(|hash| hash == *sha256) {
            return Ok(copy);
        }
        let path = installed_program(self.root).ok_or_else(|| {
            failed("cloudflared_missing", "cloudflared is not installed on this box".to_owned())
        })?;
        let metadata = fs::metadata(&path).map_err(|error| unwritten(&error))?;
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            let text = format!("{} may be changed by others than root: it is not run", path.display());
            return Err(failed("cloudflared_unsafe", text));
        }
        Ok(path)
    }

    fn refuse_foreign_unit(&self) -> Result<(), Failure> {
        let path = self.root.join(UNITS).join(UNIT);
        match fs::read_to_string(&path) {
            // An empty one is what a power cut left of ours.
            Ok(text) if !text.is_empty() && !text.starts_with(OURS) => {
                let text = format!("{} was made by somebody else: it is left alone", path.display());
                Err(failed("tunnel_unit_taken", text))
            }
            _ => Ok(()),
        }
    }

    fn halt(&self) -> Result<(), Failure> {
        if !self.root.join(UNITS).join(UNIT).exists() {
            return Ok(());
        }
        self.systemctl(&["stop", "--", UNIT]).map(drop)
    }

    /// Makes systemd run what is in the current slot, or nothing where that is empty.
    fn start(&self, slots: &Slots) -> Result<(), Failure> {
        self.refuse_foreign_unit()?;
        let path = self.root.join(UNITS).join(UNIT);
        let Ok(text) = fs::read_to_string(slots.current().join(UNIT)) else {
            if path.exists() {
                self.systemctl(&["--quiet", "disable", "--now", "--", UNIT])?;
                fs::remove_file(&path).map_err(|error| unwritten(&error))?;
                self.systemctl(&["daemon-reload"])?;
            }
            return Ok(());
        };
        put(&path, &text).map_err(|error| unwritten(&error))?;
        // Also where the text was there: the last one to write it may have been ended before this.
        self.systemctl(&["daemon-reload"])?;
        self.systemctl(&["--quiet", "enable", "--", UNIT])?;
        // It is ready when it is connected, and nobody waits here for that.
        self.systemctl(&["start", "--no-block", "--", UNIT]).map(drop)
    }

    fn look(&self) -> Result<UnitState, Failure> {
        let keys = "--property=ActiveState,ExecMainStatus";
        let said = self.systemctl(&["show", keys, "--", UNIT])?;
        let value = |key: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        Ok(UnitState { active: value("ActiveState"), exit_status: value("ExecMainStatus") })
    }

    fn systemctl(&self, args: &[&str]) -> Result<String, Failure> {
        (self.tool)("systemctl", args).map_err(|said| failed("tunnel_not_changed", said))
    }
}

/// Whether what is on trial is what is asked for.
fn holds(slots: &Slots, wanted: Option<&TryTunnel>) -> bool {
    match (wanted, slots.token()) {
        (None, Reading::Absent) => true,
        (Some(wanted), Reading::Present(token)) => {
            let program = hash_file(&slots.current().join(PROGRAM));
            token == wanted.token && program.is_ok_and(|hash| hash == wanted.program_sha256)
        }
        _ => false,
    }
}

fn unwritten(error: &io::Error) -> Failure {
    failed(
        "tunnel_not_changed",
        format!("the tunnel's files cannot be written: {error}. Is the disk full or read-only?"),
    )
}

#[cfg(test)]
mod tests;
