//! The agent's numbers for node-exporter's textfile collector: off until `[metrics]` names a file.
//!
//! The file is replaced whole after each cycle, so a reader never sees half of one. It holds counts and times only: no
//! name, no address, no text from PVE or the hub. A file that cannot be written is told once and stops nothing.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use felhom_shared::exposition::{Exposition, by, label};
use felhom_shared::report::{HostState, NodeState, NoteKind, Outcome, StepOutcome};
use jiff::Timestamp;

use crate::cycle::CycleEnd;

/// Shown also while they are zero, so that a rate over them has a beginning.
const STEP_WORDS: [&str; 6] =
    ["applied", "already_true", "failed", "not_attempted", "running", "interrupted"];
const GUEST_WORDS: [&str; 8] =
    ["converged", "converging", "waiting", "held", "refused", "unreadable", "interrupted", "failed"];

/// Results of a cycle: PVE was read and no guest is in a bad way; some guest is; PVE could not be read.
const OK: &str = "ok";
const FAILED: &str = "failed";
const UNREADABLE: &str = "unreadable";

/// What the last cycle left.
#[derive(Debug)]
struct Last {
    end: CycleEnd,
    at: Timestamp,
    paused: bool,
    interval: Duration,
}

/// The numbers since the agent's start, and the file they go to.
#[derive(Debug)]
pub struct Textfile {
    path: PathBuf,
    started_at: Timestamp,
    heard_at: Option<Timestamp>,
    refused_documents: u64,
    cycles: BTreeMap<&'static str, u64>,
    steps: BTreeMap<&'static str, u64>,
    /// Whether the last write went well; a lasting failure is told once.
    well: bool,
}

impl Textfile {
    /// Numbers of an agent that starts now, for the file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            started_at: Timestamp::now(),
            heard_at: None,
            refused_documents: 0,
            cycles: [OK, FAILED, UNREADABLE].map(|word| (word, 0)).into(),
            steps: STEP_WORDS.map(|word| (word, 0)).into(),
            well: true,
        }
    }

    /// The hub has answered.
    pub(crate) fn heard(&mut self) {
        self.heard_at = Some(Timestamp::now());
    }

    /// A document was refused.
    pub(crate) fn refused(&mut self) {
        self.refused_documents += 1;
    }

    /// A cycle has ended, and its successor is due after `interval`.
    pub(crate) fn cycle_ended(&mut self, end: CycleEnd, paused: bool, interval: Duration) {
        *self.cycles.entry(result(&end.state)).or_default() += 1;
        for step in end.state.guests.iter().flat_map(|guest| &guest.steps) {
            *self.steps.entry(step_word(step.outcome)).or_default() += 1;
        }
        let last = Last { end, at: Timestamp::now(), paused, interval };
        match replace(&self.path, &self.render(&last)) {
            Ok(()) => self.well = true,
            Err(error) if self.well => {
                self.well = false;
                let path = self.path.display();
                tracing::warn!(
                    "{path} cannot be written, the metrics are missing: {error}. `felhom-agent doctor` says more"
                );
            }
            Err(_) => {}
        }
    }

    fn render(&self, last: &Last) -> String {
        let state = &last.end.state;
        let mut text = Exposition::new("felhom_agent");
        text.gauge(
            "build_info",
            "The agent's version.",
            [(label("version", env!("CARGO_PKG_VERSION")), 1.0)],
        );
        text.one("start_time_seconds", "When the agent started.", seconds(self.started_at));
        self.render_cycle(&mut text, last);
        let generation = &state.generation;
        let number = |generation: Option<felhom_shared::id::Generation>| {
            generation.map_or(0.0, |generation| generation.0 as f64)
        };
        text.one("desired_generation", "The document in force; 0 without one.", number(generation.received));
        text.one(
            "reached_generation",
            "The newest document of which everything was as desired.",
            number(generation.reached),
        );
        let mut guests = BTreeMap::from(GUEST_WORDS.map(|word| (word, 0)));
        for guest in &state.guests {
            *guests.entry(guest.outcome.word()).or_default() += 1;
        }
        text.gauge("guests", "Guests of the document in force by where they stand.", by("outcome", &guests));
        let notes = state.guests.iter().flat_map(|guest| &guest.notes);
        let held = notes.filter(|note| note.kind == NoteKind::Held).count();
        text.one("held_steps", "Steps that wait for a signature.", held as f64);
        text.counter("steps_total", "Steps since the start by how they ended.", by("outcome", &self.steps));
        text.counter(
            "refused_documents_total",
            "Documents refused since the start.",
            [(String::new(), self.refused_documents as f64)],
        );
        text.one(
            "document_refused",
            "Whether the newest document offered was refused.",
            flag(generation.refused.is_some()),
        );
        text.one(
            "hub_last_contact_timestamp_seconds",
            "When the hub last answered; 0 before the first time.",
            self.heard_at.map_or(0.0, seconds),
        );
        text.one(
            "pve_reachable",
            "Whether the last cycle could read the Proxmox API.",
            flag(is_readable(state)),
        );
        if let Some(connections) = last.end.tunnel_connections {
            text.one(
                "tunnel_connections",
                "Connections of the tunnel to Cloudflare.",
                f64::from(connections),
            );
        }
        text.one(
            "journal_open_entries",
            "Steps of which the end is not known yet.",
            state.journal_open as f64,
        );
        text.into_text()
    }

    fn render_cycle(&self, text: &mut Exposition, last: &Last) {
        text.one("last_cycle_timestamp_seconds", "When the last cycle ended.", seconds(last.at));
        text.one("last_cycle_duration_seconds", "How long it took.", last.end.cost.duration_ms as f64 / 1e3);
        text.one(
            "last_cycle_success",
            "Whether it read PVE and no guest is failed, interrupted or unreadable.",
            flag(result(&last.end.state) == OK),
        );
        text.counter("cycles_total", "Cycles since the start by result.", by("result", &self.cycles));
        text.one(
            "cycle_interval_seconds",
            "From a cycle without news to the next, as the hub asks for it.",
            last.interval.as_secs_f64(),
        );
        text.one("paused", "Whether the operator has paused changes on this host.", flag(last.paused));
    }
}

fn result(state: &HostState) -> &'static str {
    let bad = |outcome| matches!(outcome, Outcome::Unreadable | Outcome::Interrupted | Outcome::Failed);
    match &state.node {
        NodeState::Unreadable { .. } => UNREADABLE,
        NodeState::Present { .. } if state.guests.iter().any(|guest| bad(guest.outcome)) => FAILED,
        NodeState::Present { .. } => OK,
    }
}

fn step_word(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Applied => "applied",
        StepOutcome::AlreadyTrue => "already_true",
        StepOutcome::Failed => "failed",
        StepOutcome::NotAttempted => "not_attempted",
        StepOutcome::Running => "running",
        StepOutcome::Interrupted => "interrupted",
    }
}

fn is_readable(state: &HostState) -> bool {
    matches!(state.node, NodeState::Present { .. })
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}

/// Writes beside it and renames. The name beside does not end in `.prom`, which is all that node-exporter reads; the
/// mode is set by hand because the unit's umask would keep the file from everybody.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("prom.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests;
