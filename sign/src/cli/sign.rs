//! `felhom-sign sign`: a draft, a complete operation, or one more signature on an envelope. No network.

use std::path::PathBuf;

use clap::Args;
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::{Clock, Namespace, Op, check_window};

use super::CliError;
use super::args::{AlsoSigned, ConfirmArgs, KeyArgs, ValidArgs};
use crate::compose::{compose, draft_of, now_ms, read_draft, read_op};
use crate::confirm::confirm;
use crate::files::{self, Readers};
use crate::inventory::Inventory;
use crate::render::{render, time};
use crate::seal::{SealError, is_envelope, seal, unseal};
use crate::show::{json, line, note};
use crate::signer::Signer;

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// A draft {"op","target","params"}, a complete operation (one line), or an envelope to sign too.
    file: PathBuf,
    /// Where the envelope goes; without it, FILE.signed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only complete a draft (nonce, times, key), for `ssh-keygen -Y sign -n felhom-op-v1`; --key may then be a
    /// public key that no agent holds. Writes FILE.op, or --out.
    #[arg(long)]
    prepare: bool,
    #[command(flatten)]
    also_signed: AlsoSigned,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    valid: ValidArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

pub(super) fn run(command: &Sign, as_json: bool) -> Result<(), CliError> {
    let text = files::read_text(&command.file, ENVELOPE_BYTES_MAX)?;
    if command.prepare {
        return prepare(command, &text);
    }
    if command.also_signed.files.is_empty() {
        command.keys.some()?;
    }
    let (given, mut signers) = read(command, &text)?;
    let draft = match &given {
        Given::Draft(draft) => draft.clone(),
        Given::Op(op) => draft_of(op),
    };
    let inventory = Inventory::read(command.confirm.inventory.as_deref())?;
    note(&render(&draft, &inventory, None).lines().join("\n"));
    confirm(&draft, command.confirm.said.as_deref())?;
    signers.extend(command.also_signed.open()?);
    signers.extend(command.keys.open()?);
    let now_ms = now_ms()?;
    let op = match given {
        Given::Op(op) => op,
        Given::Draft(draft) => compose(draft, now_ms, command.valid.valid, first_key(&signers)?)?,
    };
    check_window(&op, Clock { system_ms: now_ms, floor_ms: 0 }).map_err(CliError::Refused)?;
    if !signers.iter().any(|signer| signer.public().fingerprint() == op.key_id) {
        let text = format!(
            "key_id of the operation is {}, and that key does not sign: give it with --key",
            op.key_id
        );
        return Err(CliError::Usage(text));
    }
    let envelope = seal(Namespace::Op, &op.to_payload(), &signers)?;
    let out = command.out.clone().unwrap_or_else(|| files::with_suffix(&command.file, ".signed"));
    files::write_new(&out, envelope.as_bytes(), Readers::Anyone)?;
    let by: Vec<String> = signers.iter().map(|signer| signer.public().fingerprint()).collect();
    if as_json {
        let word = op.request.word();
        json(&serde_json::json!({"file": out, "op": word, "signed_by": by, "expires_at": op.expires_at}));
    } else {
        let until = time(op.expires_at);
        line(&format!("{} written, signed by {}, to be taken until {until}", out.display(), by.join(", ")));
    }
    Ok(())
}

enum Given {
    Draft(felhom_shared::signed::Draft),
    Op(Op),
}

fn read(command: &Sign, text: &str) -> Result<(Given, Vec<Box<dyn Signer>>), CliError> {
    if is_envelope(text) {
        let (payload, signers) = unseal(text, &command.file)?;
        return Ok((Given::Op(read_op(payload.as_bytes())?), signers));
    }
    if text.contains("\"nonce\"") {
        return Ok((Given::Op(read_op(text.as_bytes())?), Vec::new()));
    }
    Ok((Given::Draft(read_draft(text.as_bytes())?), Vec::new()))
}

fn first_key(signers: &[Box<dyn Signer>]) -> Result<String, CliError> {
    let first = signers.first().ok_or(SealError::NoSigner)?;
    Ok(first.public().fingerprint())
}

fn prepare(command: &Sign, text: &str) -> Result<(), CliError> {
    let draft = read_draft(text.as_bytes())?;
    let [key] = command.keys.keys.as_slice() else {
        return Err(CliError::Usage(
            "--prepare needs one --key: the public key file of who will sign".to_owned(),
        ));
    };
    let public = crate::signer::public_key(key)?;
    let inventory = Inventory::read(command.confirm.inventory.as_deref())?;
    note(&render(&draft, &inventory, None).lines().join("\n"));
    let op = compose(draft, now_ms()?, command.valid.valid, public.fingerprint())?;
    let out = command.out.clone().unwrap_or_else(|| files::with_suffix(&command.file, ".op"));
    files::write_new(&out, op.to_payload().as_bytes(), Readers::Anyone)?;
    line(&format!("{} written, not signed; next:", out.display()));
    line(&format!("  ssh-keygen -Y sign -n felhom-op-v1 -f {} {}", key, out.display()));
    line(&format!("  felhom-sign sign {} --also-signed {}.sig", out.display(), out.display()));
    Ok(())
}
