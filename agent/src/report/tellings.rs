//! What is worth telling between two states of the host: transitions, each once. Pure.

use std::collections::BTreeMap;

use felhom_shared::drive::DriveReport;
use felhom_shared::event::Severity;
use felhom_shared::id::GuestId;
use felhom_shared::ordered;
use felhom_shared::report::{
    ForeignTunnel, GuestReport, HostState, NodeState, NoteKind, Outcome, Readiness, StepOutcome,
    StorageReport, TunnelReadiness, TunnelReport,
};

use crate::state::Telling;

/// What is worth telling between two states. Transitions only: a guest that stays held is told once.
#[must_use]
pub fn tellings(before: Option<&HostState>, after: &HostState) -> Vec<Telling> {
    let mut told = Vec::new();
    tell_node(before, after, &mut told);
    let was: BTreeMap<GuestId, Outcome> = before
        .map(|state| ordered::map(state.guests.iter().map(|guest| (guest.guest_id, guest.outcome))))
        .unwrap_or_default();
    for guest in &after.guests {
        tell_steps(guest, &mut told);
        tell_outcome(guest, was.get(&guest.guest_id).copied(), &mut told);
    }
    if let Some(before) = before {
        tell_drives(&before.drives, &after.drives, &mut told);
    }
    tell_storage(before.map_or(&[][..], |state| &state.storage), &after.storage, &mut told);
    tell_tunnel(before.and_then(|state| state.tunnel.as_ref()), after.tunnel.as_ref(), &mut told);
    tell_generation(before, after, &mut told);
    told
}

fn tell_node(before: Option<&HostState>, after: &HostState, told: &mut Vec<Telling>) {
    let readable = |state: &HostState| matches!(state.node, NodeState::Present { .. });
    let was_readable = before.is_none_or(readable);
    if let NodeState::Unreadable { text, .. } = &after.node
        && was_readable
    {
        told.push(Telling::of_host("pve_unreadable", Severity::Error, text.clone()));
    } else if readable(after) && !was_readable {
        told.push(Telling::of_host("pve_readable", Severity::Info, "PVE answers again".to_owned()));
    }
}

fn tell_steps(guest: &GuestReport, told: &mut Vec<Telling>) {
    let done = guest.steps.iter().filter(|step| step.outcome == StepOutcome::Applied);
    let done: Vec<&str> = done.map(|step| step.step.as_str()).collect();
    if !done.is_empty() {
        let text = format!("{} (vmid {}): {}", guest.name, guest.vmid, done.join(", "));
        told.push(Telling::of_guest("guest_changed", Severity::Info, guest.guest_id, text));
    }
}

fn tell_outcome(guest: &GuestReport, was: Option<Outcome>, told: &mut Vec<Telling>) {
    if was == Some(guest.outcome) {
        return;
    }
    let (kind, severity) = match guest.outcome {
        Outcome::Converged if was.is_some_and(|was| was >= Outcome::Held) => {
            ("guest_converged", Severity::Info)
        }
        Outcome::Converged | Outcome::Converging | Outcome::Waiting => return,
        Outcome::Held => ("guest_held", Severity::Warning),
        Outcome::Refused => ("guest_refused", Severity::Warning),
        Outcome::Unreadable => ("guest_unreadable", Severity::Warning),
        Outcome::Interrupted => ("guest_interrupted", Severity::Warning),
        Outcome::Failed => ("guest_failed", Severity::Error),
    };
    let failure =
        guest.steps.iter().rev().find_map(|step| step.error.as_ref()).map(|error| error.text.as_str());
    let why =
        failure.or_else(|| guest.notes.last().map(|note| note.text.as_str())).unwrap_or("as desired again");
    let text = format!("{} (vmid {}): {why}", guest.name, guest.vmid);
    told.push(Telling::of_guest(kind, severity, guest.guest_id, text));
}

/// A drive is the same if it says the same of itself; one without an identity, if it is at the same place.
fn tell_drives(before: &[DriveReport], after: &[DriveReport], told: &mut Vec<Telling>) {
    let same = |one: &DriveReport, other: &DriveReport| match (&one.durable_id, &other.durable_id) {
        (Some(one), Some(other)) => one == other,
        _ => (&one.name, one.size_bytes, &one.serial) == (&other.name, other.size_bytes, &other.serial),
    };
    for drive in after {
        let was = before.iter().find(|was| same(was, drive));
        if was.is_none() {
            let text = format!("{} is attached", drive_words(drive));
            told.push(Telling::of_host("drive_attached", Severity::Info, text));
        }
        let known = was.map_or(&[][..], |was| &was.problems);
        for problem in
            drive.problems.iter().filter(|problem| !known.iter().any(|one| one.code == problem.code))
        {
            told.push(Telling::of_host("drive_unclear", Severity::Warning, problem.text.clone()));
        }
        let fails =
            |drive: &DriveReport| drive.health.as_deref().is_some_and(|word| word.starts_with("FAIL"));
        if fails(drive) && !was.is_some_and(fails) {
            let text = format!("{} says that it is failing: replace it", drive_words(drive));
            told.push(Telling::of_host("drive_failing", Severity::Error, text));
        }
    }
    for drive in before.iter().filter(|drive| !after.iter().any(|is| same(drive, is))) {
        let text = format!("{} is no longer attached", drive_words(drive));
        told.push(Telling::of_host("drive_vanished", Severity::Warning, text));
    }
}

