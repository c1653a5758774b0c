//! The program. The only place that reads arguments and exits.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    felhom_sign::cli::main(&felhom_sign::cli::Cli::parse())
}
