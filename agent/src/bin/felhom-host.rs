//! `felhom-host`: see [`felhom_agent::host::clerk`]. Started by systemd, reads no argument.

use std::path::Path;
use std::process::ExitCode;

use felhom_agent::config::{Config, DEFAULT_PATH};
use felhom_agent::host::clerk::{Clerk, run_tool};
use felhom_agent::host::format::Trust;

/// Where the agent's unit keeps its state.
const STATE_DIR: &str = "/var/lib/felhom";
/// Where this one remembers which signatures were used; the agent cannot write there.
const MEMORY: &str = "/var/lib/felhom-host";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    // Without a configuration drives are mounted all the same, and none is formatted.
    let trust = Config::read(Path::new(DEFAULT_PATH)).ok().map(|config| Trust {
        host_id: config.host_id,
        genesis_sha256: config.trust.genesis_sha256,
        tunnel_account: config.tunnel.account,
        memory: MEMORY.into(),
    });
    let clerk = Clerk { root: Path::new("/"), tool: &run_tool, trust: trust.as_ref() };
    match clerk.serve(Path::new(STATE_DIR)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{STATE_DIR}: {error}");
            ExitCode::FAILURE
        }
    }
}
