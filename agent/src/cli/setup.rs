//! From configuration to clients: what every command needs before it can look at anything.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use super::Cli;
use crate::config::{Config, ConfigError};
use crate::hub::{Hub, HubError};
use crate::observe::Observer;
use crate::pve::{Pve, PveSetupError};
use crate::state::{State, StateError};
use crate::tls::{PinSource, TlsError, client_config, parse_pin};

/// PVE's proxy gives up after 30 s; a shorter limit would make clear answers unclear.
const PVE_TIMEOUT: Duration = Duration::from_secs(35);

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is the error it wraps, with its context in the text")]
pub enum CliError {
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the agent's state cannot be used")]
    State(#[from] StateError),
    #[error("a certificate or pin cannot be used")]
    Tls(#[from] TlsError),
    #[error("the Proxmox API cannot be used")]
    Pve(#[from] PveSetupError),
    #[error("the hub cannot be used")]
    Hub(#[from] HubError),
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a desired state ({})", source.code())]
    Desired { path: PathBuf, source: felhom_shared::desired::DesiredError },
    #[error(
        "no document is in force yet: the hub has not published one, or `felhom-agent run` has not fetched it"
    )]
    NoDocument,
    #[error(
        "the document in force names no guest and no storage {0:?}, and there is no such tunnel; `felhom-agent status` lists what there is"
    )]
    NoItem(String),
    #[error("another agent runs on this state (it holds {0})")]
    Locked(PathBuf),
    #[error(
        "a step that was signed for is under way: let `felhom-agent run` find out what became of it, then reset"
    )]
    GuardedStepOpen,
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
}

impl Cli {
    pub(super) fn read_config(&self) -> Result<Config, CliError> {
        Ok(Config::read(&self.config)?)
    }
}

pub(super) fn pve(config: &Config) -> Result<Pve, CliError> {
    let tls = client_config(PinSource::CertificateFile(config.pve.certificate()))?;
    Ok(Pve::new(&config.pve.url, &config.pve_token()?, tls, PVE_TIMEOUT)?)
}

pub(super) fn hub(config: &Config) -> Result<Hub, CliError> {
    let pins = config.hub.pins.iter().map(|pin| parse_pin(pin)).collect::<Result<_, _>>()?;
    let tls = client_config(PinSource::SpkiPins(pins))?;
    Ok(Hub::new(&config.hub.url, &config.hub_key()?, tls)?)
}

pub(super) fn observer(config: &Config, pve: &Pve) -> Observer {
    Observer::new(pve.clone(), config.pve.node.clone())
}

/// The agent's state for looking; `None` before its first run.
pub(super) fn state_to_read(config: &Config) -> Result<Option<State>, CliError> {
    if !config.state_dir.join(crate::state::FILE_NAME).exists() {
        return Ok(None);
    }
    Ok(Some(State::open_read_only(&config.state_dir)?))
}

/// Runs a future on a single-threaded runtime.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    // Boxed, because the runtime moves what it is given, and each place a large one was moved from stays in memory.
    runtime.block_on(Box::pin(work))
}
