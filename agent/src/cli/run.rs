//! `felhom-agent run`: the daemon under systemd or by hand.

use std::path::Path;
use std::process::ExitCode;

use nix::fcntl::{Flock, FlockArg};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::setup::{block_on, hub, observer, pve};
use super::{Cli, CliError};
use crate::cycle::Cycle;
use crate::daemon::Daemon;
use crate::host::block::BlockDevices;
use crate::host::clear_drafts;
use crate::metrics::Textfile;
use crate::ops::Ops;
use crate::resources::storage::Attached;
use crate::resources::tunnel::Watch;
use crate::state::State;

pub(super) fn run(cli: &Cli) -> Result<ExitCode, CliError> {
    log(cli.verbose);
    let config = cli.read_config()?;
    std::fs::create_dir_all(&config.state_dir)
        .map_err(|source| CliError::Read { path: config.state_dir.clone(), source })?;
    let _lock = lock(&config.state_dir)?;
    let (pve, hub) = (pve(&config)?, hub(&config)?);
    let state = State::open(&config.state_dir)?;
    clear_drafts(&config.state_dir);
    let observer = observer(&config, &pve);
    let ops = Ops::new(config.host_id, config.trust.genesis_sha256.clone(), state.clone());
    let cycle = Cycle::new(pve.clone(), state.clone(), ops, observer, config.change_budget_per_hour);
    tracing::info!(host.id = %config.host_id, "felhom-agent {} starts", env!("CARGO_PKG_VERSION"));
    block_on(async move {
        let drives = Attached::of(BlockDevices::new(&config.drives_root));
        let tunnel = Watch::of(&config.drives_root, config.tunnel.metrics);
        let cycle = cycle.with_drives(drives, config.drives_root).with_tunnel(tunnel);
        let metrics = config.metrics.textfile.map(Textfile::new);
        let daemon = Daemon::new(config.host_id, hub, pve, state, cycle)
            .with_metrics(metrics)
            .with_poll_wait(config.hub.poll_wait_s());
        let stop = stop_signal()?;
        notify(sd_notify::NotifyState::Ready);
        Box::pin(daemon.run(stop, || notify(sd_notify::NotifyState::Watchdog))).await?;
        notify(sd_notify::NotifyState::Stopping);
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One agent at a time on one state: two would each take the other's steps for a stranger's.
pub(super) fn lock(folder: &Path) -> Result<Flock<std::fs::File>, CliError> {
    let path = folder.join("agent.lock");
    let file =
        std::fs::File::create(&path).map_err(|source| CliError::Read { path: path.clone(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| CliError::Locked(path))
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Without systemd there is nobody to tell, which is no failure.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// To the journal when systemd has connected us to it, to the terminal otherwise.
fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let registry = tracing_subscriber::registry().with(level);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init(),
    }
}
