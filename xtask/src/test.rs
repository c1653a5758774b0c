//! `cargo xtask test`: everything, from nothing, with the test runner's closing line at the end.

use clap::Args as ClapArgs;

use crate::need::{BROWSER, PROMTOOL};
use crate::process::{cargo, must, run as run_command};
use crate::{Failed, check, demo, machine};

/// Arguments of `cargo xtask test`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A part that may be skipped where this machine cannot run it: `browser`, `promtool`, `machine`, `vm`, `lintian`.
    #[arg(long, value_name = "NAME")]
    allow_missing: Vec<String>,
    /// Leave out format, lints, dependencies and documentation.
    #[arg(long)]
    only_tests: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let browser = BROWSER.meet(&args.allow_missing)?;
    let promtool = PROMTOOL.meet(&args.allow_missing)?;
    if !args.only_tests {
        check::run(&check::Args {})?;
    }
    // The end-to-end tests start the real programs.
    must(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    demo::run(&demo::Args::once())?;
    must(&mut cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    machine::run(&machine::Args::all(&args.allow_missing))?;
    let nextest = run_command(
        cargo(&["nextest", "--version"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null()),
    );
    let mut tests = if nextest.is_ok_and(|status| status.success()) {
        cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--status-level",
            "fail",
            "--hide-progress-bar",
        ])
    } else {
        cargo(&["test", "--workspace", "--exclude", "felhom-machine", "--no-fail-fast", "--quiet"])
    };
    if !browser {
        tests.env("FELHOM_NO_BROWSER", "1");
    }
    if !promtool {
        tests.env("FELHOM_NO_PROMTOOL", "1");
    }
    must(&mut tests)
}
