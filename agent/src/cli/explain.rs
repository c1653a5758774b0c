//! `felhom-agent explain ITEM`: cause, since when, next try, who must act.

use std::process::ExitCode;

use felhom_shared::desired::{DesiredState, GuestSpec};
use felhom_shared::report::{HostState, Note, NoteKind, Outcome, StepOutcome};
use jiff::Timestamp;
use serde::Serialize;

use super::paint::{clean, json, line, word};
use super::plan::{in_force, look, print_guest, print_note, print_storage, print_tunnel};
use super::setup::state_to_read;
use super::{Cli, CliError};
use crate::config::Config;
use crate::item::ItemId;
use crate::state::PastStep;

/// What the tunnel is asked for by, unless a guest is called so.
const TUNNEL: &str = "tunnel";
/// How many of a guest's last steps are shown.
const HISTORY: u32 = 10;

#[derive(Serialize)]
struct Explanation {
    guest: String,
    vmid: u32,
    outcome: Outcome,
    must_act: &'static str,
    since: Option<Timestamp>,
    notes: Vec<Note>,
    next_steps: Vec<String>,
    history: Vec<String>,
}

pub(super) fn explain(cli: &Cli, wanted: &str) -> Result<ExitCode, CliError> {
    let config = cli.read_config()?;
    let desired = in_force(&config)?;
    let fits = |spec: &&GuestSpec| {
        spec.name.as_str() == wanted || spec.vmid.to_string() == wanted || spec.guest_id.to_string() == wanted
    };
    if desired.storage.iter().any(|spec| spec.storage.as_str() == wanted) {
        return explain_storage(cli, &config, &desired, wanted);
    }
    if wanted == TUNNEL && !desired.guests.iter().any(|spec| spec.name.as_str() == TUNNEL) {
        return explain_tunnel(cli, &config, &desired);
    }
    let spec = desired.guests.iter().find(fits).ok_or_else(|| CliError::NoItem(wanted.to_owned()))?;
    let (_, plan) = look(&config, &desired)?;
    let guest = plan.guests.iter().find(|guest| guest.guest_id == spec.guest_id);
    let guest = guest.ok_or_else(|| CliError::NoItem(wanted.to_owned()))?;
    let state = state_to_read(&config)?;
    let past = state
        .as_ref()
        .map(|state| state.history(&spec.guest_id.into(), HISTORY))
        .transpose()?
        .unwrap_or_default();
    let outcome = state.as_ref().map(|state| state.outcome_since(spec.guest_id)).transpose()?.flatten();
    // A fresh reading may already differ from the last cycle; then its outcome is as old as this moment.
    let since = outcome.filter(|(outcome, _)| *outcome == guest.outcome).map(|(_, since)| since);
    let report: Option<HostState> = state.map(|state| state.last_report()).transpose()?.flatten();
    let told =
        report.and_then(|report| report.guests.into_iter().find(|told| told.guest_id == spec.guest_id));
    // The running agent knows of back-off and budget; a fresh plan does not.
    let waiting = told.map(|told| told.notes).unwrap_or_default().into_iter();
    let waiting = waiting.filter(|note| note.kind == NoteKind::Waiting && !guest.notes.contains(note));
    let notes: Vec<Note> = guest.notes.iter().cloned().chain(waiting).collect();
    let must_act = who_must_act(guest.outcome, failing(&past));
    if cli.json {
        json(&Explanation {
            guest: guest.name.clone(),
            vmid: guest.vmid.get(),
            outcome: guest.outcome,
            must_act,
            since,
            notes,
            next_steps: guest.steps.iter().map(|step| format!("{}: {step}", step.word())).collect(),
            history: past.iter().map(past_line).collect(),
        });
        return Ok(ExitCode::SUCCESS);
    }
    print_guest(guest);
    notes.iter().skip(guest.notes.len()).for_each(print_note);
    let since = since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    line(&format!("it is {}{since}; {must_act}", word(guest.outcome)));
    print_past(&past);
    Ok(ExitCode::SUCCESS)
}

