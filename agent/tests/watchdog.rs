//! What systemd's watchdog hears: an agent that comes on is heard, and one whose loop is stuck falls silent, whatever
//! else still moves in it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fake_pve::{FakePve, Fault, Options};
use felhom_agent::accept::Accepted;
use felhom_agent::cycle::Cycle;
use felhom_agent::daemon::Daemon;
use felhom_agent::hub::Hub;
use felhom_agent::observe::Observer;
use felhom_agent::ops::Ops;
use felhom_agent::pve::{ApiToken, Pve};
use felhom_agent::state::State;
use felhom_agent::tls::{PinSource, client_config, parse_pin};
use felhom_shared::desired::{DesiredState, digest};
use felhom_shared::id::{Generation, HostId};
use felhom_shared::key::{ApiKey, KeyKind};

mod small_hub;

use small_hub::SmallHub;

const HOST_ID: &str = "fe110000-0000-4000-8000-000000000001";
const DOCUMENT: &str = r#"{"version": 1, "identity": {"name": "test-house"}, "guests": [
  {"guest_id": "701e2d01-0000-4000-8000-000000000001", "vmid": 101, "kind": "lxc", "name": "web", "cores": 2, "memory_mib": 1024,
   "source": {"template": {"storage": "local", "file": "debian-12-standard_12.12-1_amd64.tar.zst"}},
   "disks": {"rootfs": {"storage": "local-lvm", "size_gib": 8}}, "networks": {"net0": {"bridge": "vmbr0", "ip": "dhcp"}}}]}"#;
const PATIENCE: Duration = Duration::from_secs(30);
/// An agent that this hub keeps turning is heard every second.
const SILENCE: Duration = Duration::from_secs(4);

fn hub_key() -> ApiKey {
    ApiKey::from_random(KeyKind::Host, [1; 10], &[2; 32])
}

/// The program as systemd starts it: with a socket for its notes.
struct Supervised {
    child: Child,
    socket: UnixDatagram,
}

