//! The program. The only place that reads arguments and exits.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    felhom_hub::cli::main(&felhom_hub::cli::Cli::parse())
}