fn explain_storage(
    cli: &Cli,
    config: &Config,
    desired: &DesiredState,
    wanted: &str,
) -> Result<ExitCode, CliError> {
    let (_, plan) = look(config, desired)?;
    let storage = plan.storage.iter().find(|storage| storage.storage.as_str() == wanted);
    let storage = storage.ok_or_else(|| CliError::NoItem(wanted.to_owned()))?;
    let item = ItemId::Storage(storage.storage.clone());
    let past = past_of(config, &item)?;
    let must_act = who_must_act(storage.outcome, failing(&past));
    if cli.json {
        json(&serde_json::json!({
            "storage": storage.storage,
            "outcome": storage.outcome,
            "readiness": storage.readiness,
            "must_act": must_act,
            "notes": storage.notes,
            "next_steps": storage.steps.iter().map(|step| format!("{}: {step}", step.word())).collect::<Vec<_>>(),
            "history": past.iter().map(past_line).collect::<Vec<_>>(),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    print_storage(storage);
    line(&format!("it is {}, its drive is {}; {must_act}", word(storage.outcome), storage.readiness.word()));
    print_past(&past);
    Ok(ExitCode::SUCCESS)
}

fn explain_tunnel(cli: &Cli, config: &Config, desired: &DesiredState) -> Result<ExitCode, CliError> {
    let (_, plan) = look(config, desired)?;
    let tunnel = plan.tunnel.as_ref().ok_or_else(|| CliError::NoItem(TUNNEL.to_owned()))?;
    let past = past_of(config, &ItemId::Tunnel)?;
    let must_act = who_must_act(tunnel.outcome, failing(&past));
    if cli.json {
        json(&serde_json::json!({
            "tunnel": tunnel.readiness,
            "outcome": tunnel.desired.then_some(tunnel.outcome),
            "must_act": must_act,
            "notes": tunnel.notes,
            "next_steps": tunnel.steps.iter().map(|step| format!("{}: {step}", step.word())).collect::<Vec<_>>(),
            "history": past.iter().map(past_line).collect::<Vec<_>>(),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    print_tunnel(tunnel);
    if tunnel.desired {
        line(&format!("it is {}, and {}; {must_act}", word(tunnel.outcome), tunnel.readiness.word()));
    } else {
        line("the document says nothing of a tunnel: what is there is left as it is");
    }
    print_past(&past);
    Ok(ExitCode::SUCCESS)
}

fn past_of(config: &Config, item: &ItemId) -> Result<Vec<PastStep>, CliError> {
    let past = state_to_read(config)?.map(|state| state.history(item, HISTORY)).transpose()?;
    Ok(past.unwrap_or_default())
}

fn print_past(past: &[PastStep]) {
    if !past.is_empty() {
        line("last steps, newest first:");
        past.iter().for_each(|step| line(&format!("  {}", clean(&past_line(step)))));
    }
}

fn past_line(past: &PastStep) -> String {
    let outcome =
        past.outcome.map_or_else(|| "open".to_owned(), |outcome| format!("{outcome:?}").to_lowercase());
    let why = past.failure.as_ref().map(|failure| format!(" - {}", failure.text)).unwrap_or_default();
    format!("{:.0}  {}  {outcome}{why}", past.began_at, past.step.word())
}

/// Whether the last thing that was tried failed.
fn failing(past: &[PastStep]) -> bool {
    past.first().is_some_and(|step| step.outcome == Some(StepOutcome::Failed))
}

fn who_must_act(outcome: Outcome, failing: bool) -> &'static str {
    match outcome {
        Outcome::Converged => "nobody needs to act",
        Outcome::Converging if failing => "the agent tries again; read the failure above",
        Outcome::Converging => "the agent acts in its next cycle",
        Outcome::Waiting => "the agent acts when the time comes",
        Outcome::Held => "an operator must sign the held step",
        Outcome::Refused => "the operator must change the document, or a person the guest",
        Outcome::Unreadable => "PVE must become readable; `felhom-agent doctor` says what is wrong",
        Outcome::Interrupted => "the agent finds out what became of the step",
        Outcome::Failed => "the agent tries again; read the failure above",
    }
}
