//! Takes a request through every check in PVE's order and runs what it starts. The
//! world is locked only for single steps; nothing waits while holding it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};

use crate::api::{self, Route};
use crate::auth::{Caller, authenticate};
use crate::call::{Answer, Call, Refusal};
use crate::drives::Drive;
use crate::faults::{Action, Faults, TaskFault};
use crate::options::Options;
use crate::permission;
use crate::request::Request;
use crate::requests::RequestLog;
use crate::schema::{Schema, check};
use crate::state::guest::Kind;
use crate::state::{NODE_BACKUP, World};
use crate::worker;

/// Conditions of the node that are set from outside.
#[derive(Debug)]
pub(crate) struct Switches {
    pub(crate) quorum: bool,
    /// Whether pvedaemon runs; pveproxy always does.
    pub(crate) daemon: bool,
    pub(crate) task_time: Duration,
    pub(crate) latency: Duration,
    /// Other nodes of the cluster that do not answer, and why.
    pub(crate) unreachable: BTreeMap<String, String>,
}

/// The double without its sockets.
pub(crate) struct Engine {
    pub(crate) options: Options,
    pub(crate) dir: PathBuf,
    world: Mutex<World>,
    pub(crate) drives: Mutex<Vec<Drive>>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) log: Mutex<RequestLog>,
    pub(crate) switches: Mutex<Switches>,
    pub(crate) tls: Mutex<Arc<ServerConfig>>,
    /// Counts restarts; every connection of an older count is dropped.
    pub(crate) restarts: watch::Sender<u64>,
    permits: Semaphore,
    schema: Arc<Schema>,
}

/// What the transport does with a call.
pub(crate) enum Outcome {
    Answer(Answer),
    /// Closes the connection without a word.
    Cut,
    /// Says nothing and keeps the connection.
    Silence,
}

impl Engine {
    pub(crate) fn new(options: Options, dir: PathBuf, world: World, tls: Arc<ServerConfig>) -> Self {
        let switches = Switches {
            quorum: true,
            daemon: true,
            task_time: options.task_time,
            latency: options.latency,
            unreachable: BTreeMap::new(),
        };
        Self {
            faults: Mutex::new(Faults::new(options.seed)),
            log: Mutex::default(),
            switches: Mutex::new(switches),
            tls: Mutex::new(tls),
            restarts: watch::Sender::new(0),
            permits: Semaphore::new(options.workers.max(1)),
            schema: Schema::shared(),
            world: Mutex::new(world),
            drives: Mutex::default(),
            options,
            dir,
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no step panics while it holds the world")
    }

    /// Changes the world and writes it down.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let result = change(&mut world);
        self.persist(&world);
        result
    }

    fn persist(&self, world: &World) {
        if self.options.dir.is_some() {
            let bytes = serde_json::to_vec(world).expect("the world is plain data");
            // A full disk must not take the double down; the next change tries again.
            let _ = crate::files::write_private(&self.dir.join(STATE), &bytes);
        }
    }

    /// One call, faults included.
    pub(crate) async fn handle(self: &Arc<Self>, request: Request) -> Outcome {
        let path = request.path_text();
        let actions = self.faults.lock().expect("short").strike(&request.method, &path);
        let ticket = self.log.lock().expect("short").arrived(&request.method, &path, &request.params);
        let outcome = self.with_faults(request, actions).await;
        let status = match &outcome {
            Outcome::Answer(Ok(_)) => 200,
            Outcome::Answer(Err(refusal)) => refusal.status,
            Outcome::Cut | Outcome::Silence => 0,
        };
        self.log.lock().expect("short").answered(ticket, status);
        outcome
    }

    async fn with_faults(self: &Arc<Self>, request: Request, actions: Vec<Action>) -> Outcome {
        let mut delay = Duration::ZERO;
        let mut task_fault = None;
        let mut after = None;
        for action in actions {
            match action {
                Action::Refuse(status, text) => return Outcome::Answer(Err(spoken(status, &text))),
                Action::CloseBefore => return Outcome::Cut,
                Action::Drop => return Outcome::Silence,
                Action::Delay(ms) => delay += Duration::from_millis(ms),
                Action::Task(fault) => task_fault = Some(fault),
                Action::ApplyThenAnswer(status, text) => {
                    after = Some(Outcome::Answer(Err(spoken(status, &text))));
                }
                Action::CloseAfter => after = Some(Outcome::Cut),
            }
        }
        // On its own task: a client that hangs up does not stop what it asked for.
        let engine = Arc::clone(self);
        let work = tokio::spawn(async move { engine.answer(request, delay, task_fault).await });
        let answer = match tokio::time::timeout(self.options.proxy_timeout, work).await {
            Ok(done) => done.expect("handlers do not panic"),
            Err(_) => Err(Refusal::bare(596, "Connection timed out")),
        };
        after.unwrap_or(Outcome::Answer(answer))
    }

