//! The program. The only place that reads arguments and exits.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    felhom_agent::cli::main(&felhom_agent::cli::Cli::parse())
}
