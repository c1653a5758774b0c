//! One qemu process: how it is started, put to sleep, and ended by its own id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::disk::Overlay;
use crate::evidence::CONSOLE;
use crate::monitor::Monitor;
use crate::store::Store;

const MEMORY_MIB: u32 = 768;
/// Hot-plug slots for NVMe disks.
pub(super) const SLOTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// What one machine is made of.
pub(super) struct Plan<'a> {
    /// For sockets and logs.
    pub(super) folder: &'a Path,
    /// The port on our loopback that leads to port 8443 inside.
    pub(super) hub_port: u16,
    /// The first is the root.
    pub(super) disks: &'a [Overlay],
    /// Where it lies asleep; without it, it boots.
    pub(super) state: Option<&'a Path>,
}

pub(super) struct Qemu {
    child: Child,
    folder: PathBuf,
    pub(super) monitor: Monitor,
}

impl Qemu {
    /// Powers a machine.
    pub(super) fn start(store: &Store, plan: &Plan<'_>) -> Self {
        let folder = plan.folder;
        let log = File::options().create(true).append(true).open(folder.join("qemu.log"));
        let log = log.expect("the machine's folder can be written");
        let mut command = Command::new("setpriv");
        // A test that is killed takes its machine with it.
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        board(&mut command, store);
        doors(&mut command, folder, plan.hub_port);
        for (number, disk) in plan.disks.iter().enumerate() {
            plug(&mut command, number, disk);
        }
        if let Some(state) = plan.state {
            command.args(["-incoming", &format!("exec:cat '{}'", state.display())]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            .spawn()
            .expect("setpriv is a part of Debian");
        let monitor = Monitor::qmp(&folder.join("qmp.sock"));
        let mut qemu = Self { child, folder: folder.to_owned(), monitor };
        if plan.state.is_some() {
            // It fell asleep paused, and so it wakes.
            qemu.wait_for("query-status", "paused");
            qemu.monitor.must("cont", &json!({}));
        }
        qemu
    }

    /// The socket of the agent inside.
    pub(super) fn agent_socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    fn wait_for(&mut self, query: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.monitor.must(query, &json!({}));
            if answer["status"] == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{query} never says {wanted}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it, and writes all that it has in memory to a file.
    pub(super) fn put_to_sleep(mut self, state: &Path) {
        self.monitor.must("stop", &json!({}));
        let to = format!("exec:cat > '{}'", state.display());
        self.monitor.must("migrate-set-parameters", &json!({ "max-bandwidth": 0 }));
        self.monitor.must("migrate", &json!({ "uri": to }));
        self.wait_for("query-migrate", "completed");
        // Its orderly end writes the disks' tables too.
        self.monitor.must("quit", &json!({}));
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Qemu {
    /// As a power cut.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn board(command: &mut Command, store: &Store) {
    let memory = MEMORY_MIB.to_string();
    command.args([
        "-accel",
        "tcg,thread=multi",
        "-machine",
        "q35",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        &memory,
    ]);
    command.args(["-display", "none", "-nodefaults", "-no-user-config", "-device", "virtio-rng-pci"]);
    command.arg("-kernel").arg(store.boot_file("vmlinuz"));
    command.arg("-initrd").arg(store.boot_file("initrd.img"));
    // A power cut leaves the file system dirty: it is mended at boot, and no one is asked.
    command.args([
        "-append",
        "root=LABEL=root rw console=ttyS0 fsck.repair=yes panic=-1 systemd.show_status=no",
    ]);
    for slot in 0..SLOTS {
        let port = format!("pcie-root-port,id=slot{slot},chassis={},slot={}", slot + 1, slot + 1);
        command.args(["-device", &port]);
    }
    let payload = store.payload_image();
    command
        .args(["-drive", &format!("if=none,id=payload,format=raw,readonly=on,file={}", payload.display())]);
    command.args(["-device", "virtio-blk-pci,drive=payload,serial=PAYLOAD"]);
}

/// Console, monitor, the agent inside, and the way to its hub.
fn doors(command: &mut Command, folder: &Path, hub_port: u16) {
    let at = |name: &str| folder.join(name).display().to_string();
    // Appended to: after a power cut the console goes on.
    command.args(["-chardev", &format!("file,id=console,append=on,path={}", at(CONSOLE))]);
    command.args(["-serial", "chardev:console"]);
    for socket in ["qmp.sock", "agent.sock"] {
        let _ = std::fs::remove_file(folder.join(socket));
    }
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp.sock"))]);
    command.args(["-chardev", &format!("socket,id=agent,server=on,wait=off,path={}", at("agent.sock"))]);
    command.args(["-device", "virtio-serial-pci"]);
    command.args(["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]);
    let network = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{hub_port}-:8443");
    command.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=net"]);
}

/// Its own disks are virtio disks. qemu's NVMe says that it has a write cache and then takes no notice of "write this
/// through" (FUA), with which ext4 ends each transaction there: a box that had synced its file would lose it in a power cut,
/// through no fault of anybody inside. To a virtio disk the kernel says "flush", and that is heeded.
fn plug(command: &mut Command, number: usize, disk: &Overlay) {
    let image = disk.image.display();
    // Writes stay in our page cache until the guest flushes, as on a disk with a cache.
    command.args(["-drive", &format!("if=none,id=disk{number},format=qcow2,cache=writeback,file={image}")]);
    command.args(["-device", &format!("virtio-blk-pci,drive=disk{number},serial=FELHOM-{number}")]);
}