impl Supervised {
    fn start(folder: &Path, node: &FakePve, hub: &SmallHub) -> Self {
        let private = |name: &str, text: &str| {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        private("hub-key", hub_key().expose());
        private("pve-token", node.token());
        let at = folder.display();
        let config = format!(
            "host_id = \"{HOST_ID}\"\nstate_dir = \"{at}/state\"\n\n[hub]\nurl = \"{}\"\npins = [\"{}\"]\nkey_file = \"{at}/hub-key\"\n\n\
             [pve]\nurl = \"{}\"\ncertificate = \"{at}/pve.pem\"\ntoken_file = \"{at}/pve-token\"\n",
            hub.url(),
            hub.pin,
            node.base_url(),
        );
        private("agent.toml", &config);
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_felhom-agent"))
            .arg("--config")
            .arg(folder.join("agent.toml"))
            .arg("run")
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    /// The next note; `None` after a silence.
    fn note(&self) -> Option<String> {
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
    }

    fn expect_pulse(&self, beats: u32) {
        for _ in 0..beats {
            assert_eq!(self.note().as_deref(), Some("WATCHDOG=1"), "a live agent is heard");
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As /etc/pve is when its file system hangs: whoever opens the file waits.
fn replace_by_pipe(path: &Path) {
    let pipe = path.with_extension("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::rename(pipe, path).unwrap();
}

/// Lets the waiting reader have its file. Fails at once where nobody waits.
fn answer_pipe(path: &Path, text: &[u8]) {
    let pipe = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    pipe.expect("the agent waits for this file").write_all(text).unwrap();
}

#[test]
fn an_agent_that_is_stuck_falls_silent_and_is_heard_again_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (node, hub) = (FakePve::start(Options::default()).unwrap(), SmallHub::start());
    let certificate: PathBuf = folder.path().join("pve.pem");
    let another = rcgen::generate_simple_self_signed(["pve1".to_owned()]).unwrap();
    fs::write(&certificate, another.cert.pem()).unwrap();
    let agent = Supervised::start(folder.path(), &node, &hub);
    assert_eq!(agent.note().as_deref(), Some("READY=1"));
    // PVE is refused for its certificate: that is told and tried again, and is nothing to restart the agent for.
    agent.expect_pulse(3);
    replace_by_pipe(&certificate);
    let begun = Instant::now();
    while let Some(note) = agent.note() {
        assert_eq!(note, "WATCHDOG=1");
        assert!(begun.elapsed() < PATIENCE, "the next cycle opens the file, and the agent must fall silent");
    }
    answer_pipe(&certificate, &fs::read(node.cert_path()).unwrap());
    agent.expect_pulse(3);
}

/// The daemon's parts in this test's own process, with PVE's time limit out of the way.
fn daemon(folder: &Path, node: &FakePve, hub: &SmallHub) -> (Daemon, Pve) {
    let host_id: HostId = HOST_ID.parse().unwrap();
    let tls = client_config(PinSource::CertificateFile(node.cert_path())).unwrap();
    let token = ApiToken::new(node.token()).unwrap();
    let pve = Pve::new(&node.base_url(), &token, tls, Duration::from_secs(3600)).unwrap();
    let state = State::open(folder).unwrap();
    let bytes = DOCUMENT.as_bytes();
    let desired = DesiredState::from_json(bytes).unwrap();
    let accepted = Accepted { generation: Generation(1), digest: digest(bytes), desired };
    state.put_accepted(&accepted, bytes).unwrap();
    let tls = client_config(PinSource::SpkiPins(vec![parse_pin(&hub.pin).unwrap()])).unwrap();
    let to_hub = Hub::new(&hub.url(), &hub_key(), tls).unwrap();
    let ops = Ops::new(host_id, None, state.clone());
    let cycle = Cycle::new(pve.clone(), state.clone(), ops, Observer::new(pve.clone(), None), 20);
    (Daemon::new(host_id, to_hub, pve.clone(), state, cycle), pve)
}

/// Runs `watch` beside a daemon whose beats it is given.
async fn beside(daemon: Daemon, watch: impl AsyncFnOnce(&dyn Fn() -> u32)) {
    let beats = Rc::new(std::cell::Cell::new(0));
    let count = Rc::clone(&beats);
    let told = || beats.get();
    let run = Box::pin(daemon.run(std::future::pending(), move || count.set(count.get() + 1)));
    tokio::select! {
        ended = run => panic!("it ended: {ended:?}"),
        () = watch(&told) => {}
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_step_that_never_ends_is_no_progress_though_the_hub_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (node, hub) = (FakePve::start(Options::default()).unwrap(), SmallHub::start());
    node.control().add_fault(Fault::on("POST", "*").always().swallow());
    let (daemon, _) = daemon(folder.path(), &node, &hub);
    beside(daemon, async |beats| {
        until("PVE has heard of the step", || node.control().counters().changing > 0).await;
        until("the hub has answered a poll beside the cycle", || hub.polls() > 0).await;
        // What had ended before may still be told.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let told = beats();
        tokio::time::sleep(SILENCE).await;
        assert_eq!(beats(), told);
    })
    .await;
}

#[tokio::test]
async fn a_task_that_takes_long_is_progress_as_long_as_pve_tells_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { task_time: Duration::from_secs(3600), ..Options::default() };
    let (node, hub) = (FakePve::start(options).unwrap(), SmallHub::start());
    let (daemon, pve) = daemon(folder.path(), &node, &hub);
    beside(daemon, async |beats| {
        until("PVE has heard of the step", || node.control().counters().changing > 0).await;
        let told = beats();
        until("three more beats while the task is waited for", || beats() >= told + 3).await;
        assert_eq!(pve.changing_requests(), 1, "the same step is still waited for");
        assert!(hub.polls() > 0, "the poll is parked at the hub beside the cycle");
    })
    .await;
}
