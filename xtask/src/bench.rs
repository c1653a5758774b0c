//! `cargo xtask bench`: claims about speed, each beside its rival in one interleaved run.

use clap::Args as ClapArgs;

use crate::need::NODE_EXPORTER;
use crate::process::{cargo, must};
use crate::{Failed, small};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only these: `hub_ingest`, `parked_polls`, `noop_cycle`, `agent_idle`.
    names: Vec<String>,
}

const BENCHES: [&str; 4] = ["hub_ingest", "parked_polls", "noop_cycle", "agent_idle"];

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    if let Some(unknown) = args.names.iter().find(|name| !BENCHES.contains(&name.as_str())) {
        return Err(Failed::said(format!("no bench {unknown}; there are {}", BENCHES.join(", "))));
    }
    NODE_EXPORTER.meet(&[])?;
    must(&mut cargo(&["build", "--quiet", "--release", "-p", "felhom-hub", "-p", "fake-pve"]))?;
    small::build()?;
    for name in
        BENCHES.iter().filter(|name| args.names.is_empty() || args.names.iter().any(|wanted| wanted == *name))
    {
        must(&mut cargo(&["run", "--quiet", "--release", "-p", "felhom-tests", "--bin", name]))?;
    }
    Ok(())
}
