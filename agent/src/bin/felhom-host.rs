//! `felhom-host`: see [`felhom_agent::host::clerk`]. Started by systemd, reads no argument and no configuration.

use std::path::Path;
use std::process::ExitCode;

use felhom_agent::host::clerk::{Clerk, run_tool};

/// Where the agent's unit keeps its state.
const STATE_DIR: &str = "/var/lib/felhom";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    let clerk = Clerk { root: Path::new("/"), tool: &run_tool };
    match clerk.serve(Path::new(STATE_DIR)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{STATE_DIR}: {error}");
            ExitCode::FAILURE
        }
    }
}
