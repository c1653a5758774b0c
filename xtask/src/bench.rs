//! `cargo xtask bench`: claims about speed, each beside its rival in one interleaved run.

use clap::Args as ClapArgs;

use crate::need::NODE_EXPORTER;
use crate::process::{cargo, must};
use crate::{Failed, machine, small};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only these: `hub_ingest`, `parked_polls`, `noop_cycle`, `agent_idle`, `idle_under_systemd`.
    names: Vec<String>,
}

const BENCHES: [&str; 4] = ["hub_ingest", "parked_polls", "noop_cycle", "agent_idle"];
/// On a machine of its own.
const UNDER_SYSTEMD: &str = "idle_under_systemd";

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let known = |name: &String| BENCHES.contains(&name.as_str()) || name == UNDER_SYSTEMD;
    if let Some(unknown) = args.names.iter().find(|name| !known(name)) {
        return Err(Failed::said(format!(
            "no bench {unknown}; there are {}, {UNDER_SYSTEMD}",
            BENCHES.join(", ")
        )));
    }
    let is_wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|wanted| wanted == name);
    if is_wanted(UNDER_SYSTEMD) {
        machine::bench()?;
    }
    if !BENCHES.iter().any(|name| is_wanted(name)) {
        return Ok(());
    }
    NODE_EXPORTER.meet(&[])?;
    must(&mut cargo(&["build", "--quiet", "--release", "-p", "felhom-hub", "-p", "fake-pve"]))?;
    small::build()?;
    for name in BENCHES.iter().filter(|name| is_wanted(name)) {
        must(&mut cargo(&["run", "--quiet", "--release", "-p", "felhom-tests", "--bin", name]))?;
    }
    Ok(())
}
