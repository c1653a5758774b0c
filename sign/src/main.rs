//! The program. The only place that reads arguments and exits.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Keys and passphrases are in this memory: no core file, and no other program of the same user may look.
    nix::sys::prctl::set_dumpable(false).expect("the kernel knows both values of this flag");
    felhom_sign::cli::main(&felhom_sign::cli::Cli::parse())
}
