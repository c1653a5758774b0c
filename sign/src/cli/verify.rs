//! `felhom-sign verify`: what an auditor asks. The keyset is believed because the auditor names its file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::{Clock, Keyset, PublicKey, Rejection, check_window, genesis};

use super::CliError;
use crate::compose::{draft_of, now_ms};
use crate::files;
use crate::inventory::Inventory;
use crate::judge;
use crate::render::{quorum_word, render, role_word, time};
use crate::show::{Tone, json, line, paint};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The envelope.
    file: PathBuf,
    /// The keyset (an envelope) to check against. Repeat it, oldest first, for a chain: each must follow the one
    /// before.
    #[arg(long, value_name = "KEYSET", required = true)]
    keyset: Vec<PathBuf>,
    /// Digest of the first keyset, from the enrolment slip: --keyset then begins with version 1.
    #[arg(long, value_name = "SHA256")]
    genesis: Option<String>,
    /// What the envelope must be.
    #[arg(long, value_enum, default_value_t = Purpose::Op)]
    namespace: Purpose,
    /// The names you trust.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// An operation.
    #[value(name = "felhom-op-v1")]
    Op,
    /// A keyset.
    #[value(name = "felhom-keyset-v1")]
    Keyset,
}

pub(super) fn run(command: &Verify, as_json: bool) -> Result<(), CliError> {
    let trusted = trusted(command)?;
    let envelope = files::read(&command.file, ENVELOPE_BYTES_MAX)?;
    let not = |source| not_verified(&command.file.display().to_string(), source);
    match command.namespace {
        Purpose::Op => {
            let judged = judge::op(&trusted, &envelope).map_err(not)?;
            let inventory = Inventory::read(command.inventory.as_deref())?;
            tell_op(&judged, &inventory, &trusted, as_json)
        }
        Purpose::Keyset => {
            let judged = judge::successor(&trusted, &envelope).map_err(not)?;
            tell_keyset(&judged, as_json);
            Ok(())
        }
    }
}

fn not_verified(what: &str, source: Rejection) -> CliError {
    CliError::NotVerified { what: what.to_owned(), source }
}

/// The last keyset of the chain that was named.
fn trusted(command: &Verify) -> Result<Keyset, CliError> {
    let mut trusted: Option<Keyset> = None;
    for path in &command.keyset {
        let envelope = files::read(path, ENVELOPE_BYTES_MAX)?;
        let next = match (&trusted, &command.genesis) {
            (Some(before), _) => judge::successor(before, &envelope).map(|judged| judged.keyset),
            (None, Some(digest)) => genesis(&envelope, digest).map(|first| first.keyset().clone()),
            (None, None) => judge::own_word(&envelope).map(|judged| judged.keyset),
        };
        trusted = Some(next.map_err(|source| not_verified(&path.display().to_string(), source))?);
    }
    trusted.ok_or_else(|| CliError::Usage("name a keyset with --keyset".to_owned()))
}

fn fingerprints(signers: &[PublicKey]) -> Vec<String> {
    signers.iter().map(PublicKey::fingerprint).collect()
}

fn tell_op(
    judged: &judge::JudgedOp,
    inventory: &Inventory,
    keyset: &Keyset,
    as_json: bool,
) -> Result<(), CliError> {
    let op = judged.verified.op();
    let signers = fingerprints(judged.verified.signers());
    let role = role_word(judged.authority.role);
    let now = match check_window(op, Clock { system_ms: now_ms()?, floor_ms: 0 }) {
        Ok(()) => "a box would take it now",
        Err(Rejection::Expired) => "its time is over",
        Err(Rejection::NotYet) => "its time has not come",
        Err(_) => "no box would take it: its window is not allowed for what it does",
    };
    let shown = render(&draft_of(op), inventory, None);
    if as_json {
        json(&serde_json::json!({
            "verified": true, "op_id": judged.verified.op_id(), "op": shown, "signers": signers, "role": role,
            "needed": judged.needed, "issued_at": op.issued_at, "expires_at": op.expires_at, "window": now,
            "keyset_version": keyset.version,
        }));
        return Ok(());
    }
    line(&paint(Tone::Good, &format!("verified against keyset {} ({})", keyset.version, keyset.digest())));
    signers.iter().for_each(|signer| line(&format!("  signed by {signer} ({role})")));
    line(&format!(
        "  {} of {} signatures (threshold `{}`)",
        signers.len(),
        judged.needed,
        quorum_word(judged.authority.quorum)
    ));
    line(&format!("  issued {}, until {}: {now}", time(op.issued_at), time(op.expires_at)));
    line(&format!("  op_id {}", judged.verified.op_id()));
    shown.lines().iter().for_each(|text| line(text));
    Ok(())
}

fn tell_keyset(judged: &judge::JudgedKeyset, as_json: bool) {
    let (keyset, signers) = (&judged.keyset, fingerprints(&judged.signers));
    if as_json {
        json(&serde_json::json!({
            "verified": true, "version": keyset.version, "digest": keyset.digest(), "signers": signers,
            "keyset": keyset,
        }));
        return;
    }
    line(&paint(Tone::Good, &format!("verified: keyset {} follows the one given", keyset.version)));
    signers.iter().for_each(|signer| line(&format!("  signed by {signer}")));
    super::keyset::describe(keyset).iter().for_each(|text| line(text));
}
