//! `felhom-sign inspect`: shows what a file claims. Nothing is believed, and every line says so.

use std::path::PathBuf;

use clap::Args;
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::{Keyset, Op, OpId, Signed};
use serde::Serialize;

use super::CliError;
use crate::compose::{draft_of, read_draft};
use crate::files;
use crate::inventory::Inventory;
use crate::render::{render, time};
use crate::seal::is_envelope;
use crate::show::{Tone, escape, json, line, paint};

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// An envelope, operation, draft or keyset.
    file: PathBuf,
    /// The names you trust.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
}

/// What a file claims.
#[derive(Serialize)]
struct Claims {
    verified: bool,
    kind: &'static str,
    op_id: Option<OpId>,
    claimed_signers: Vec<String>,
    /// Why it could not be read, where it could not.
    unreadable: Option<String>,
    lines: Vec<String>,
}

pub(super) fn run(command: &Inspect, as_json: bool) -> Result<(), CliError> {
    let inventory = Inventory::read(command.inventory.as_deref())?;
    let bytes = files::read(&command.file, ENVELOPE_BYTES_MAX)?;
    let claims = read(&bytes, &inventory);
    if as_json {
        json(&claims);
        return Ok(());
    }
    line(&paint(Tone::Warn, &format!("UNVERIFIED {}: what it claims, believed by nobody", claims.kind)));
    claims.op_id.iter().for_each(|id| line(&format!("  op_id {id}")));
    claims.claimed_signers.iter().for_each(|key| line(&format!("  claims to be signed by {}", escape(key))));
    claims.unreadable.iter().for_each(|why| line(&format!("  not readable: {}", escape(why))));
    claims.lines.iter().for_each(|text| line(text));
    Ok(())
}

fn read(bytes: &[u8], inventory: &Inventory) -> Claims {
    let envelope = std::str::from_utf8(bytes).is_ok_and(is_envelope);
    let signed = if envelope { Some(Signed::decode(bytes)) } else { None };
    match signed {
        Some(Ok(signed)) => {
            let claims = read_payload(signed.unverified_payload(), inventory);
            Claims {
                op_id: Some(signed.op_id().clone()),
                claimed_signers: signed.claimed_signers(),
                ..claims
            }
        }
        Some(Err(rejection)) => Claims { unreadable: Some(rejection.to_string()), ..raw("envelope", bytes) },
        None => read_payload(bytes, inventory),
    }
}

fn read_payload(payload: &[u8], inventory: &Inventory) -> Claims {
    let is = |word: &str| String::from_utf8_lossy(payload).contains(word);
    if is("\"thresholds\"") {
        return match Keyset::parse(payload) {
            Ok(keyset) => Claims { lines: super::keyset::describe(&keyset), ..raw("keyset", b"") },
            Err(error) => Claims { unreadable: Some(error.to_string()), ..raw("keyset", payload) },
        };
    }
    if is("\"nonce\"") {
        return match Op::parse(payload) {
            Ok(op) => {
                let mut lines = render(&draft_of(&op), inventory, None).lines();
                lines.push(format!("  issued   {}", time(op.issued_at)));
                lines.push(format!("  until    {}", time(op.expires_at)));
                lines.push(format!("  key_id   {}", escape(&op.key_id)));
                Claims { lines, ..raw("operation", b"") }
            }
            Err(error) => Claims { unreadable: Some(error.to_string()), ..raw("operation", payload) },
        };
    }
    match read_draft(payload) {
        Ok(draft) => Claims { lines: render(&draft, inventory, None).lines(), ..raw("draft", b"") },
        Err(error) => {
            Claims { unreadable: Some(felhom_shared::text::chain(&error)), ..raw("draft", payload) }
        }
    }
}

/// The bytes themselves, harmless.
fn raw(kind: &'static str, bytes: &[u8]) -> Claims {
    let text = String::from_utf8_lossy(bytes);
    Claims {
        verified: false,
        kind,
        op_id: None,
        claimed_signers: Vec::new(),
        unreadable: None,
        lines: text.lines().map(|text| format!("  {}", escape(text))).collect(),
    }
}
