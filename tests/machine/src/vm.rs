//! The slow ground with everything of its own: kernel, clock, memory, disks, and a power button.
//!
//! qemu emulates it (TCG), so it needs no help of the processor's. Two ways up: booted, for what a power cut does, or woken
//! from a snapshot, for everything else. Its own disks are virtio disks, because qemu can neither put an NVMe disk to sleep
//! nor trust it with a power cut; NVMe disks are plugged in. Its only network is a port of it on our loopback.

mod disk;
mod qemu;
mod snapshot;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::machine::{Answer, Ground};
use crate::monitor::Monitor;
use crate::store::Store;
use disk::Overlay;
use qemu::{Plan, Qemu, SLOTS};

const BOOT_PATIENCE: Duration = Duration::from_secs(300);
const PULL_PATIENCE: Duration = Duration::from_secs(60);
/// Longest script; the watch is on the script, not on the machine.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(600);

/// What a plugged disk is made of.
#[derive(Debug, Clone, Copy)]
pub enum Medium<'a> {
    /// A file that is read and written.
    Good(&'a Path),
    /// One that nobody may write to.
    ReadOnly(&'a Path),
    /// One that answers with an error where it should read this sector of 512 bytes.
    BadSector(&'a Path, u64),
}

impl Medium<'_> {
    fn node(self) -> Value {
        let file = |file: &Path| json!({ "driver": "file", "filename": file.display().to_string() });
        match self {
            Self::Good(path) => json!({ "driver": "raw", "cache": { "direct": false }, "file": file(path) }),
            Self::ReadOnly(path) => {
                let mut below = file(path);
                below["read-only"] = true.into();
                json!({ "driver": "raw", "read-only": true, "file": below })
            }
            Self::BadSector(path, sector) => {
                json!({ "driver": "raw", "file": { "driver": "blkdebug", "image": file(path),
                "inject-error": [{ "event": "none", "iotype": "read", "errno": 5, "sector": sector }] } })
            }
        }
    }
}

/// A virtual machine.
pub struct Vm {
    store: Store,
    folder: PathBuf,
    power: Mutex<Option<Running>>,
    disks: Vec<Overlay>,
    hub_port: u16,
}

/// A machine that has power.
struct Running {
    qemu: Qemu,
    inside: Monitor,
}

impl Vm {
    /// A VM with disks of its own, switched off. What it writes lasts for as long as this value.
    #[must_use]
    pub(crate) fn off(store: &Store, folder: &Path) -> Self {
        let disks = vec![
            Overlay::over(&store.root_image(), "raw", &folder.join("root.qcow2")),
            Overlay::fresh(&folder.join("pve.qcow2"), "256M"),
        ];
        Self::with_disks(store, folder, disks)
    }

    fn with_disks(store: &Store, folder: &Path, disks: Vec<Overlay>) -> Self {
        Self {
            store: store.clone(),
            folder: folder.to_owned(),
            power: Mutex::new(None),
            disks,
            hub_port: free_port(),
        }
    }

    /// Boots it and waits until it answers.
    pub fn power_on(&self) {
        self.adopt(self.start(None));
    }

    /// Takes the power away: what the disks had not been told to keep is gone.
    pub fn cut_power(&self) {
        drop(self.take_power());
        self.disks.iter().for_each(Overlay::settle);
    }

    /// A VM woken from the snapshot, which the first caller makes.
    pub(crate) fn wake(store: &Store, folder: &Path) -> Self {
        let snapshot = snapshot::snapshot(store);
        let disks = vec![Overlay::over(&snapshot.root, "qcow2", &folder.join("root.qcow2"))];
        let vm = Self::with_disks(store, folder, disks);
        vm.adopt(vm.start(Some(&snapshot.state)));
        // It slept for as long as the snapshot is old.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        let set = json!({ "time": u64::try_from(now.as_nanos()).expect("before the year 2554") });
        vm.with(|running| running.inside.must("guest-set-time", &set));
        vm
    }

    fn start(&self, state: Option<&Path>) -> Qemu {
        Qemu::start(
            &self.store,
            &Plan { folder: &self.folder, hub_port: self.hub_port, disks: &self.disks, state },
        )
    }

    /// Waits until it answers, and gives it the packages and the double.
    fn adopt(&self, qemu: Qemu) {
        self.greet(qemu);
        let mounted = self.run("mountpoint -q /opt/felhom || mount /opt/felhom", b"");
        assert!(mounted.well(), "the payload's disk: {mounted:?}");
    }

    fn greet(&self, qemu: Qemu) {
        let mut inside = Monitor::connect(&qemu.agent_socket(), Duration::from_secs(20));
        inside.sync(BOOT_PATIENCE);
        *self.power() = Some(Running { qemu, inside });
    }

    fn power(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        // A test that panicked in the middle of a question still wants its journal.
        self.power.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take_power(&self) -> Running {
        self.power().take().expect("it has power")
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Running) -> T) -> T {
        ask(self.power().as_mut().expect("it has power"))
    }

    /// Plugs an NVMe disk with this serial into a free slot. `file` is its content, raw.
    #[track_caller]
    pub fn plug(&self, slot: usize, serial: &str, file: &Path) {
        self.plug_medium(slot, serial, Medium::Good(file));
    }

    /// An NVMe disk that is not as it should be; a read-only one is a virtio disk, because qemu's NVMe cannot be that.
    #[track_caller]
    pub fn plug_medium(&self, slot: usize, serial: &str, medium: Medium<'_>) {
        let driver = if matches!(medium, Medium::ReadOnly(_)) { "virtio-blk-pci" } else { "nvme" };
        self.plug_as(driver, slot, serial, medium);
    }

    /// The same as a virtio disk. Two of them may say the same serial, where the kernel turns a second NVMe disk away.
    #[track_caller]
    pub fn plug_virtio(&self, slot: usize, serial: &str, file: &Path) {
        self.plug_as("virtio-blk-pci", slot, serial, Medium::Good(file));
    }

    #[track_caller]
    fn plug_as(&self, driver: &str, slot: usize, serial: &str, medium: Medium<'_>) {
        assert!(slot < SLOTS, "there are {SLOTS} slots");
        let mut node = medium.node();
        node["node-name"] = format!("plug{slot}").into();
        let disk = json!({ "driver": driver, "id": format!("disk{slot}"), "bus": format!("slot{slot}"),
            "drive": format!("plug{slot}"), "serial": serial });
        self.with(|running| {
            running.qemu.monitor.must("blockdev-add", &node);
            running.qemu.monitor.must("device_add", &disk);
        });
    }

    /// Pulls the disk out of its slot, and waits until it is out.
    #[track_caller]
    pub fn pull(&self, slot: usize) {
        self.with(|running| {
            running.qemu.monitor.must("device_del", &json!({ "id": format!("disk{slot}") }));
            let gone = json!({ "node-name": format!("plug{slot}") });
            let deadline = Instant::now() + PULL_PATIENCE;
            // The block node is in use for as long as the disk is in its slot.
            while let Err(error) = running.qemu.monitor.ask("blockdev-del", &gone) {
                assert!(Instant::now() < deadline, "{error}");
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }

    /// A folder for files of this machine's, as the contents of disks.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port on our loopback that leads to its hub.
    #[must_use]
    pub fn hub_port(&self) -> u16 {
        self.hub_port
    }
}

impl Ground for Vm {
    fn run(&self, script: &str, stdin: &[u8]) -> Answer {
        self.with(|running| {
            let inside = &mut running.inside;
            let arguments = json!({
                "path": "/bin/sh", "arg": ["-c", script], "capture-output": true,
                "input-data": BASE64.encode(stdin),
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                        "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"],
            });
            let started = inside.must("guest-exec", &arguments);
            let deadline = Instant::now() + SCRIPT_PATIENCE;
            let mut pause = Duration::from_millis(5);
            loop {
                let status = inside.must("guest-exec-status", &json!({ "pid": started["pid"] }));
                if status["exited"] == true {
                    return answer(&status);
                }
                assert!(Instant::now() < deadline, "{SCRIPT_PATIENCE:?} were not enough for\n{script}");
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        })
    }
}

fn answer(status: &Value) -> Answer {
    let text = |field: &str| {
        let bytes = BASE64.decode(status[field].as_str().unwrap_or_default().as_bytes());
        String::from_utf8_lossy(&bytes.expect("the agent inside sends base64")).into_owned()
    };
    let number = |field: &str| status[field].as_i64().and_then(|number| i32::try_from(number).ok());
    let code = number("exitcode").or_else(|| number("signal").map(|signal| 128 + signal));
    Answer { code: code.unwrap_or(-1), out: text("out-data"), err: text("err-data") }
}

/// A port that nobody has; between this and qemu's start somebody might, and then qemu says so.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}
