//! `felhom-hub keyset`: who may sign, on its way to the boxes. The hub does not read a keyset, so its number is said.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use felhom_shared::signed::OpId;

use super::show::{clean, json, line};
use super::{Cli, CliError, author, read_envelope};
use crate::signed::{UploadError, Uploader, put_keyset};
use crate::store::keysets;

#[derive(Debug, Subcommand)]
pub(super) enum KeysetCommand {
    /// Store the next keyset; every box fetches it.
    Put {
        /// The envelope, as felhom-sign wrote it; `-` reads standard input.
        file: PathBuf,
        /// The version that stands in it.
        #[arg(long)]
        version: u64,
    },
    /// Show which keysets there are.
    List,
}

pub(super) fn run(cli: &Cli, command: &KeysetCommand) -> Result<ExitCode, CliError> {
    match command {
        KeysetCommand::Put { file, version } => put(cli, file, *version)?,
        KeysetCommand::List => list(cli)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn put(cli: &Cli, file: &Path, version: u64) -> Result<(), CliError> {
    let envelope = read_envelope(file)?;
    let refused = |source: UploadError| CliError::NotTaken { path: file.display().to_string(), source };
    let new = cli
        .transact(|sql, _| put_keyset(sql, version, &envelope, &Uploader::now(author())).map_err(refused))?;
    if cli.json {
        json(&serde_json::json!({"version": version, "new": new}));
    } else if new {
        line(&format!(
            "keyset {version} is stored; boxes fetch it at once, and decide themselves whether to trust it"
        ));
    } else {
        line(&format!("keyset {version} was stored before, the same bytes"));
    }
    Ok(())
}

fn list(cli: &Cli) -> Result<(), CliError> {
    let stored = cli.read(|sql| Ok(keysets::after(sql, 0, usize::MAX)?))?;
    let rows = stored.iter().map(|keyset| {
        let at = jiff::Timestamp::from_millisecond(keyset.uploaded_at_ms).unwrap_or_default();
        (keyset, OpId::of(keyset.blob.as_bytes()), at)
    });
    if cli.json {
        let rows = rows.map(|(keyset, sha256, at)| {
            serde_json::json!({
                "version": keyset.version, "sha256": sha256, "uploaded_by": keyset.uploaded_by, "uploaded_at": at,
            })
        });
        json(&rows.collect::<Vec<_>>());
        return Ok(());
    }
    if stored.is_empty() {
        line("no keysets; `felhom-sign keyset init` makes the first");
    }
    for (keyset, sha256, at) in rows {
        line(&format!("{:>4}  {sha256}  {at:.0}  by {}", keyset.version, clean(&keyset.uploaded_by)));
    }
    Ok(())
}
