//! `felhom-hub desired`: what a box should be, from file to generation.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use felhom_shared::desired::DesiredState;
use felhom_shared::id::Generation;
use felhom_shared::limits::DESIRED_BYTES_MAX;
use serde_json::Value;

use super::show::{clean, coloured, json, line, raw};
use super::{Cli, CliError, Which, author, find};
use crate::diff::{Change, diff};
use crate::publish::{Author, PublishError, publish};
use crate::store::desired_history::{self, Published};

#[derive(Debug, Subcommand)]
pub(super) enum DesiredCommand {
    /// Show what a file would change.
    Diff(Edit),
    /// Make a file the next generation.
    Publish {
        #[command(flatten)]
        edit: Edit,
        #[command(flatten)]
        how: How,
    },
    /// Publish over a box that is ahead of this hub, as after a restored backup.
    Resume {
        #[command(flatten)]
        edit: Edit,
        #[command(flatten)]
        how: How,
    },
    /// Print a document exactly as published.
    Show {
        #[command(flatten)]
        which: Which,
        /// Which generation; without it, the newest.
        #[arg(long)]
        generation: Option<u64>,
    },
    /// List what was published.
    History {
        #[command(flatten)]
        which: Which,
        /// How many.
        #[arg(long, default_value_t = 20)]
        most: u32,
    },
}

#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    which: Which,
    /// The desired-state file; `-` reads standard input.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct How {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// A word for the history.
    #[arg(long)]
    note: Option<String>,
}

pub(super) fn run(cli: &Cli, command: &DesiredCommand) -> Result<ExitCode, CliError> {
    match command {
        DesiredCommand::Diff(edit) => return show_diff(cli, edit),
        DesiredCommand::Publish { edit, how } => publish_file(cli, edit, how, false)?,
        DesiredCommand::Resume { edit, how } => publish_file(cli, edit, how, true)?,
        DesiredCommand::Show { which, generation } => show(cli, which, *generation)?,
        DesiredCommand::History { which, most } => history(cli, which, *most)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let most = DESIRED_BYTES_MAX as u64 + 1;
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(failed)
}

/// The file's bytes, once they are known to be a desired state.
fn read_desired(edit: &Edit) -> Result<Vec<u8>, CliError> {
    let bytes = read(&edit.file)?;
    DesiredState::from_json(&bytes).map_err(|error| refused(edit, error.into()))?;
    Ok(bytes)
}

fn refused(edit: &Edit, source: PublishError) -> CliError {
    CliError::Refused { path: edit.file.display().to_string(), source }
}

fn show_diff(cli: &Cli, edit: &Edit) -> Result<ExitCode, CliError> {
    let bytes = read_desired(edit)?;
    let changes = cli.transact(|sql, _| {
        let host = find(sql, &edit.which)?;
        Ok(changes(desired_history::current(sql, host.host_id)?.as_ref(), &bytes))
    })?;
    if cli.json {
        json(&changes);
    } else if changes.is_empty() {
        line("nothing differs");
    } else {
        print_changes(&changes);
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn changes(current: Option<&Published>, bytes: &[u8]) -> Vec<Change> {
    let value = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let before =
        current.map_or_else(|| Value::Object(serde_json::Map::new()), |current| value(&current.bytes));
    diff(&before, &value(bytes))
}

fn print_changes(changes: &[Change]) {
    let short = |value: &Value| clean(&value.to_string());
    for change in changes {
        let text = match (&change.before, &change.after) {
            (Some(before), Some(after)) => format!("~ {}: {} -> {}", change.at, short(before), short(after)),
            (None, Some(after)) => coloured("32", &format!("+ {}: {}", change.at, short(after))),
            (Some(before), None) => coloured("31", &format!("- {}: {}", change.at, short(before))),
            (None, None) => continue,
        };
        line(&text);
        if change.at.starts_with("guests[") && change.after.is_none() && change.at.ends_with(']') {
            line("    it becomes unmanaged: nothing is destroyed");
        }
        if change.after.as_ref().is_some_and(|after| after == "absent") {
            line("    the box will hold this for a signature");
        }
    }
}

fn publish_file(cli: &Cli, edit: &Edit, how: &How, resume: bool) -> Result<(), CliError> {
    let bytes = read_desired(edit)?;
    if !how.yes {
        ask(cli, edit, &bytes)?;
    }
    let author = Author { name: author(), note: how.note.clone() };
    let (host, document) = cli.transact(|sql, _| {
        let host = find(sql, &edit.which)?;
        let document = publish(sql, &host, &bytes, &author, resume).map_err(|error| refused(edit, error))?;
        Ok((host, document))
    })?;
    if cli.json {
        json(&document);
    } else {
        line(&format!("generation {} published for {}", document.generation, host.name));
    }
    Ok(())
}

fn ask(cli: &Cli, edit: &Edit, bytes: &[u8]) -> Result<(), CliError> {
    let changes = cli.transact(|sql, _| {
        let host = find(sql, &edit.which)?;
        Ok(changes(desired_history::current(sql, host.host_id)?.as_ref(), bytes))
    })?;
    print_changes(&changes);
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Said("nobody is there to confirm: add --yes".to_owned()));
    }
    line("publish this? [y/N]");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|source| CliError::File { path: "-".into(), source })?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(CliError::Said("not published".to_owned()))
    }
}

fn show(cli: &Cli, which: &Which, generation: Option<u64>) -> Result<(), CliError> {
    let document = cli.transact(|sql, _| {
        let host = find(sql, which)?;
        Ok(match generation {
            Some(number) => desired_history::get(sql, host.host_id, Generation(number))?,
            None => desired_history::current(sql, host.host_id)?,
        })
    })?;
    let document =
        document.ok_or_else(|| CliError::Said("nothing of that number was published".to_owned()))?;
    raw(&document.bytes);
    Ok(())
}

fn history(cli: &Cli, which: &Which, most: u32) -> Result<(), CliError> {
    let documents = cli.transact(|sql, _| {
        let host = find(sql, which)?;
        Ok(desired_history::list(sql, host.host_id, most)?)
    })?;
    if cli.json {
        json(&documents);
        return Ok(());
    }
    for document in documents {
        let at = jiff::Timestamp::from_millisecond(document.published_at_ms)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let note = document.note.map(|note| format!("  {}", clean(&note))).unwrap_or_default();
        line(&format!(
            "{:>6}  {at:.0}  {}  {}{note}",
            document.generation,
            clean(&document.author),
            &document.digest[..12]
        ));
    }
    Ok(())
}
