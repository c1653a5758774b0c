//! `cargo xtask`: the commands of this repository, the same by hand and in CI.
//!
//! Holds no product logic: it builds the real programs, starts them as a user would, and looks at the outside.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks on its terminal")]

mod bench;
mod check;
mod deb;
mod demo;
mod machine;
mod need;
mod process;
mod small;
mod test;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands of the felhom repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hub, fake Proxmox and agent on loopback, converging docs/examples/desired.json. Ctrl-C ends all.
    Demo(demo::Args),
    /// Everything: format, lints, dependencies, documentation, tests, browser, demo.
    Test(test::Args),
    /// The quick part of `test`: format, lints, dependencies, documentation, house rules.
    Check(check::Args),
    /// Side-by-side benches with their targets.
    Bench(bench::Args),
    /// The three Debian packages, into target/deb, looked at by lintian.
    Deb(deb::Args),
    /// The packages on whole machines: containers that boot, and VMs whose power is cut.
    Machine(machine::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Deb(args) => deb::run(&args),
        Command::Machine(args) => machine::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Why an xtask stopped.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{what} cannot be started; is it installed?")]
    Start { what: String, source: std::io::Error },
    #[error("{what} failed ({status})")]
    Status { what: String, status: std::process::ExitStatus },
    #[error("{0}")]
    Said(String),
    #[error("cannot read or write {path}")]
    File { path: std::path::PathBuf, source: std::io::Error },
}

impl Failed {
    fn said(text: impl Into<String>) -> Self {
        Self::Said(text.into())
    }
}

/// The repository's root.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one folder below the root")
}
