//! The hub's command line. It works on the data folder directly, also while the hub runs, and tells it afterwards.
//!
//! Exit codes: 0 well, 1 something differs (`desired diff`), 2 everything that did not work, whatever the reason.

mod backup;
mod desired;
mod host;
mod keyset;
mod operator;
mod ops;
mod secret;
mod serve;
mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use rusqlite::Connection;

use crate::auth::{Keys, PepperError};
use crate::backup::BackupError;
use crate::config::{Config, ConfigError};
use crate::publish::PublishError;
use crate::serve::{ServeError, make_folder};
use crate::signed::UploadError;
use crate::store::hosts::{self, Host};
use crate::store::{self, StoreError};
use crate::tls::TlsError;
use felhom_shared::id::HostId;
use felhom_shared::text::chain;

/// felhom-hub: stores what boxes should be, hears what they are, and shows both.
#[derive(Debug, Parser)]
#[command(
    name = "felhom-hub",
    version,
    after_help = "Exit codes: 0 well; 1 something differs (only `desired diff`); 2 it did not work, and nothing was changed."
)]
pub struct Cli {
    /// The configuration file; without it, the defaults.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// The data folder, in place of the configuration's.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub until it is told to stop.
    Serve(serve::Serve),
    /// Hosts: add, list, pause, resume, new key.
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Desired states: diff, publish, show, history, resume.
    #[command(subcommand)]
    Desired(desired::DesiredCommand),
    /// Secrets that documents name, as a tunnel's token.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Operators who may log in to the pages, and the keys of their programs.
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Signed operations of a host: list them, hand one in.
    Ops(ops::Ops),
    /// Keysets: who may sign. Put the next version, list them.
    #[command(subcommand)]
    Keyset(keyset::KeysetCommand),
    /// Copy the whole hub into a folder, also while it runs.
    Backup(backup::Backup),
    /// Put a backup in the place of a hub that does not run.
    Restore(backup::Restore),
}

/// A host by its name or id.
#[derive(Debug, Args)]
struct Which {
    /// Its name or id.
    host: String,
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum CliError {
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    #[error("the pepper of the API keys cannot be used")]
    Pepper(#[from] PepperError),
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    #[error("the hub does not start")]
    Serve(#[from] ServeError),
    #[error("nothing was backed up or restored")]
    Backup(#[from] BackupError),
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is not published ({})", source.code())]
    Refused { path: String, source: PublishError },
    #[error("{path} is not taken ({})", source.code())]
    NotTaken { path: String, source: UploadError },
    #[error(
        "there is no hub in {0}; name its folder with --data, or begin one with `felhom-hub host add NAME`"
    )]
    NoHub(PathBuf),
    #[error("no host {0:?}; `felhom-hub host list` shows them")]
    NoHost(String),
    #[error("{0}")]
    Said(String),
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
}

/// Runs the command line.
#[must_use]
pub fn main(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Serve(serve) => serve::serve(cli, serve),
        Command::Host(command) => host::run(cli, command),
        Command::Desired(command) => desired::run(cli, command),
        Command::Secret(command) => secret::run(cli, command),
        Command::Operator(command) => operator::run(cli, command),
        Command::Ops(ops) => ops::run(cli, ops),
        Command::Keyset(command) => keyset::run(cli, command),
        Command::Backup(args) => backup::backup(cli, args),
        Command::Restore(args) => backup::restore(cli, args),
    };
    result.unwrap_or_else(|error| {
        show::error(&error);
        ExitCode::from(2)
    })
}

impl Cli {
    fn read_config(&self) -> Result<Config, CliError> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if let Some(data) = &self.data {
            config.data_dir.clone_from(data);
        }
        Ok(config)
    }

    /// Opens the data folder, makes it at first use, runs `work` in one transaction, and tells the hub that anything
    /// may have changed.
    fn transact<T>(
        &self,
        work: impl FnOnce(&Connection, &Keys) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        self.transact_about(None, work)
    }

    /// The same where only what is wanted of this host changes: ten thousand others need not be looked at.
    fn transact_about<T>(
        &self,
        host_id: Option<HostId>,
        work: impl FnOnce(&Connection, &Keys) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let config = self.read_config()?;
        let folder = &config.data_dir;
        make_folder(folder).map_err(|source| CliError::File { path: folder.clone(), source })?;
        let keys = Keys::open(folder)?;
        let mut connection = store::open_connection(folder)?;
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(StoreError::from)?;
        let result = work(&transaction, &keys)?;
        transaction.commit().map_err(StoreError::from)?;
        crate::poke::poke(folder, host_id);
        Ok(result)
    }

    /// Looks into a data folder that is there, and changes nothing.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, CliError>) -> Result<T, CliError> {
        let folder = self.read_config()?.data_dir;
        if !folder.join(store::FILE_NAME).exists() {
            return Err(CliError::NoHub(folder));
        }
        work(&store::open_connection(&folder)?)
    }
}

fn find(sql: &Connection, which: &Which) -> Result<Host, CliError> {
    hosts::find(sql, &which.host)?.ok_or_else(|| CliError::NoHost(which.host.clone()))
}

/// An envelope from a file, or from standard input for `-`. One byte more than allowed is enough to refuse it.
fn read_envelope(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let most = ENVELOPE_BYTES_MAX as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(path).map_err(failed)?.take(most).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}

/// Who is at the keyboard, for the history and the audit.
fn author() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "command line".to_owned())
}

fn said(error: &dyn std::error::Error) -> CliError {
    CliError::Said(chain(error))
}
