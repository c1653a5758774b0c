//! From configuration to a running hub: listeners, background work, an orderly end.

mod background;
mod door;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use background::{check, every, flush, tidy};
use door::Door;

use crate::auth::{Keys, PepperError};
use crate::backup;
use crate::config::{Config, ConfigError};
use crate::live::Live;
use crate::metrics;
use crate::poke;
use crate::pulse;
use crate::router::router;
use crate::state::AppState;
use crate::store::{Store, StoreError, host_state, hosts, ledger_heads};
use crate::tls::{self, TlsError};

/// How long running requests may take when the hub is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the hub does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum ServeError {
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    #[error("the pepper of the API keys cannot be used")]
    Pepper(#[from] PepperError),
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address}; is another hub running there?")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot use {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("another hub already serves {0}; stop it first")]
    InUse(PathBuf),
    #[error("a restore was cut short ({0}); run `felhom-hub restore` once more")]
    Restoring(PathBuf),
}

/// A running hub. Dropping it stops it without ceremony; [`Running::shutdown`] does it in order.
pub struct Running {
    /// Where HTTPS is served.
    pub local_addr: SocketAddr,
    /// Where plain HTTP is served, if it is.
    pub plain_addr: Option<SocketAddr>,
    /// Where numbers for Prometheus are served, if they are.
    pub metrics_addr: Option<SocketAddr>,
    /// `sha256:<hex>`, what agents know the hub by.
    pub pin: String,
    /// What the handlers see.
    pub state: AppState,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    permits: Arc<Semaphore>,
    connections_max: u32,
    _only: File,
}

impl Running {
    /// Calls `alive` within `patience` again and again, for as long as the store comes round.
    pub fn beat(&mut self, patience: Duration, alive: impl Fn() + Send + 'static) {
        let beating = pulse::beat(self.state.store.clone(), patience, self.stop.subscribe(), alive);
        self.tasks.push(tokio::spawn(beating));
    }

    /// Answers what is being answered, writes down what is only in memory, and ends.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        // Nobody waiting is no failure.
        let _ = self.stop.send(true);
        self.state.live.stop();
        for task in self.tasks {
            let _ = tokio::time::timeout(DRAIN, task).await;
        }
        // Every connection holds a permit: all of them back means that nobody is being answered any more.
        let all = self.permits.acquire_many(self.connections_max);
        let _ = tokio::time::timeout(DRAIN + Duration::from_secs(1), all).await;
        flush(&self.state).await
    }
}

/// Starts the hub.
pub async fn start(mut config: Config) -> Result<Running, ServeError> {
    config.check()?;
    make_folder(&config.data_dir)
        .map_err(|source| ServeError::File { path: config.data_dir.clone(), source })?;
    let only = claim(&config.data_dir)?;
    if let Some(rest) = backup::cut_short(&config.data_dir) {
        return Err(ServeError::Restoring(rest));
    }
    let identity = tls::identity(&config)?;
    let listener = listen(config.listen).await?;
    // Any free port was asked for: from here on it is this one, also where pages name the hub's address.
    config.listen = address(&listener, config.listen);
    let state = open(&config).await?;
    let plain = match config.listen_plain {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let (stop, stopped) = watch::channel(false);
    let local_addr = config.listen;
    let plain_addr =
        plain.as_ref().zip(config.listen_plain).map(|(listener, wanted)| address(listener, wanted));
    let service = router(state.clone());
    let permits = Arc::new(Semaphore::new(config.connections_max as usize));
    let acceptor = TlsAcceptor::from(identity.server);
    let door =
        Door { service, state: state.clone(), permits: Arc::clone(&permits), stopped: stopped.clone() };
    let mut tasks = vec![
        tokio::spawn(door.clone().accept(listener, Some(acceptor))),
        tokio::spawn(every(config.check_every_s, stopped.clone(), state.clone(), check)),
        tokio::spawn(every(config.flush_every_s, stopped.clone(), state.clone(), tidy)),
    ];
    tasks.extend(plain.map(|listener| tokio::spawn(door.accept(listener, None))));
    let listener = poke::listen(&config.data_dir)
        .map_err(|source| ServeError::File { path: poke::path(&config.data_dir), source })?;
    tasks.push(tokio::spawn(poke::answer(listener, state.clone(), stopped.clone())));
    let metrics_addr = match state.config.metrics_listen {
        Some(address) => Some(serve_metrics(address, &state, stopped.clone(), &mut tasks).await?),
        None => None,
    };
    let (pin, connections_max) = (identity.pin, config.connections_max);
    Ok(Running {
        local_addr,
        plain_addr,
        metrics_addr,
        pin,
        state,
        stop,
        tasks,
        permits,
        connections_max,
        _only: only,
    })
}

/// Takes the data folder for this process, for as long as the file stays open. Two hubs on one database would each
/// keep their own idea of who was heard, and wake only their own polls.
pub(crate) fn claim(folder: &Path) -> Result<File, ServeError> {
    let path = folder.join("hub.lock");
    let failed = |source| ServeError::File { path: path.clone(), source };
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes the data folder, for its owner alone: database, key and pepper lie in it.
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Store and memory, without serving: for the command line and for tests of single handlers.
pub async fn open(config: &Config) -> Result<AppState, ServeError> {
    let store = Store::open(&config.data_dir, config.commit)?;
    let keys = Keys::open(&config.data_dir)?;
    let (changes, _) = broadcast::channel(1024);
    let (config, live, reloading) = (Arc::new(config.clone()), Live::default(), Arc::default());
    let state = AppState { store, config, live, keys, counters: Arc::default(), changes, reloading };
    let read = |sql: &Connection| Ok((hosts::list(sql)?, host_state::stored(sql)?, ledger_heads::all(sql)?));
    let (hosts, states, ledgers) = state.store.read(read).await?;
    hosts.iter().for_each(|host| state.live.remember_seen(host.host_id, host.last_seen_ms));
    states.into_iter().for_each(|(host_id, report_id, digest)| state.live.stored(host_id, report_id, digest));
    ledgers.into_iter().for_each(|(host_id, furthest)| state.live.set_ledger(host_id, furthest));
    state.reload_all().await?;
    Ok(state)
}

/// Numbers for whoever is on this machine. A door of its own: nothing else is behind it.
async fn serve_metrics(
    wanted: SocketAddr,
    state: &AppState,
    mut stopped: watch::Receiver<bool>,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Result<SocketAddr, ServeError> {
    let listener = listen(wanted).await?;
    let at = address(&listener, wanted);
    let router = metrics::open_router(state.clone());
    let until_stopped = async move { drop(stopped.changed().await) };
    tasks.push(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until_stopped).await {
            tracing::error!("metrics are no longer served: {error}");
        }
    }));
    Ok(at)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

fn address(listener: &TcpListener, wanted: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(wanted)
}
