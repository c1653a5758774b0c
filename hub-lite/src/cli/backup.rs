//! `felhom-hub backup` and `felhom-hub restore`: the hub itself, for the day its disk dies.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::show::{json, line};
use super::{Cli, CliError};
use crate::backup::{self, Manifest};
use crate::serve::claim;
use crate::store::FILE_NAME;

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Where backups are kept; each gets a folder of its own in it.
    folder: PathBuf,
    /// Keep this many, and remove the oldest beyond them once the new one is whole.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The folder of one backup, as `felhom-hub backup` named it.
    backup: PathBuf,
}

#[derive(Serialize)]
struct Made {
    folder: PathBuf,
    removed: Vec<PathBuf>,
    manifest: Manifest,
}

pub(super) fn backup(cli: &Cli, args: &Backup) -> Result<ExitCode, CliError> {
    let data = cli.read_config()?.data_dir;
    if !data.join(FILE_NAME).exists() {
        return Err(CliError::NoHub(data));
    }
    let (folder, manifest) = backup::make(&data, &args.folder)?;
    let removed = match args.keep {
        Some(keep) => backup::thin_out(&args.folder, keep as usize)?,
        None => Vec::new(),
    };
    if cli.json {
        json(&Made { folder, removed, manifest });
        return Ok(ExitCode::SUCCESS);
    }
    line(&format!("{} holds the hub as of {}", folder.display(), manifest.made_at));
    removed.iter().for_each(|path| line(&format!("removed {}", path.display())));
    line("It holds the hub's private key and the pepper of all API keys: keep it as safe as the hub.");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn restore(cli: &Cli, args: &Restore) -> Result<ExitCode, CliError> {
    let data = cli.read_config()?.data_dir;
    crate::serve::make_folder(&data).map_err(|source| CliError::File { path: data.clone(), source })?;
    // Held until the end: no hub may start on half of it.
    let _only = claim(&data)?;
    let (aside, manifest) = backup::restore(&args.backup, &data)?;
    line(&format!("{} is the hub as of {}", data.display(), manifest.made_at));
    line(&format!("what was there is in {}; nothing was deleted", aside.display()));
    line(
        "Start it. Boxes that have a newer document than this backup are shown in conflict, and nothing is published",
    );
    line("over what they have until a person says so: `felhom-hub desired resume HOST FILE`.");
    Ok(ExitCode::SUCCESS)
}
