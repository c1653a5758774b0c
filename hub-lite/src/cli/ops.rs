//! `felhom-hub ops`: the queue of signed operations of one host.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::show::{clean, coloured, json, line};
use super::{Cli, CliError, Which, author, find, read_envelope};
use crate::api::operator::ops::Listed;
use crate::signed::{UploadError, Uploader, upload};
use crate::store::signed_ops::{self, word};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Ops {
    #[command(subcommand)]
    command: Option<OpsCommand>,
    /// The host's name or id: lists its operations, newest first.
    #[arg(required = true)]
    host: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50)]
    most: u32,
}

#[derive(Debug, Subcommand)]
enum OpsCommand {
    /// Hand in a signed operation. The box decides whether it is worth anything.
    Upload {
        #[command(flatten)]
        which: Which,
        /// The envelope, as felhom-sign wrote it; `-` reads standard input.
        file: PathBuf,
    },
}

pub(super) fn run(cli: &Cli, ops: &Ops) -> Result<ExitCode, CliError> {
    match (&ops.command, &ops.host) {
        (Some(OpsCommand::Upload { which, file }), _) => hand_in(cli, which, file)?,
        (None, Some(host)) => list(cli, &Which { host: host.clone() }, ops.most)?,
        (None, None) => {
            return Err(CliError::Said("name a host; `felhom-hub host list` shows them".to_owned()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn hand_in(cli: &Cli, which: &Which, file: &std::path::Path) -> Result<(), CliError> {
    let envelope = read_envelope(file)?;
    let refused = |source: UploadError| CliError::NotTaken { path: file.display().to_string(), source };
    let (host, uploaded) = cli.transact(|sql, _| {
        let host = find(sql, which)?;
        let by = Uploader::now(author());
        let uploaded = upload(sql, host.host_id, &envelope, &by).map_err(refused)?;
        Ok((host, uploaded))
    })?;
    let state = word(uploaded.state);
    if cli.json {
        json(&serde_json::json!({"op_id": uploaded.op_id, "state": state}));
    } else if uploaded.new {
        line(&format!("{} is queued for {}", uploaded.op_id, clean(&host.name)));
    } else {
        line(&format!("{} was handed in before and is {state}", uploaded.op_id));
    }
    Ok(())
}

fn list(cli: &Cli, which: &Which, most: u32) -> Result<(), CliError> {
    let ops = cli.read(|sql| {
        let host = find(sql, which)?;
        Ok(signed_ops::list(sql, host.host_id, most)?)
    })?;
    if cli.json {
        json(&ops.into_iter().map(Listed::from).collect::<Vec<_>>());
        return Ok(());
    }
    if ops.is_empty() {
        line("no signed operations; felhom-sign makes them, `felhom-hub ops upload` hands them in");
    }
    for op in &ops {
        let changed = jiff::Timestamp::from_millisecond(op.changed_at_ms).unwrap_or_default();
        let code = op.code.as_deref().map(clean).unwrap_or_default();
        let text = op.text.as_deref().map(clean).unwrap_or_default();
        let state = match signed_ops::is_final(op.state) && !code.is_empty() {
            true => coloured("31", &format!("{:<9}", word(op.state))),
            false => format!("{:<9}", word(op.state)),
        };
        let row = format!("{}  {state} {changed:.0}  by {}  {code} {text}", op.op_id, clean(&op.uploaded_by));
        line(row.trim_end());
    }
    Ok(())
}
