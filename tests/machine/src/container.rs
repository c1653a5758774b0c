//! The quick ground: the prepared root under an overlay, booted by systemd-nspawn.
//!
//! It has systemd, journald, apt and a network of its own with nothing but loopback. It has the test machine's kernel:
//! no clock, modules or memory limits of its own (those are the VM's business).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::evidence::CONSOLE;
use crate::machine::{Answer, Ground};
use crate::store::{Store, make};

const BOOT_PATIENCE: Duration = Duration::from_secs(60);
/// The whole environment of what runs inside.
const ENVIRONMENT: [&str; 4] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
];

pub(crate) struct Container {
    nspawn: Child,
    /// systemd inside, by its number outside.
    leader: u32,
    mount: Overlay,
}

impl Container {
    pub(crate) fn boot(store: &Store, folder: &Path) -> Self {
        let mount = Overlay::mount(&[store.payload(), store.root()], folder);
        let log = File::create(folder.join(CONSOLE)).expect("the machine's folder can be written");
        let mut nspawn = Command::new("setpriv")
            // A test that is killed takes its machine with it.
            .args([
                "--pdeathsig",
                "KILL",
                "systemd-nspawn",
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
            ])
            .args(["--private-network", "--console=pipe", "--machine=box", "--directory"])
            .arg(&mount.at)
            .env("SYSTEMD_LOG_LEVEL", "warning")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            .spawn()
            .expect("systemd-nspawn is installed");
        let leader = find_leader(&mut nspawn);
        let container = Self { nspawn, leader, mount };
        container.wait_until_up();
        container
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + BOOT_PATIENCE;
        loop {
            let state = self.run("systemctl is-system-running", b"");
            if ["running", "degraded"].contains(&state.out.trim()) {
                return;
            }
            assert!(Instant::now() < deadline, "the container does not come up: {state:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// nspawn's child in another PID namespace is the machine's systemd.
fn find_leader(nspawn: &mut Child) -> u32 {
    let deadline = Instant::now() + BOOT_PATIENCE;
    let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
    loop {
        let text = fs::read_to_string(&children).unwrap_or_default();
        let is_init = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
        };
        if let Some(leader) = text.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_init) {
            return leader;
        }
        let ended = nspawn.try_wait().expect("it is our child");
        assert!(ended.is_none(), "systemd-nspawn ended ({ended:?}); its console log says why");
        assert!(Instant::now() < deadline, "systemd-nspawn starts nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Ground for Container {
    fn run(&self, script: &str, stdin: &[u8]) -> Answer {
        let mut child = Command::new("nsenter")
            .args(["--target", &self.leader.to_string(), "--all", "--wdns=/", "--", "/usr/bin/env", "-i"])
            .args(ENVIRONMENT)
            .args(["/bin/sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter is installed");
        let mut input = child.stdin.take().expect("a pipe was asked for");
        let bytes = stdin.to_owned();
        // A script that reads nothing closes the pipe; that is its right.
        let feeding = std::thread::spawn(move || input.write_all(&bytes));
        let output = child.wait_with_output().expect("it is our child");
        let _ = feeding.join();
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        Answer {
            code: output.status.code().unwrap_or(128 + signal.unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The end of its init is the end of everything in it; nspawn then cleans up and ends too.
        let _ = kill(Pid::from_raw(self.leader.cast_signed()), Signal::SIGKILL);
        let _ = self.nspawn.wait();
        self.mount.unmount();
    }
}

/// The root as it looks to this machine: what it writes lies in its own folder.
struct Overlay {
    folder: PathBuf,
    at: PathBuf,
}

impl Overlay {
    fn mount(lower: &[PathBuf], folder: &Path) -> Self {
        let [upper, work, at] = ["upper", "work", "root"].map(|name| folder.join(name));
        [&upper, &work, &at].into_iter().for_each(|path| make(path));
        let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
        let status =
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&at).status();
        assert!(status.is_ok_and(|status| status.success()), "the overlay cannot be mounted: {layers}");
        Self { folder: folder.to_owned(), at }
    }

    fn unmount(&self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(&self.at).status();
        for part in ["upper", "work", "root"] {
            let _ = fs::remove_dir_all(self.folder.join(part));
        }
    }
}
