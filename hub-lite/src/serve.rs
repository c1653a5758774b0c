//! From configuration to a running hub: listeners, background work, an orderly end.
//!
//! Connections are served by hyper directly: a parked long poll is one task with small buffers, and tens of
//! thousands of them are the hub's ordinary state.

use std::fs::{File, TryLockError};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use felhom_shared::id::HostId;
use felhom_shared::wire::POLL_PATH;
use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rusqlite::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use crate::api::host::poll;
use crate::auth::{Keys, PepperError};
use crate::backup;
use crate::checks::{staleness, undelivered};
use crate::clock::now_ms;
use crate::config::{Config, ConfigError};
use crate::live::Live;
use crate::metrics;
use crate::poke;
use crate::pulse;
use crate::router::router;
use crate::state::AppState;
use crate::store::{
    Store, StoreError, host_metrics, host_reports, host_state, hosts, ledger_heads, sessions, signed_ops,
};
use crate::tls::{self, TlsError};
use felhom_shared::text::chain;

/// A client that sends nothing for this long while it should is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for request head and body pieces; hyper's default of 400 KiB would be held by every upload.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// How long running requests may take when the hub is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long a forgotten session lies in the table.
const SESSION_KEPT_DAYS: i64 = 7;
/// How long it can be looked up what became of a signed operation.
const SIGNED_OPS_KEPT_DAYS: i64 = 400;

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

/// What every listener lets clients through.
#[derive(Clone)]
struct Door {
    service: Router,
    state: AppState,
    permits: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Door {
    async fn accept(mut self, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.stopped.changed() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors: closing connections is what helps, so wait for that.
                    tracing::warn!("a connection could not be taken: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { continue };
            // A delayed small answer would cost every agent 40 ms; a failure here only costs that.
            let _ = stream.set_nodelay(true);
            // Two tasks rather than one that can do both: ten thousand of them are parked.
            match acceptor.clone() {
                None => tokio::spawn(self.clone().serve(stream, peer, permit)),
                Some(acceptor) => tokio::spawn(self.clone().serve_tls((stream, peer), acceptor, permit)),
            };
        }
    }

    async fn serve_tls(
        self,
        (stream, peer): (TcpStream, SocketAddr),
        acceptor: TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        // Boxed: the room for a handshake would be held as long as the connection lasts.
        match Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))).await {
            Ok(Ok(stream)) => self.serve(Box::new(stream), peer, permit).await,
            Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Serves one connection; the permit is given back when it ends.
    async fn serve<S>(mut self, stream: S, peer: SocketAddr, _permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, state) = (self.service, self.state);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if is_poll(&request) {
                return Either::Left(poll::poll(request.into_parts().0, state.clone()).map(Ok));
            }
            // Only the pages ask who is knocking.
            if !request.uri().path().starts_with("/api/") {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            Either::Right(router.clone().call(request))
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(READ_BUFFER_BYTES)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = self.stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                match Box::pin(tokio::time::timeout(DRAIN, connection)).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended early: {error}");
        }
    }
}

/// Whether a request goes past the router, to where the router would send it.
fn is_poll(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET && request.uri().path() == POLL_PATH
}

/// Runs a piece of work again and again until the hub stops. A failure is logged and tried again.
async fn every<F, W>(seconds: u64, mut stopped: watch::Receiver<bool>, state: AppState, work: W)
where
    F: Future<Output = Result<(), StoreError>> + Send,
    W: Fn(AppState) -> F + Send,
{
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = work(state.clone()).await {
            tracing::error!("background work failed, it is tried again: {}", chain(&error));
        }
    }
}

async fn check(state: AppState) -> Result<(), StoreError> {
    // The poke of a command line may have got lost; a key that was taken away must not outlive this.
    state.keys.forget();
    state.reload_all().await?;
    undelivered::check(&state).await?;
    staleness::check(&state).await
}

async fn tidy(state: AppState) -> Result<(), StoreError> {
    flush(&state).await?;
    let before_ms = now_ms() - i64::from(state.config.keep_reports_days) * DAY_MS;
    // Whether a session still counts is the pages' decision; one this old counts for nobody.
    let session_before_ms = now_ms() - SESSION_KEPT_DAYS * DAY_MS;
    let ops_before_ms = now_ms() - SIGNED_OPS_KEPT_DAYS * DAY_MS;
    let pruned = state.store.write(move |sql| {
        host_reports::prune(sql, before_ms)?;
        signed_ops::prune(sql, ops_before_ms)?;
        sessions::prune(sql, session_before_ms, session_before_ms)
    });
    pruned.await.map(drop)
}

/// Writes down what is only in memory. An idle hub writes nothing.
async fn flush(state: &AppState) -> Result<(), StoreError> {
    let unwritten = state.live.take_unwritten();
    if unwritten.is_empty() {
        return Ok(());
    }
    let host_ids: Vec<HostId> = unwritten.iter().map(|host| host.host_id).collect();
    let written = state.store.write(move |sql| {
        for host in &unwritten {
            hosts::set_last_seen(sql, host.host_id, host.last_seen_ms)?;
            if let Some(sample) = &host.sample {
                host_metrics::put(sql, host.host_id, sample)?;
            }
        }
        Ok(())
    });
    written.await.inspect_err(|_| state.live.not_written(&host_ids))
}
