//! Sockets and threads. The double runs on a thread and a runtime of its own, so that
//! neither a blocked nor a killed client can hold it up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::control::Control;
use crate::engine::{Engine, STATE};
use crate::options::Options;
use crate::schema::{Schema, SchemaSource};
use crate::state::World;
use crate::{StartError, api, cert, control_http, files, transport};

/// A running double. Dropping it stops it.
#[derive(Debug)]
pub struct FakePve {
    control: Control,
    address: SocketAddr,
    control_address: Option<SocketAddr>,
    token: String,
    dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _temporary: Option<tempfile::TempDir>,
}

/// Requests after which pveproxy closes a connection.
const REQUESTS_PER_CONNECTION: u32 = 100;

impl FakePve {
    /// Starts a double and waits until it listens.
    ///
    /// # Errors
    /// Where the directory, the certificate or an address cannot be had.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let temporary = match &options.dir {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(StartError::Temporary)?),
        };
        let dir = temporary
            .as_ref()
            .map(|t| t.path().to_owned())
            .or_else(|| options.dir.clone())
            .expect("one of the two");
        std::fs::create_dir_all(&dir).map_err(|source| StartError::File { path: dir.clone(), source })?;
        let identity = cert::load_or_make(&dir, &options.node)?;
        let mut world = load(&options, &dir)?;
        world.fingerprint = identity.fingerprint;
        let token = world.tokens[&options.token_id].header_value();
        let (listen, control_listen) = (options.listen, options.control);
        let engine = Arc::new(Engine::new(options, dir.clone(), world, identity.tls));
        engine.change(|_| ());
        let sockets = Sockets::bind(listen, control_listen)?;
        let (address, control_address) = (sockets.address, sockets.control_address);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fake-pve")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let thread = std::thread::spawn({
            let engine = Arc::clone(&engine);
            move || {
                runtime.block_on(run(engine, sockets, stopped));
                runtime.shutdown_timeout(Duration::from_millis(200));
            }
        });
        let control = Control::new(engine);
        Ok(Self {
            control,
            address,
            control_address,
            token,
            dir,
            stop: Some(stop),
            thread: Some(thread),
            _temporary: temporary,
        })
    }

    /// `https://127.0.0.1:PORT`, without the path.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the control interface listens, if it does.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// The certificate as a PEM file, to be pinned.
    #[must_use]
    pub fn cert_path(&self) -> PathBuf {
        self.dir.join(cert::CERTIFICATE)
    }

    /// The full token: `user@realm!id=UUID`.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The handle that makes things happen.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Which schema requests are checked against.
    #[must_use]
    pub fn schema_source(&self) -> SchemaSource {
        Schema::shared().source.clone()
    }

    /// How many calls it answers.
    #[must_use]
    pub fn calls_supported(&self) -> usize {
        api::ROUTES.len()
    }

    /// Stops it and waits for its thread.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FakePve {
    fn drop(&mut self) {
        self.end();
    }
}

/// The state of an earlier run in this directory, or a fresh node.
fn load(options: &Options, dir: &Path) -> Result<World, StartError> {
    let path = dir.join(STATE);
    if options.dir.is_none() || !path.exists() {
        return Ok(options.world());
    }
    let bytes = std::fs::read(&path).map_err(|source| StartError::File { path: path.clone(), source })?;
    let mut world: World =
        serde_json::from_slice(&bytes).map_err(|source| StartError::State { path, source })?;
    world.broadcast.period = options.broadcast_period;
    if !world.tokens.contains_key(&options.token_id) {
        return Err(StartError::OtherToken(options.token_id.clone()));
    }
    world.after_crash(false);
    Ok(world)
}

struct Sockets {
    api: std::net::TcpListener,
    control: Option<std::net::TcpListener>,
    address: SocketAddr,
    control_address: Option<SocketAddr>,
}

impl Sockets {
    fn bind(api: SocketAddr, control: Option<SocketAddr>) -> Result<Self, StartError> {
        let bind = |address: SocketAddr| {
            if !address.ip().is_loopback() {
                return Err(StartError::NotLoopback(address));
            }
            let failed = |source| StartError::Listen { address, source };
            let listener = std::net::TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok((listener, bound))
        };
        let (api, address) = bind(api)?;
        let (control, control_address) = control.map(bind).transpose()?.unzip();
        Ok(Self { api, control, address, control_address })
    }
}

async fn run(engine: Arc<Engine>, sockets: Sockets, stopped: oneshot::Receiver<()>) {
    let listener = TcpListener::from_std(sockets.api).expect("a bound, non-blocking socket");
    if let Some(control) = sockets.control {
        let listener = TcpListener::from_std(control).expect("a bound, non-blocking socket");
        tokio::spawn(control_http::run(Control::new(Arc::clone(&engine)), listener));
    }
    tokio::spawn(broadcast(Arc::clone(&engine)));
    tokio::select! {
        () = accept(engine, listener) => {}
        // A dropped handle stops the double as well.
        _ = stopped => {}
    }
}

/// pvestatd: tells the cluster about the guests once a period.
async fn broadcast(engine: Arc<Engine>) {
    let period = engine.options.broadcast_period;
    if period.is_zero() {
        return;
    }
    loop {
        api::refresh_broadcast(&mut engine.world());
        tokio::time::sleep(period).await;
    }
}

async fn accept(engine: Arc<Engine>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(Arc::clone(&engine), stream));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// What the idle watch sees of a connection.
struct Activity {
    since: Instant,
    last_ms: AtomicU64,
    open: AtomicU32,
    served: AtomicU32,
}

impl Activity {
    fn touch(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        if self.open.load(Ordering::Relaxed) > 0 {
            Duration::ZERO
        } else {
            self.since.elapsed().saturating_sub(last)
        }
    }
}

async fn connection(engine: Arc<Engine>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let tls = Arc::clone(&engine.tls.lock().expect("short"));
    let mut restarts = engine.restarts.subscribe();
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let keep_alive = engine.options.keep_alive;
    let activity = Arc::new(Activity {
        since: Instant::now(),
        last_ms: AtomicU64::new(0),
        open: AtomicU32::new(0),
        served: AtomicU32::new(0),
    });
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request| {
            let (engine, activity) = (Arc::clone(&engine), Arc::clone(&activity));
            async move {
                activity.open.fetch_add(1, Ordering::Relaxed);
                let last = activity.served.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_PER_CONNECTION;
                let response = transport::serve(engine, request, last).await;
                activity.open.fetch_sub(1, Ordering::Relaxed);
                activity.touch();
                response
            }
        }
    });
    let mut connection =
        std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    loop {
        let left = keep_alive.saturating_sub(activity.idle()).max(Duration::from_millis(5));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = restarts.changed() => return,
            () = tokio::time::sleep(left) => {
                if activity.idle() >= keep_alive {
                    return;
                }
            }
        }
    }
}

/// Notes addresses and the token where a person or a script looks for them.
pub(crate) fn write_addresses(fake: &FakePve) -> Result<(), StartError> {
    files::write_private(&fake.dir.join("token"), format!("{}\n", fake.token).as_bytes())?;
    files::write_atomic(&fake.dir.join("address"), format!("{}\n", fake.address).as_bytes())?;
    match fake.control_address {
        Some(address) => {
            files::write_atomic(&fake.dir.join("control-address"), format!("{address}\n").as_bytes())
        }
        None => Ok(()),
    }
}