    async fn answer(
        self: &Arc<Self>,
        mut request: Request,
        delay: Duration,
        fault: Option<TaskFault>,
    ) -> Answer {
        let caller = self.authenticate(&request).await?;
        let path = request.path_text();
        let unknown = || Refusal::new(501, format!("Method '{} {path}' not implemented", request.method));
        let (route, bound) = api::find(&request.method, &request.segments).ok_or_else(unknown)?;
        let schema = self.schema.call(route.method, route.template).ok_or_else(unknown)?;
        request.params.extend(bound);
        permission::check(&schema.permissions, &caller, &request.params)?;
        self.reachable(&request, schema.protected)?;
        check::check(schema, &request.params)?;
        self.writable(route)?;
        let kind = if route.template.contains("/qemu") { Kind::Qemu } else { Kind::Lxc };
        let call = Call { params: request.params, caller, kind };
        tokio::time::sleep(delay).await;
        self.wait_for_turn().await;
        self.run(route, &call, fault).await
    }

    async fn authenticate(&self, request: &Request) -> Result<Caller, Refusal> {
        let verdict = authenticate(request.authorization.as_deref(), &self.world().tokens);
        if verdict.is_err() {
            tokio::time::sleep(self.options.auth_delay).await;
        }
        verdict
    }

    /// The latency is spent by one of few workers, so that many callers queue.
    async fn wait_for_turn(&self) {
        let latency = self.switches.lock().expect("short").latency;
        if !latency.is_zero() {
            let _permit = self.permits.acquire().await;
            tokio::time::sleep(latency).await;
        }
    }

    fn reachable(&self, request: &Request, protected: bool) -> Result<(), Refusal> {
        let switches = self.switches.lock().expect("short");
        if let Some(node) = request.params.get("node") {
            if let Some(reason) = switches.unreachable.get(node) {
                return Err(Refusal::bare(595, reason.clone()));
            }
            if *node != self.options.node {
                return Err(Refusal::die(format!(
                    "hostname lookup '{node}' failed - failed to get address info for: {node}: Temporary failure in name resolution"
                )));
            }
        }
        if protected && !switches.daemon { Err(Refusal::bare(595, "Connection refused")) } else { Ok(()) }
    }

    fn writable(&self, route: &Route) -> Result<(), Refusal> {
        let quorum = self.switches.lock().expect("short").quorum;
        match quorum || route.method == "GET" {
            true => Ok(()),
            false => Err(Refusal::die("cluster not ready - no quorum?")),
        }
    }

    async fn run(self: &Arc<Self>, route: &Route, call: &Call, fault: Option<TaskFault>) -> Answer {
        const HOLDER: &str = "request";
        let guest = if route.locks { Some(call.vmid()) } else { None };
        if let Some(vmid) = guest.filter(|vmid| self.world().guests.contains_key(vmid)) {
            self.flock(vmid, HOLDER).await.map_err(Refusal::die)?;
        }
        let mut world = self.world();
        let answer = (route.handler)(&mut world, call);
        if let Some(vmid) = guest.filter(|vmid| world.flocks.get(vmid).is_some_and(|h| h == HOLDER)) {
            world.flocks.remove(&vmid);
        }
        for mut worker in std::mem::take(&mut world.started) {
            // Forked under the lock: nobody gets between the call and its worker.
            if let Some(vmid) = worker.flock.filter(|vmid| !world.flocks.contains_key(vmid)) {
                world.flocks.insert(vmid, worker.upid.clone());
                worker.holds = true;
            }
            worker.fault.clone_from(&fault);
            tokio::spawn(worker::run(Arc::clone(self), worker));
        }
        if route.method != "GET" {
            self.persist(&world);
        }
        answer
    }

    /// Waits for a guest's configuration lock as long as PVE would.
    pub(crate) async fn flock(&self, vmid: u32, holder: &str) -> Result<(), String> {
        let deadline = Instant::now() + self.options.lock_timeout;
        loop {
            {
                let mut world = self.world();
                if let Entry::Vacant(free) = world.flocks.entry(vmid) {
                    free.insert(holder.to_owned());
                    return Ok(());
                }
                // A second backup waits for hours.
                if vmid != NODE_BACKUP && Instant::now() >= deadline {
                    let kind = world.guests.get(&vmid).map_or(Kind::Lxc, |g| g.kind);
                    return Err(format!("can't lock file '{}' - got timeout", kind.lock_file(vmid)));
                }
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// The state's file name.
pub(crate) const STATE: &str = "state.json";

/// A made-up refusal in the form its status has: 595 and beyond say it in the reason only.
fn spoken(status: u16, text: &str) -> Refusal {
    if status == 401 || status >= 595 {
        Refusal::bare(status, text)
    } else {
        Refusal::new(status, format!("{text}\n"))
    }
}
