//! `felhom-agent trust`: whom this box trusts, and the way out when that is wrong. Break-glass is at the console only:
//! whoever is root on the box decides whom it trusts, and nobody else can.

use std::process::ExitCode;

use clap::Subcommand;
use felhom_shared::event::Severity;
use felhom_shared::signed::Rejection;
use jiff::Timestamp;
use serde::Serialize;

use super::paint::{Tone, json, line, paint};
use super::run::lock;
use super::setup::state_to_read;
use super::{Cli, CliError};
use crate::ops::{Ops, clock};
use crate::state::{State, Telling};

#[derive(Debug, Subcommand)]
pub(super) enum Trust {
    /// Show the keyset in force, the replay floor and the end of the ledger.
    Show,
    /// Forget whom this box trusts, so that another trust.genesis_sha256 takes effect, and begin a damaged ledger anew.
    /// The agent must not run.
    Reset,
}

pub(super) fn trust(cli: &Cli, trust: &Trust) -> Result<ExitCode, CliError> {
    match trust {
        Trust::Show => show(cli),
        Trust::Reset => reset(cli),
    }
}

#[derive(Serialize)]
struct Shown {
    genesis_sha256: Option<String>,
    keyset_version: Option<u64>,
    keyset_digest: Option<String>,
    keys: Vec<String>,
    floor_ms: u64,
    ledger_seq: u64,
    ledger_damaged: bool,
}

fn show(cli: &Cli) -> Result<ExitCode, CliError> {
    let config = cli.read_config()?;
    let genesis = config.trust.genesis_sha256.clone();
    let Some(state) = state_to_read(&config)? else {
        line(
            "the agent has not run yet; it fetches the keyset from the hub and checks it against the digest",
        );
        return Ok(ExitCode::FAILURE);
    };
    let trusted = genesis.as_ref().map(|digest| state.trusted(digest)).transpose()?.flatten();
    let keyset = trusted.as_ref().map(felhom_shared::signed::Trusted::keyset);
    let keys = keyset.map_or_else(Vec::new, |keyset| {
        let line = |entry: &felhom_shared::signed::KeyEntry| {
            let roles: Vec<String> =
                entry.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
            format!("{:<12} {}", roles.join(" "), entry.public.fingerprint())
        };
        keyset.keys.iter().map(line).collect()
    });
    let book = state.book();
    let shown = Shown {
        genesis_sha256: genesis,
        keyset_version: keyset.map(|keyset| keyset.version),
        keyset_digest: keyset.map(felhom_shared::signed::Keyset::digest),
        keys,
        floor_ms: book.floor(),
        ledger_seq: book.seq(),
        ledger_damaged: book.is_damaged(),
    };
    if cli.json {
        json(&shown);
    } else {
        print(&shown);
    }
    Ok(if shown.keyset_version.is_some() && !shown.ledger_damaged {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(shown: &Shown) {
    match (&shown.genesis_sha256, shown.keyset_version, &shown.keyset_digest) {
        (None, ..) => line("trust.genesis_sha256 is not set: nothing that needs a signature is ever done"),
        (Some(_), Some(version), Some(digest)) => {
            line(&format!("keyset {}  {digest}", paint(Tone::Bold, &version.to_string())));
        }
        (Some(_), ..) => line("the keyset with this genesis digest has not come from the hub yet"),
    }
    for key in &shown.keys {
        line(&format!("  {key}"));
    }
    line(&format!(
        "ledger row {}, operations issued up to {} ms since 1970 are void",
        shown.ledger_seq, shown.floor_ms
    ));
    if shown.ledger_damaged {
        line(&paint(Tone::Bad, &Rejection::LedgerDamaged.to_string()));
    }
}

fn reset(cli: &Cli) -> Result<ExitCode, CliError> {
    let config = cli.read_config()?;
    let _lock = lock(&config.state_dir)?;
    let state = State::open(&config.state_dir)?;
    if state.open_entries()?.iter().any(|entry| entry.step.grant().is_some()) {
        return Err(CliError::GuardedStepOpen);
    }
    let now = Timestamp::now();
    let ops = Ops::new(config.host_id, config.trust.genesis_sha256.clone(), state.clone());
    let sound = !state.book().is_damaged();
    let waiting: Vec<_> =
        state.book().standings().filter(|standing| standing.is_waiting()).cloned().collect();
    for standing in waiting.iter().filter(|_| sound) {
        ops.end_waiting(&standing.op_id, &Rejection::NoTrustRoot, now)?;
    }
    state.forget_trust()?;
    if state.book().is_damaged() {
        state.begin_new_ledger(clock::millis(now), now)?;
        line(
            "the ledger did not match its own hashes and was begun anew; everything issued until now is void",
        );
    }
    let text =
        "the trust root was reset at the console; the next keyset is the one trust.genesis_sha256 names";
    state.tell(&Telling::of_host("trust_reset", Severity::Warning, text.to_owned()), now)?;
    line(text);
    if !waiting.is_empty() {
        line(&format!("{} operations that had been accepted are void", waiting.len()));
    }
    Ok(ExitCode::SUCCESS)
}
