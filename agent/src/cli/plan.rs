//! `felhom-agent plan`: what would be done, what would be held and why. Acts on nothing.

use std::path::Path;
use std::process::ExitCode;

use felhom_shared::desired::DesiredState;
use felhom_shared::report::{Class, NodeState, Note, NoteKind, Outcome};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::paint::{Tone, clean, json, line, outcome, paint};
use super::setup::{block_on, observer, pve, state_to_read};
use super::{Cli, CliError};
use crate::backoff::Backoff;
use crate::class::class_of;
use crate::config::Config;
use crate::observe::ObservedHost;
use crate::ops::Grants;
use crate::plan::{GuestPlan, Limits, Plan, plan as make_plan};

const STEPS_WOULD_RUN: u8 = 10;
const SOMETHING_IS_HELD: u8 = 11;

pub(super) fn plan(cli: &Cli, desired: Option<&Path>) -> Result<ExitCode, CliError> {
    let config = cli.read_config()?;
    let desired = match desired {
        Some(path) => read_desired(path)?,
        None => in_force(&config)?,
    };
    let (observed, plan) = look(&config, &desired)?;
    if cli.json {
        json(&Shown::of(&observed, &plan));
    } else {
        print(&observed, &plan);
    }
    let stuck = |guest: &GuestPlan| guest.outcome >= Outcome::Held;
    Ok(if plan.guests.iter().any(stuck) || matches!(observed.node, NodeState::Unreadable { .. }) {
        ExitCode::from(SOMETHING_IS_HELD)
    } else if plan.guests.iter().any(|guest| !guest.steps.is_empty()) {
        ExitCode::from(STEPS_WOULD_RUN)
    } else {
        ExitCode::SUCCESS
    })
}

fn read_desired(path: &Path) -> Result<DesiredState, CliError> {
    let bytes = std::fs::read(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    DesiredState::from_json(&bytes).map_err(|source| CliError::Desired { path: path.to_owned(), source })
}

pub(super) fn in_force(config: &Config) -> Result<DesiredState, CliError> {
    let accepted = state_to_read(config)?.map(|state| state.accepted()).transpose()?.flatten();
    accepted.map(|accepted| accepted.desired.clone()).ok_or(CliError::NoDocument)
}

/// Reads the node afresh and plans, with the budget the running agent has left.
pub(super) fn look(config: &Config, desired: &DesiredState) -> Result<(ObservedHost, Plan), CliError> {
    let now = Timestamp::now();
    let hour_ago = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(Timestamp::UNIX_EPOCH);
    let state = state_to_read(config)?;
    let spent = state.as_ref().map(|state| state.changes_since(hour_ago)).transpose()?.unwrap_or(0);
    let budget_left = config.change_budget_per_hour.saturating_sub(spent);
    let pve = pve(config)?;
    let mut observer = observer(config, &pve);
    let observed = block_on(async { Ok(observer.observe(desired).await) })?;
    let backoff = Backoff::default();
    let grants = Grants::NONE;
    let lost = state.map(|state| state.lost_creations(desired, &observed)).transpose()?.unwrap_or_default();
    let limits = Limits { now, budget_left, backoff: &backoff, grants, lost: &lost, blocked: false };
    let plan = make_plan(desired, &observed, limits);
    Ok((observed, plan))
}

fn print(observed: &ObservedHost, plan: &Plan) {
    match &observed.node {
        NodeState::Present { node, pve_version } => {
            line(&paint(Tone::Quiet, &format!("node {node}, PVE {pve_version}")));
        }
        NodeState::Unreadable { text, .. } => line(&paint(Tone::Bad, text)),
    }
    for guest in &plan.guests {
        print_guest(guest);
    }
    for guest in &plan.unmanaged {
        let text = format!("{:>9}  {}  unmanaged, left alone ({})", guest.vmid, guest.name, guest.status);
        line(&paint(Tone::Quiet, &text));
    }
    let changed = plan.guests.iter().filter(|guest| !guest.steps.is_empty()).count();
    let steps: usize = plan.guests.iter().map(|guest| guest.steps.len()).sum();
    let held =
        plan.guests.iter().flat_map(|guest| &guest.notes).filter(|note| note.kind == NoteKind::Held).count();
    let (steps, changed) = (counted(steps, "step"), counted(changed, "guest"));
    line(&format!("{steps} on {changed}; {held} held for a signature; nothing was done"));
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

pub(super) fn print_guest(guest: &GuestPlan) {
    let name = paint(Tone::Bold, &guest.name);
    line(&format!("{:>9}  {name}  {}  {}", guest.vmid, guest.kind.as_str(), outcome(guest.outcome)));
    for step in &guest.steps {
        let class = match class_of(step) {
            Class::Routine => "",
            Class::Guarded => " (guarded)",
        };
        line(&format!(
            "           {} {}{class}: {}",
            paint(Tone::Busy, "+"),
            step.word(),
            clean(&step.to_string())
        ));
    }
    for note in &guest.notes {
        print_note(note);
    }
}

pub(super) fn print_note(note: &Note) {
    let (mark, tone) = match note.kind {
        NoteKind::Held => ("held", Tone::Busy),
        NoteKind::Waiting => ("waiting", Tone::Busy),
        NoteKind::Refused => ("refused", Tone::Bad),
    };
    line(&format!("           {} {}: {}", paint(tone, mark), note.code, clean(&note.text)));
}

#[derive(Serialize)]
struct Shown<'a> {
    node: &'a NodeState,
    guests: Vec<ShownGuest<'a>>,
    unmanaged: &'a [felhom_shared::report::UnmanagedGuest],
}

#[derive(Serialize)]
struct ShownGuest<'a> {
    guest_id: felhom_shared::id::GuestId,
    vmid: felhom_shared::id::Vmid,
    name: &'a str,
    outcome: Outcome,
    steps: Vec<ShownStep>,
    notes: &'a [Note],
}

#[derive(Serialize)]
struct ShownStep {
    step: &'static str,
    class: Class,
    detail: String,
}

impl<'a> Shown<'a> {
    fn of(observed: &'a ObservedHost, plan: &'a Plan) -> Self {
        let guests = plan.guests.iter().map(|guest| ShownGuest {
            guest_id: guest.guest_id,
            vmid: guest.vmid,
            name: &guest.name,
            outcome: guest.outcome,
            steps: guest
                .steps
                .iter()
                .map(|step| ShownStep { step: step.word(), class: class_of(step), detail: step.to_string() })
                .collect(),
            notes: &guest.notes,
        });
        Self { node: &observed.node, guests: guests.collect(), unmanaged: &plan.unmanaged }
    }
}
