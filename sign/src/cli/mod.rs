//! The command line: what is read, asked, written and said. It decides nothing that the library has not decided.

mod args;
mod error;
mod inspect;
mod keygen;
mod keyset;
mod pending;
mod sign;
#[cfg(feature = "network")]
mod upload;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::CliError;

use crate::show;

/// felhom-sign: signs what the hub cannot order. Keys, operations and keysets; offline, but for fetching and
/// uploading.
#[derive(Debug, Parser)]
#[command(
    name = "felhom-sign",
    version,
    after_help = "Exit codes: 0 well; 1 it did not work; 2 wrong usage; 3 refused or not confirmed, nothing was signed; \
                  4 not verified.\nPassphrases are typed or read from --passphrase-file; they are never arguments or \
                  environment variables. NO_COLOR is honoured. docs/signing.md is the operator's guide."
)]
pub struct Cli {
    /// Print JSON instead of text, in ASCII.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key, encrypted with a passphrase; print its public line.
    Keygen(keygen::Keygen),
    /// Show the steps that boxes hold, ask which to sign, sign, and upload or write them. Also `--pending`.
    #[command(long_flag = "pending")]
    Pending(pending::Pending),
    /// Sign a draft, a complete operation, or add a signature to an envelope. Offline.
    Sign(sign::Sign),
    /// Check an envelope against a keyset: who signed, in which role, for what, and when it may be taken.
    Verify(verify::Verify),
    /// Show an envelope, operation, draft or keyset, without trusting it.
    Inspect(inspect::Inspect),
    /// Make the first keyset and every next one.
    #[command(subcommand)]
    Keyset(keyset::KeysetCommand),
    /// Upload an operation that was signed elsewhere to the hub.
    #[cfg(feature = "network")]
    Upload(upload::Upload),
}

/// Runs the command line.
#[must_use]
pub fn main(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Keygen(command) => keygen::run(command, cli.json),
        Command::Pending(command) => pending::run(command, cli.json),
        Command::Sign(command) => sign::run(command, cli.json),
        Command::Verify(command) => verify::run(command, cli.json),
        Command::Inspect(command) => inspect::run(command, cli.json),
        Command::Keyset(command) => keyset::run(command, cli.json),
        #[cfg(feature = "network")]
        Command::Upload(command) => upload::run(command, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::error(&error, error.next());
            ExitCode::from(error.exit_code())
        }
    }
}
