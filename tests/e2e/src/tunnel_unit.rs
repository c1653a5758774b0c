//! systemd, as far as the tunnel's unit needs it: what the real unit says is started, with the double of cloudflared, this
//! test's addresses, and an edge to connect to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fake_pve::cloudflared::Edge;
use felhom_agent::host::tunnel::slots::UNIT;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::path_of;

/// The address that stands in the unit.
const IN_UNIT: &str = "127.0.0.1:20249";

/// The unit, and what it runs.
#[derive(Debug)]
pub struct TunnelUnit {
    root: PathBuf,
    metrics: SocketAddr,
    edge: Edge,
    run: Mutex<Run>,
}

#[derive(Debug, Default)]
struct Run {
    child: Option<Child>,
    ended: Option<ExitStatus>,
    starts: u32,
}

/// Installs the double as the box's cloudflared, of this version.
pub fn install_cloudflared(root: &Path, version: &str) {
    let at = root.join("usr/bin/cloudflared");
    let mut program = fs::read(path_of("fake-cloudflared")).expect("the double of cloudflared is built");
    program.extend_from_slice(format!("\nFAKE_CLOUDFLARED {version}\n").as_bytes());
    fs::create_dir_all(at.parent().expect("it lies in a folder")).expect("the root can be written");
    // As dpkg does: another file in its place, never the same one written over.
    let beside = at.with_extension("dpkg-new");
    fs::write(&beside, program).expect("the root can be written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    fs::rename(&beside, &at).expect("the root can be written");
}

impl TunnelUnit {
    /// A unit that has not been installed, and an edge of its own.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        Self::at(root, free.expect("there is a free port"))
    }

    /// The same, whose cloudflared tells of itself at this address.
    #[must_use]
    pub fn at(root: &Path, metrics: SocketAddr) -> Self {
        let edge = Edge::start((Ipv4Addr::LOCALHOST, 0).into()).expect("an edge on a free port");
        Self { root: root.to_owned(), metrics, edge, run: Mutex::default() }
    }

    /// Where its cloudflared tells of itself.
    #[must_use]
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// What it connects to.
    #[must_use]
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut run = self.run();
        run.look();
        run.child.as_ref().map(Child::id)
    }

    /// Ends its process, as somebody at the box might.
    pub fn end(&self) {
        self.run().end();
    }

    /// How often it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.run().starts
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_meant(args: &[&str]) -> bool {
        args.last() == Some(&UNIT)
    }

    pub(crate) fn systemctl(&self, args: &[&str]) -> Result<String, String> {
        let mut run = self.run();
        run.look();
        match args.iter().copied().find(|word| !word.starts_with("--quiet")) {
            Some("start") if run.child.is_none() => self.start(&mut run)?,
            Some("stop" | "disable") => run.end(),
            Some("show") => return Ok(run.shown()),
            _ => {}
        }
        Ok(String::new())
    }

    fn start(&self, run: &mut Run) -> Result<(), String> {
        let path = self.root.join("etc/systemd/system").join(UNIT);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let setting = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (exec, credential) = (setting("ExecStart"), setting("LoadCredential"));
        let (Some(exec), Some((name, source))) = (exec, credential.and_then(|line| line.split_once(':')))
        else {
            return Err(format!("{UNIT} says not what to start with what"));
        };
        // As systemd does, which the unit's own user can read and nobody else.
        let credentials = self.root.join("run/credentials").join(UNIT);
        fs::create_dir_all(&credentials).map_err(|error| error.to_string())?;
        fs::copy(self.below(source), credentials.join(name)).map_err(|error| error.to_string())?;
        let exec = exec
            .replace("%d", &credentials.display().to_string())
            .replace(IN_UNIT, &self.metrics.to_string());
        let mut words = exec.split_whitespace();
        let program = self.below(words.next().unwrap_or_default());
        let child = Command::new(program)
            .args(words)
            .env_clear()
            .env("TUNNEL_EDGE", self.edge.address().to_string())
            .env("FAKE_CLOUDFLARED_PARENT", std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        (run.child, run.ended) = (Some(child), None);
        run.starts += 1;
        Ok(())
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Run {
    fn look(&mut self) {
        if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            (self.child, self.ended) = (None, Some(ended));
        }
    }

    fn end(&mut self) {
        self.look();
        let Some(mut child) = self.child.take() else { return };
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        let _ = child.wait();
    }

    fn shown(&self) -> String {
        let (active, status) = match (&self.child, &self.ended) {
            (Some(_), _) => ("active", 0),
            (None, Some(ended)) => ("failed", ended.code().unwrap_or(0)),
            (None, None) => ("inactive", 0),
        };
        format!("ActiveState={active}\nExecMainStatus={status}\n")
    }
}

impl Drop for TunnelUnit {
    fn drop(&mut self) {
        self.run().end();
    }
}
