//! A keyset on its way to a file: the payload at once, the envelope when enough root keys have signed, and until
//! then what was signed so far.

use std::path::{Path, PathBuf};

use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::{Keyset, Namespace, PublicKey, Rejection, enough_roots};

use crate::cli::CliError;
use crate::files::{self, FileError, Readers};
use crate::judge;
use crate::render::role_word;
use crate::seal::seal;
use crate::show::{json, line, note};
use crate::signer::Signer;

/// Writes the payload, or finds the same one there: the edit is deterministic.
pub(super) fn write_payload(path: &Path, keyset: &Keyset) -> Result<(), CliError> {
    let payload = keyset.to_payload();
    match files::write_new(path, payload.as_bytes(), Readers::Anyone) {
        Err(FileError::Exists(_)) if *files::read_text(path, ENVELOPE_BYTES_MAX)? == payload => Ok(()),
        written => Ok(written?),
    }
}

/// Where to, and how to tell.
pub(super) struct Paths {
    pub(super) payload: PathBuf,
    pub(super) envelope: PathBuf,
    pub(super) as_json: bool,
}

/// Writes the envelope when enough root keys have signed, and says what is missing otherwise.
pub(super) fn finish(
    before: Option<&Keyset>,
    keyset: &Keyset,
    signers: &[Box<dyn Signer>],
    paths: Paths,
) -> Result<(), CliError> {
    let Paths { payload, envelope: path, as_json } = paths;
    let by: Vec<PublicKey> = signers.iter().map(|signer| signer.public().clone()).collect();
    for (whose, set) in
        before.map(|set| ("the keyset before", set)).into_iter().chain([("this keyset", keyset)])
    {
        if let Err(Rejection::Threshold { needed, given }) = enough_roots(set, &by) {
            let partial = keep_partial(keyset, signers, &payload)?;
            return Err(CliError::Unfinished(format!(
                "{given} of {needed} signatures by root keys of {whose}; {partial}; sign {} with more keys (--key), \
                 or elsewhere with `ssh-keygen -Y sign -n felhom-keyset-v1` (--also-signed)",
                payload.display()
            )));
        }
    }
    let envelope = seal(Namespace::Keyset, &keyset.to_payload(), signers)?;
    // What a box will say to it, by the box's own rules.
    let judged = match before {
        Some(before) => judge::successor(before, envelope.as_bytes()),
        None => judge::own_word(envelope.as_bytes()),
    };
    judged.map_err(CliError::Refused)?;
    files::write_new(&path, envelope.as_bytes(), Readers::Anyone)?;
    if as_json {
        json(&serde_json::json!({"file": path, "version": keyset.version, "digest": keyset.digest()}));
    } else if keyset.version == 1 {
        line(&format!("{} written; genesis digest for the enrolment slip and agent.toml:", path.display()));
        line("[trust]");
        line(&format!("genesis_sha256 = \"{}\"", keyset.digest()));
    } else {
        line(&format!("{} written, digest {}", path.display(), keyset.digest()));
    }
    Ok(())
}

/// What was signed so far, for `keyset sign` on the next machine.
fn keep_partial(keyset: &Keyset, signers: &[Box<dyn Signer>], payload: &Path) -> Result<String, CliError> {
    if signers.is_empty() {
        return Ok(format!("{} is written, unsigned", payload.display()));
    }
    let envelope = seal(Namespace::Keyset, &keyset.to_payload(), signers)?;
    let partial = files::with_suffix(payload, ".partial");
    files::write_new(&partial, envelope.as_bytes(), Readers::Anyone)?;
    Ok(format!("those are written to {}", partial.display()))
}

/// A keyset in words, and how it differs from the one before.
pub(super) fn tell(before: Option<&Keyset>, keyset: &Keyset) {
    describe(keyset).iter().for_each(|text| note(text));
    let Some(before) = before else { return };
    let lines = |of: &Keyset| describe(of).split_off(HEAD_LINES);
    let (old, new) = (lines(before), lines(keyset));
    old.iter().filter(|text| !new.contains(text)).for_each(|text| note(&format!("- {}", text.trim_start())));
    new.iter().filter(|text| !old.contains(text)).for_each(|text| note(&format!("+ {}", text.trim_start())));
}

/// The lines of [`describe`] that differ in every version.
const HEAD_LINES: usize = 2;

/// A keyset in words.
pub(in crate::cli) fn describe(keyset: &Keyset) -> Vec<String> {
    let mut lines = vec![
        format!("keyset {}  digest {}", keyset.version, keyset.digest()),
        format!("  after      {}", keyset.prev_sha256.as_deref().unwrap_or("nothing: the first")),
    ];
    for entry in &keyset.keys {
        let roles: Vec<_> = entry.roles.iter().map(|role| role_word(*role)).collect();
        let kind = if entry.public.is_security_key() { " (security key)" } else { "" };
        lines.push(format!("  {:<9}  {}{kind}", roles.join(","), entry.public.fingerprint()));
    }
    let needs = keyset.thresholds;
    lines.push(format!(
        "  signatures root {}, ops {}, destroy {}, release {}",
        needs.root, needs.ops, needs.destroy, needs.release
    ));
    lines.extend(keyset.hub_pins.iter().map(|pin| format!("  hub pin    {pin}")));
    lines.extend(keyset.escrow_recipients.iter().map(|to| format!("  escrow     {to}")));
    lines
}
