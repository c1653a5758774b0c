//! `felhom-agent plan`: what would be done, what would be held and why. Acts on nothing.

use std::path::Path;
use std::process::ExitCode;

use felhom_shared::desired::DesiredState;
use felhom_shared::drive::{DriveReport, DurableId};
use felhom_shared::id::StorageId;
use felhom_shared::report::{
    Class, Failure, ForeignTunnel, HostState, NodeState, Note, NoteKind, Outcome, Readiness, StorageReport,
    TunnelReadiness, TunnelReport,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::paint::{Tone, clean, json, line, outcome, paint};
use super::setup::{block_on, observer, pve, state_to_read};
use super::{Cli, CliError};
use crate::backoff::Backoff;
use crate::class::class_of;
use crate::config::Config;
use crate::host::block::BlockDevices;
use crate::observe::{ObservedHost, Reading};
use crate::ops::Grants;
use crate::plan::{GuestPlan, Limits, Plan, plan as make_plan};
use crate::resources::guest::uplink::Uplinks;
use crate::resources::storage::detect;
use crate::resources::storage::observe::{Place, observe};
use crate::resources::storage::plan::StoragePlan;
use crate::resources::storage::plan_format::NOT_READ;
use crate::resources::tunnel::plan::TunnelPlan;
use crate::resources::tunnel::{Secrets, Watch};
use crate::state::State;

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
    let stuck = |outcome: Outcome| outcome >= Outcome::Held;
    Ok(if plan.outcomes().any(stuck) || matches!(observed.node, NodeState::Unreadable { .. }) {
        ExitCode::from(SOMETHING_IS_HELD)
    } else if !plan.is_idle() {
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
    let marks = state.as_ref().map(State::drive_marks).transpose()?.unwrap_or_default();
    let attempt = state.as_ref().map(State::tunnel_attempt).transpose()?.flatten();
    let observed = block_on(async {
        let mut observed = observer.observe(desired).await;
        if !desired.storage.is_empty() {
            let place = Place { root: &config.drives_root, state_dir: &config.state_dir };
            let known = (config.host_id, drives(config), marks);
            observed.storages = Some(observe(&pve, place, &desired.storage, known).await);
        }
        let mut watch = Watch::of(&config.drives_root, config.tunnel.metrics).reading_only();
        let known = (config.state_dir.as_path(), &Secrets::default(), attempt);
        observed.tunnel = watch.look(desired.tunnel.as_ref(), known).await;
        Ok(observed)
    })?;
    let backoff = Backoff::default();
    let grants = Grants::NONE;
    let lost =
        state.as_ref().map(|state| state.lost_creations(desired, &observed)).transpose()?.unwrap_or_default();
    let (backoff, lost) = (&backoff, &lost);
    let limits = Limits { now, budget_left, backoff, grants, lost, blocked: false, at_once: &|_| false };
    let mut plan = make_plan(desired, &observed, limits);
    if let Some(state) = &state {
        Uplinks::keep_back(desired, state, &mut plan, now)?;
    }
    if let Some(told) = state.map(|state| state.last_report::<HostState>()).transpose()?.flatten() {
        take_over(&mut plan, told.storage);
        take_over_tunnel(&mut plan, told.tunnel);
    }
    Ok((observed, plan))
}

/// What stands on a drive that is to be formatted, only the running agent has read: what it said of it is said again.
fn take_over(plan: &mut Plan, told: Vec<StorageReport>) {
    for told in told {
        let same = |storage: &&mut StoragePlan| {
            storage.storage == told.storage && storage.notes.iter().any(|note| note.code == NOT_READ)
        };
        if let Some(storage) = plan.storage.iter_mut().find(same) {
            (storage.outcome, storage.notes) = (told.outcome, told.notes);
        }
    }
}

/// Since when a change is tried, and whether a token has come, only the running agent knows.
fn take_over_tunnel(plan: &mut Plan, told: Option<TunnelReport>) {
    let (Some(tunnel), Some(told)) = (&mut plan.tunnel, told) else { return };
    let same = told.on_trial == tunnel.on_trial;
    if let Some(outcome) = told.outcome.filter(|_| same && (tunnel.on_trial || tunnel.lacks_secret)) {
        (tunnel.outcome, tunnel.notes) = (outcome, told.notes);
        tunnel.steps.clear();
    }
}

fn drives(config: &Config) -> Reading<Vec<DriveReport>> {
    match BlockDevices::new(&config.drives_root).read() {
        Ok(devices) => Reading::Present(detect(&devices)),
        Err(error) => {
            let text = format!("the drives of this box cannot be read: {error}");
            Reading::Unreadable(Failure { code: "drives_unreadable".to_owned(), text })
        }
    }
}

fn print(observed: &ObservedHost, plan: &Plan) {
    match &observed.node {
        NodeState::Present { node, pve_version } => {
            line(&paint(Tone::Quiet, &format!("node {node}, PVE {pve_version}")));
        }
        NodeState::Unreadable { text, .. } => line(&paint(Tone::Bad, text)),
    }
    plan.storage.iter().for_each(print_storage);
    plan.tunnel.iter().for_each(print_tunnel);
    plan.guests.iter().for_each(print_guest);
    for guest in &plan.unmanaged {
        let text = format!("{:>9}  {}  unmanaged, left alone ({})", guest.vmid, guest.name, guest.status);
        line(&paint(Tone::Quiet, &text));
    }
    let guests = plan.guests.iter().map(|guest| (guest.steps.len(), &guest.notes));
    let tunnel = plan.tunnel.iter().map(|tunnel| (tunnel.steps.len(), &tunnel.notes));
    let storage = plan.storage.iter().map(|storage| (storage.steps.len(), &storage.notes));
    let items = storage.chain(tunnel).chain(guests);
    let (mut changed, mut steps, mut held) = (0, 0, 0);
    for (of_item, notes) in items {
        changed += usize::from(of_item > 0);
        steps += of_item;
        held += notes.iter().filter(|note| note.kind == NoteKind::Held).count();
    }
    let (steps, changed) = (counted(steps, "step"), counted(changed, "item"));
    line(&format!("{steps} on {changed}; {held} held for a signature; nothing was done"));
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

pub(super) fn print_guest(guest: &GuestPlan) {
    let name = paint(Tone::Bold, &guest.name);
    line(&format!("{:>9}  {name}  {}  {}", guest.vmid, guest.kind.as_str(), outcome(guest.outcome)));
    guest.steps.iter().for_each(|step| print_step(step.word(), class_of(step), &step.to_string()));
    guest.notes.iter().for_each(print_note);
}

pub(super) fn print_storage(storage: &StoragePlan) {
    let name = paint(Tone::Bold, storage.storage.as_str());
    let at = storage.name.as_deref().unwrap_or(storage.readiness.word());
    line(&format!(
        "{:>9}  {name}  storage for {}  {}",
        clean(at),
        storage.role.word(),
        outcome(storage.outcome)
    ));
    storage.steps.iter().for_each(|step| print_step(step.word(), step.class(), &step.to_string()));
    storage.notes.iter().for_each(print_note);
}

pub(super) fn print_tunnel(tunnel: &TunnelPlan) {
    let standing = tunnel.desired.then_some(tunnel.outcome);
    print_tunnel_line(tunnel.readiness, tunnel.version.as_deref(), standing);
    tunnel.steps.iter().for_each(|step| print_step(step.word(), step.class(), &step.to_string()));
    tunnel.notes.iter().for_each(print_note);
    tunnel.foreign.iter().for_each(print_foreign);
}

/// A tunnel as it runs. The version is what somebody on the box has said: it is not let loose on a terminal.
pub(super) fn print_tunnel_line(
    readiness: TunnelReadiness,
    version: Option<&str>,
    standing: Option<Outcome>,
) {
    let version = version.map(|version| format!("cloudflared {}  ", clean(version))).unwrap_or_default();
    let standing = standing.map_or_else(|| paint(Tone::Quiet, "not in the document"), outcome);
    line(&format!("{:>9}  {}  {version}{standing}", readiness.word(), paint(Tone::Bold, "tunnel")));
}

pub(super) fn print_foreign(foreign: &ForeignTunnel) {
    let text = format!("           {}  another tunnel, left alone", clean(&foreign.unit));
    line(&paint(Tone::Quiet, &text));
}

fn print_step(word: &str, class: Class, detail: &str) {
    let class = match class {
        Class::Routine => "",
        Class::Guarded => " (guarded)",
    };
    line(&format!("           {} {word}{class}: {}", paint(Tone::Busy, "+"), clean(detail)));
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
    storage: Vec<ShownStorage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<ShownTunnel<'a>>,
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
struct ShownStorage<'a> {
    storage: &'a StorageId,
    durable_id: &'a DurableId,
    readiness: Readiness,
    outcome: Outcome,
    steps: Vec<ShownStep>,
    notes: &'a [Note],
}

#[derive(Serialize)]
struct ShownTunnel<'a> {
    readiness: TunnelReadiness,
    outcome: Option<Outcome>,
    version: Option<&'a str>,
    on_trial: bool,
    steps: Vec<ShownStep>,
    notes: &'a [Note],
    foreign: &'a [ForeignTunnel],
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
        let storage = plan.storage.iter().map(|storage| ShownStorage {
            storage: &storage.storage,
            durable_id: &storage.durable_id,
            readiness: storage.readiness,
            outcome: storage.outcome,
            steps: storage
                .steps
                .iter()
                .map(|step| ShownStep { step: step.word(), class: step.class(), detail: step.to_string() })
                .collect(),
            notes: &storage.notes,
        });
        let storage = storage.collect();
        let tunnel = plan.tunnel.as_ref().map(|tunnel| ShownTunnel {
            readiness: tunnel.readiness,
            outcome: tunnel.desired.then_some(tunnel.outcome),
            version: tunnel.version.as_deref(),
            on_trial: tunnel.on_trial,
            steps: tunnel
                .steps
                .iter()
                .map(|step| ShownStep { step: step.word(), class: step.class(), detail: step.to_string() })
                .collect(),
            notes: &tunnel.notes,
            foreign: &tunnel.foreign,
        });
        Self { node: &observed.node, storage, tunnel, guests: guests.collect(), unmanaged: &plan.unmanaged }
    }
}
