//! `cargo xtask machine`: the packages on whole Debian machines. Makes what the tests in tests/machine stand on, and
//! runs them.
//!
//! The root is made once for each release and kept in target/machine; packages and double are laid beside it anew every
//! time. Refuses nothing quietly: a part that this machine cannot run is an error, unless it is allowed to be missing.

mod payload;
mod root;
mod zfs;

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use crate::need::{MMDEBSTRAP, NSPAWN, QEMU, QEMU_IMG};
use crate::process::{cargo, must, target_dir};
use crate::{Failed, deb};

/// Arguments of `cargo xtask machine`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The Debian release of the machines.
    #[arg(long, value_enum, default_value_t = Suite::Bookworm)]
    suite: Suite,
    /// A part that may be skipped where this machine cannot run it: `machine` (all of it), `vm`, `zfs`, `lintian`.
    #[arg(long, value_name = "NAME")]
    allow_missing: Vec<String>,
    /// Take the packages that lie in target/deb, and build none.
    #[arg(long)]
    no_deb: bool,
    /// How many rounds the power-cut test goes.
    #[arg(long, default_value_t = 5)]
    power_cuts: u32,
    /// Only tests whose name has one of these words in it.
    filters: Vec<String>,
}

/// Debian releases that a supported Proxmox VE stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Debian 12, under Proxmox VE 8.
    Bookworm,
    /// Debian 13, under Proxmox VE 9.
    Trixie,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    fn folder(self) -> PathBuf {
        target_dir().join("machine").join(self.name())
    }
}

impl Args {
    /// As `cargo xtask test` wants it.
    pub(crate) fn all(allow_missing: &[String]) -> Self {
        let (suite, allow_missing) = (Suite::Bookworm, allow_missing.to_vec());
        Self { suite, allow_missing, no_deb: false, power_cuts: 5, filters: Vec::new() }
    }
}

/// The root and what is laid beside it; the packages are taken from target/deb.
fn prepare(suite: Suite, with_zfs: bool) -> Result<PathBuf, Failed> {
    must(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    let folder = suite.folder();
    root::make(suite, with_zfs, &folder)?;
    payload::lay_out(&folder)?;
    Ok(folder)
}

/// The bench of the packaged agent in its unit. Says so where this machine cannot run one.
pub(crate) fn bench() -> Result<(), Failed> {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED idle_under_systemd: only root can boot a machine");
        return Ok(());
    }
    MMDEBSTRAP.meet(&[])?;
    NSPAWN.meet(&[])?;
    deb::run(&deb::Args::allowing(&[]))?;
    let folder = prepare(Suite::Bookworm, true)?;
    let mut bench = cargo(&["run", "--quiet", "-p", "felhom-machine", "--bin", "idle_under_systemd"]);
    must(bench.env("FELHOM_MACHINE", &folder))
}

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    if !(MMDEBSTRAP.meet(&args.allow_missing)? && NSPAWN.meet(&args.allow_missing)?) {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        if args.allow_missing.iter().any(|name| name == "machine") {
            println!("SKIPPED machine: only root can boot one");
            return Ok(());
        }
        return Err(Failed::said(
            "only root can boot a machine: run it as root, or allow it with `--allow-missing machine`",
        ));
    }
    // One at a time: asked for both at once, apt cannot choose between qemu's Debian and backported builds.
    let vm = QEMU.meet(&args.allow_missing)? && QEMU_IMG.meet(&args.allow_missing)?;
    if !args.no_deb {
        deb::run(&deb::Args::allowing(&args.allow_missing))?;
    }
    let zfs = vm && !args.allow_missing.iter().any(|name| name == "zfs");
    let folder = prepare(args.suite, zfs)?;
    let mut tests = cargo(&["nextest", "run", "--profile", "machine", "--workspace", "--no-fail-fast"]);
    tests.args(["--status-level", "pass", "--hide-progress-bar", "--no-tests", "pass"]);
    match (vm, zfs) {
        (true, true) => {}
        (true, false) => {
            println!("SKIPPED zfs: its tests, and building it");
            tests.args(["-E", "not binary(/^vm_zfs/)"]);
        }
        (false, _) => {
            tests.args(["-E", "not binary(/^vm_/)"]);
        }
    }
    tests.args(&args.filters);
    tests.env("FELHOM_MACHINE", &folder).env("FELHOM_POWER_CUTS", args.power_cuts.to_string());
    must(&mut tests)
}
