//! The command line: `run` is the daemon, `trust reset` is for the console, everything else looks and acts on nothing.
//!
//! Exit codes: 0 well, 1 failed, 2 wrong use; `plan` adds 10 (steps would run) and 11 (something is held,
//! refused or unreadable).

mod doctor;
mod explain;
mod paint;
mod plan;
mod run;
mod setup;
mod status;
mod trust;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use setup::CliError;

/// felhom-agent: keeps this Proxmox host as it should be.
#[derive(Debug, Parser)]
#[command(
    name = "felhom-agent",
    version,
    after_help = "Exit codes: 0 well, 1 failed, 2 wrong use; plan: 10 steps would run, 11 something is held, refused or unreadable."
)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, default_value = crate::config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Log more.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until it is told to stop.
    Run,
    /// Show what the agent last reported.
    Status,
    /// Show what would be done and what would be held, and do nothing.
    Plan {
        /// A desired-state file; without it, the document in force.
        #[arg(long)]
        desired: Option<PathBuf>,
    },
    /// Say why a guest, a storage or the tunnel is as it is: cause, since when, next try, who must act.
    Explain {
        /// A guest's name, VMID or guest id, a storage's name, or `tunnel`.
        item: String,
    },
    /// Check everything the agent needs, and say what to do.
    Doctor,
    /// Whom this box trusts.
    Trust {
        #[command(subcommand)]
        trust: trust::Trust,
    },
}

/// Runs the command line.
#[must_use]
pub fn main(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Run => run::run(cli),
        Command::Status => status::status(cli),
        Command::Plan { desired } => plan::plan(cli, desired.as_deref()),
        Command::Explain { item } => explain::explain(cli, item),
        Command::Doctor => doctor::doctor(cli),
        Command::Trust { trust } => trust::trust(cli, trust),
    };
    result.unwrap_or_else(|error| {
        paint::error(&error);
        ExitCode::FAILURE
    })
}
