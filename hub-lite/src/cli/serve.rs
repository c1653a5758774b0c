//! `felhom-hub serve`: the hub under systemd or by hand.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Cli, CliError};
use crate::serve::start;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where HTTPS is served, in place of the configuration's.
    #[arg(long)]
    listen: Option<SocketAddr>,
}

pub(super) fn serve(cli: &Cli, args: &Serve) -> Result<ExitCode, CliError> {
    log();
    let mut config = cli.read_config()?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    let address_file = config.data_dir.join("address");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        let mut running = start(config).await?;
        std::fs::write(&address_file, format!("{}\n", running.local_addr))
            .map_err(|source| CliError::File { path: address_file.clone(), source })?;
        tracing::info!("felhom-hub {} serves https://{}", env!("CARGO_PKG_VERSION"), running.local_addr);
        tracing::info!("agents know it by {}", running.pin);
        if let Some(patience) = sd_notify::watchdog_enabled() {
            running.beat(patience, || notify(sd_notify::NotifyState::Watchdog));
        }
        notify(sd_notify::NotifyState::Ready);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        notify(sd_notify::NotifyState::Stopping);
        // The address of a hub that is gone leads nowhere.
        let _ = std::fs::remove_file(&address_file);
        running.shutdown().await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Without systemd there is nobody to tell, which is no failure.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// To the journal when systemd has connected us to it, to the terminal otherwise.
fn log() {
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init(),
    }
}
