//! `felhom-sign upload`: brings to the hub what was signed on a machine without a network.

use std::path::PathBuf;

use clap::Args;
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::{Op, Signed};

use super::CliError;
use super::args::HubArgs;
use crate::files;
use crate::show::{escape, json, line};

#[derive(Debug, Args)]
pub(super) struct Upload {
    /// The signed operation.
    file: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
}

pub(super) fn run(command: &Upload, as_json: bool) -> Result<(), CliError> {
    let envelope = files::read_text(&command.file, ENVELOPE_BYTES_MAX)?;
    // Only to know to which host it goes; whether it is any good, the box decides.
    let not = |source| CliError::NotVerified { what: command.file.display().to_string(), source };
    let signed = Signed::decode(envelope.as_bytes()).map_err(not)?;
    let op = Op::parse(signed.unverified_payload()).map_err(not)?;
    let op_id = command.hub.required()?.upload_op(op.target.host_id, &envelope)?;
    if as_json {
        json(&serde_json::json!({"op_id": op_id, "host_id": op.target.host_id}));
    } else {
        line(&format!("{} is queued on the hub as {}", op.request.word(), escape(&op_id)));
    }
    Ok(())
}