/// That a storage came to be ready, and that it is no longer, with the reason.
fn tell_storage(before: &[StorageReport], after: &[StorageReport], told: &mut Vec<Telling>) {
    for storage in after {
        let was = before.iter().find(|was| was.storage == storage.storage);
        let was_ready = was.is_some_and(|was| was.readiness == Readiness::Ready);
        let ready = storage.readiness == Readiness::Ready;
        if ready && !was_ready {
            let name = storage.name.as_deref().unwrap_or("its drive");
            let text = format!("the storage {} is ready on {name}", storage.storage);
            told.push(Telling::of_host("storage_ready", Severity::Info, text));
        }
        let known = was.map_or(&[][..], |was| &was.notes);
        for note in storage.notes.iter().filter(|note| !known.iter().any(|one| one.code == note.code)) {
            let (kind, severity) = match note.kind {
                NoteKind::Held => ("storage_held", Severity::Warning),
                NoteKind::Refused => ("storage_refused", Severity::Warning),
                NoteKind::Waiting if was_ready => ("storage_lost", Severity::Error),
                NoteKind::Waiting => ("storage_waits", Severity::Warning),
            };
            told.push(Telling::of_host(
                kind,
                severity,
                format!("storage {}: {}", storage.storage, note.text),
            ));
        }
    }
}

/// That the tunnel was changed, taken back, connected or lost; and tunnels that are not ours.
fn tell_tunnel(before: Option<&TunnelReport>, after: Option<&TunnelReport>, told: &mut Vec<Telling>) {
    let Some(after) = after else { return };
    let mut tell = |kind, severity, text: String| told.push(Telling::of_host(kind, severity, text));
    for step in after.steps.iter().filter(|step| step.outcome == StepOutcome::Applied) {
        let text = format!("tunnel: {}, {}", step.step, step.detail);
        match step.step.as_str() {
            "revert_tunnel" => tell("tunnel_reverted", Severity::Error, text),
            _ => tell("tunnel_changed", Severity::Info, text),
        }
    }
    let is_connected = |tunnel: &TunnelReport| tunnel.readiness == TunnelReadiness::Connected;
    match (before.is_some_and(is_connected), is_connected(after)) {
        (false, true) => tell("tunnel_connected", Severity::Info, "the tunnel is connected".to_owned()),
        (true, false) if !after.on_trial && after.readiness != TunnelReadiness::Absent => {
            let why = after.notes.first().map(|note| format!(": {}", note.text)).unwrap_or_default();
            tell("tunnel_lost", Severity::Error, format!("the tunnel is {}{why}", after.readiness.word()));
        }
        _ => {}
    }
    let known = before.map_or(&[][..], |before| &before.notes);
    let told_otherwise = ["tunnel_on_trial", "tunnel_reverted", "tunnel_down", "tunnel_unconnected"];
    let news = |code: &str| !told_otherwise.contains(&code) && known.iter().all(|note| note.code != code);
    for note in after.notes.iter().filter(|note| news(&note.code)) {
        let kind = if note.kind == NoteKind::Refused { "tunnel_refused" } else { "tunnel_waits" };
        tell(kind, Severity::Warning, format!("tunnel: {}", note.text));
    }
    let known = before.map_or(&[][..], |before| &before.foreign);
    for foreign in after.foreign.iter().filter(|foreign| !known.contains(foreign)) {
        tell("tunnel_foreign", Severity::Warning, foreign_words(foreign));
    }
}

fn foreign_words(foreign: &ForeignTunnel) -> String {
    let mut text =
        format!("the unit {} runs a cloudflared that is not ours, and is left alone", foreign.unit);
    if foreign.token_in_unit {
        text.push_str("; its token stands in the unit, which everybody on the box can read");
    }
    if foreign.updates_itself {
        text.push_str("; it replaces its program by itself and restarts for it");
    }
    text
}

fn drive_words(drive: &DriveReport) -> String {
    let model = drive.model.as_deref().unwrap_or("drive");
    let serial =
        drive.serial.as_deref().map(|serial| format!(" with serial number {serial}")).unwrap_or_default();
    format!("{model}{serial} ({}, {} GB)", drive.name, drive.size_bytes / 1_000_000_000)
}

fn tell_generation(before: Option<&HostState>, after: &HostState, told: &mut Vec<Telling>) {
    let reached = after.generation.reached;
    if let Some(generation) = reached
        && before.is_none_or(|state| state.generation.reached != reached)
    {
        let text = format!("every item of generation {generation} is as desired");
        told.push(Telling::of_host("generation_reached", Severity::Info, text));
    }
}
