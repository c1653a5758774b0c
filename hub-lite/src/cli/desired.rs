//! `felhom-hub desired`: what a box should be, from file to generation.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use felhom_shared::desired::DesiredState;
use felhom_shared::id::Generation;
use felhom_shared::limits::DESIRED_BYTES_MAX;
use rusqlite::Connection;
use serde_json::Value;

use super::show::{clean, coloured, json, line, raw};
use super::{Cli, CliError, Which, author, find};
use crate::diff::{Change, diff};
use crate::publish::{Author, PublishError, publish};
use crate::store::desired_history::{self, Published};
use crate::store::hosts::Host;

#[derive(Debug, Subcommand)]
pub(super) enum DesiredCommand {
    /// Show what a file would change. Exit code 0: nothing; 1: something; 2: it cannot be said.
    Diff(Edit),
    /// Show what a file changes, and make it the next generation.
    Publish {
        #[command(flatten)]
        edit: Edit,
        #[command(flatten)]
        how: How,
    },
    /// Publish over a box that is ahead of this hub, as after a restored backup.
    Resume {
        #[command(flatten)]
        which: Which,
        /// The desired-state file; without it, this hub's newest document.
        file: Option<PathBuf>,
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
    /// List what was published, newest first.
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
        DesiredCommand::Publish { edit, how } => {
            let offer = Offer { which: &edit.which, file: Some(&edit.file), how, resume: false };
            offer.publish(cli)?;
        }
        DesiredCommand::Resume { which, file, how } => {
            let offer = Offer { which, file: file.as_deref(), how, resume: true };
            offer.publish(cli)?;
        }
        DesiredCommand::Show { which, generation } => show(cli, which, *generation)?,
        DesiredCommand::History { which, most } => history(cli, which, *most)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file's bytes, once they are known to be a desired state.
fn read_desired(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let most = DESIRED_BYTES_MAX as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    }
    DesiredState::from_json(&bytes)
        .map_err(|error| CliError::Refused { path: path.display().to_string(), source: error.into() })?;
    Ok(bytes)
}

fn show_diff(cli: &Cli, edit: &Edit) -> Result<ExitCode, CliError> {
    let bytes = read_desired(&edit.file)?;
    let (_, current) = cli.read(|sql| host_and_current(sql, &edit.which))?;
    let changes = changes(current.as_ref(), &bytes);
    if cli.json {
        json(&changes);
    } else {
        print_changes(&changes);
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn host_and_current(sql: &Connection, which: &Which) -> Result<(Host, Option<Published>), CliError> {
    let host = find(sql, which)?;
    let current = desired_history::current(sql, host.host_id)?;
    Ok((host, current))
}

/// What differs in meaning: a default that is written out, or another order of fields, is no difference.
fn changes(current: Option<&Published>, bytes: &[u8]) -> Vec<Change> {
    let meaning = |bytes: &[u8]| match DesiredState::from_json(bytes) {
        Ok(state) => serde_json::to_value(state).unwrap_or_default(),
        // Published by another version of the hub: compared as it stands.
        Err(_) => serde_json::from_slice(bytes).unwrap_or_default(),
    };
    let before =
        current.map_or_else(|| Value::Object(serde_json::Map::new()), |current| meaning(&current.bytes));
    diff(&before, &meaning(bytes))
}

fn print_changes(changes: &[Change]) {
    if changes.is_empty() {
        line("nothing differs");
    }
    for change in changes {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                line(&format!("~ {}: {} -> {}", change.at, short(before), short(after)));
                if change.at.ends_with(".presence") && after == "absent" {
                    line("    the box will hold this for a signature");
                }
            }
            (None, Some(Value::Object(fields))) if is_item(change) => {
                line(&coloured("32", &format!("+ {}", change.at)));
                fields.iter().for_each(|(field, value)| line(&format!("    {field}: {}", short(value))));
            }
            (Some(_), None) if is_item(change) => {
                line(&coloured("31", &format!("- {}", change.at)));
                line("    it becomes unmanaged: nothing is destroyed");
            }
            (None, Some(after)) => line(&coloured("32", &format!("+ {}: {}", change.at, short(after)))),
            (Some(before), None) => line(&coloured("31", &format!("- {}: {}", change.at, short(before)))),
            (None, None) => {}
        }
    }
}

fn short(value: &Value) -> String {
    clean(&value.to_string())
}

fn is_item(change: &Change) -> bool {
    let at = &change.at;
    (at.starts_with("guests[") || at.starts_with("storage[")) && at.ends_with(']')
}

/// A document on its way to being published.
struct Offer<'a> {
    which: &'a Which,
    /// `None` offers the hub's newest document again.
    file: Option<&'a Path>,
    how: &'a How,
    resume: bool,
}

impl Offer<'_> {
    fn publish(&self, cli: &Cli) -> Result<(), CliError> {
        let given = self.file.map(read_desired).transpose()?;
        let (host, current) = cli.read(|sql| host_and_current(sql, self.which))?;
        let bytes = match (given, &current) {
            (Some(bytes), _) => bytes,
            (None, Some(current)) => current.bytes.clone(),
            (None, None) => {
                let text = "this hub has published nothing for this host: name the file that is right";
                return Err(CliError::Said(text.to_owned()));
            }
        };
        if !cli.json {
            print_changes(&changes(current.as_ref(), &bytes));
        }
        if !self.how.yes {
            ask(&host)?;
        }
        let seen = current.map(|current| current.generation);
        let document =
            cli.transact_about(Some(host.host_id), |sql, _| self.publish_over(sql, seen, &bytes))?;
        if cli.json {
            json(&document);
        } else {
            line(&format!("generation {} published for {}", document.generation, host.name));
        }
        Ok(())
    }

    /// Publishes only over what was shown: another operator may have been quicker.
    fn publish_over(
        &self,
        sql: &Connection,
        seen: Option<Generation>,
        bytes: &[u8],
    ) -> Result<Published, CliError> {
        let host = find(sql, self.which)?;
        if host.desired != seen {
            let text = "another generation was published meanwhile; nothing was changed, look again";
            return Err(CliError::Said(text.to_owned()));
        }
        let author = Author { name: author(), note: self.how.note.clone() };
        publish(sql, &host, bytes, &author, self.resume).map_err(|error| self.refused(error))
    }

    fn refused(&self, source: PublishError) -> CliError {
        let path =
            self.file.map_or_else(|| "the newest document".to_owned(), |path| path.display().to_string());
        CliError::Refused { path, source }
    }
}

fn ask(host: &Host) -> Result<(), CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Said("nobody is there to confirm: add --yes".to_owned()));
    }
    line(&format!("publish this for {}? [y/N]", host.name));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|source| CliError::File { path: "-".into(), source })?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(CliError::Said("not published".to_owned()))
    }
}

fn show(cli: &Cli, which: &Which, generation: Option<u64>) -> Result<(), CliError> {
    let document = cli.read(|sql| {
        let (host, current) = host_and_current(sql, which)?;
        Ok(match generation {
            Some(number) => desired_history::get(sql, host.host_id, Generation(number))?,
            None => current,
        })
    })?;
    let document = document.ok_or_else(|| {
        CliError::Said("no such generation; `felhom-hub desired history HOST` lists them".to_owned())
    })?;
    raw(&document.bytes);
    Ok(())
}

fn history(cli: &Cli, which: &Which, most: u32) -> Result<(), CliError> {
    let documents = cli.read(|sql| {
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
