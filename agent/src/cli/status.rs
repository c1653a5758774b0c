//! `felhom-agent status`: what the agent last reported, from its own state. Asks nobody.

use std::process::ExitCode;

use felhom_shared::drive::DriveReport;
use felhom_shared::report::{HostState, NodeState, StorageReport, TunnelReport};

use super::paint::{Tone, clean, json, line, outcome, paint};
use super::plan::{print_foreign, print_tunnel_line};
use super::setup::state_to_read;
use super::{Cli, CliError};

pub(super) fn status(cli: &Cli) -> Result<ExitCode, CliError> {
    let config = cli.read_config()?;
    let report: Option<HostState> =
        state_to_read(&config)?.map(|state| state.last_report()).transpose()?.flatten();
    let Some(report) = report else {
        line(
            "the agent has not finished a cycle yet; start it with `felhom-agent run`, or ask `felhom-agent doctor`",
        );
        return Ok(ExitCode::FAILURE);
    };
    if cli.json {
        json(&report);
    } else {
        print(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &HostState) {
    let number = |generation: Option<felhom_shared::id::Generation>| {
        generation.map_or_else(|| "none".to_owned(), |generation| generation.to_string())
    };
    let generation = &report.generation;
    line(&format!(
        "generation {} received, {} reached",
        paint(Tone::Bold, &number(generation.received)),
        paint(Tone::Bold, &number(generation.reached))
    ));
    if let Some(refused) = &generation.refused {
        line(&paint(
            Tone::Bad,
            &format!("generation {} refused ({}): {}", refused.generation, refused.code, refused.text),
        ));
    }
    match &report.node {
        NodeState::Present { node, pve_version } => {
            line(&paint(Tone::Quiet, &format!("node {node}, PVE {pve_version}")));
        }
        NodeState::Unreadable { text, .. } => line(&paint(Tone::Bad, text)),
    }
    for guest in &report.guests {
        line(&format!("{:>9}  {}  {}", guest.vmid, paint(Tone::Bold, &guest.name), outcome(guest.outcome)));
        for note in &guest.notes {
            line(&format!("           {}: {}", note.code, clean(&note.text)));
        }
    }
    for guest in &report.unmanaged {
        line(&paint(Tone::Quiet, &format!("{:>9}  {}  unmanaged", guest.vmid, guest.name)));
    }
    report.storage.iter().for_each(storage);
    report.tunnel.iter().for_each(tunnel);
    report.drives.iter().for_each(drive);
    for pending in &report.ops.pending {
        line(&paint(Tone::Busy, &format!("to be signed: {}", clean(&pending.text))));
    }
    for receipt in &report.ops.receipts {
        let word = format!("{:?}", receipt.state).to_lowercase();
        let why = receipt.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let what = if receipt.op.is_empty() { "operation" } else { &receipt.op };
        line(&format!("{what} {} {word}{}", &receipt.op_id[..12.min(receipt.op_id.len())], clean(&why)));
    }
    if report.journal_open > 0 {
        line(&paint(Tone::Busy, &format!("{} steps are open in the journal", report.journal_open)));
    }
}

fn storage(storage: &StorageReport) {
    let at = storage.name.as_deref().unwrap_or(storage.readiness.word());
    let name = paint(Tone::Bold, storage.storage.as_str());
    line(&format!(
        "{:>9}  {name}  storage for {}  {}",
        clean(at),
        storage.role.word(),
        outcome(storage.outcome)
    ));
    for note in &storage.notes {
        line(&format!("           {}: {}", note.code, clean(&note.text)));
    }
}

fn tunnel(tunnel: &TunnelReport) {
    print_tunnel_line(tunnel.readiness, tunnel.version.as_deref(), tunnel.outcome);
    for note in &tunnel.notes {
        line(&format!("           {}: {}", note.code, clean(&note.text)));
    }
    tunnel.foreign.iter().for_each(print_foreign);
}

fn drive(drive: &DriveReport) {
    let words = [drive.model.as_deref(), drive.serial.as_deref(), drive.health.as_deref()];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    let gigabytes = drive.size_bytes / 1_000_000_000;
    let system = if drive.system { ", the box runs from it" } else { "" };
    line(&format!(
        "{:>9}  {}  {gigabytes} GB{system}",
        clean(&drive.name),
        paint(Tone::Bold, &clean(&words.join(" ")))
    ));
    for content in &drive.contents {
        let used = content.mounted_at.iter().chain(&content.held_by).map(String::as_str);
        let used: Vec<&str> = used.collect();
        let format = content.format.as_deref().unwrap_or("nothing recognised");
        line(&format!("           {}  {format}  {}", clean(&content.name), clean(&used.join(", "))));
    }
    for problem in &drive.problems {
        line(&paint(Tone::Bad, &format!("           {}: {}", problem.code, clean(&problem.text))));
    }
}
