//! Pools of ZFS on real drives, with a real ZFS: adopted, pulled, back in another slot, copied, degraded; made new under a
//! signature; let go.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use felhom_machine::{House, Machine};
use felhom_shared::desired::{
    ContentType, DesiredState, Filesystem, StorageAction, StorageRole, StorageSpec,
};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{HostState, Outcome, Readiness};
use felhom_tests::{Keyring, document, lxc, on_storage};

const WITHIN: Duration = Duration::from_secs(90);
const CONVERGES: Duration = Duration::from_secs(180);
const MARKER: &str = "/mnt/felhom/vms/.felhom-drive.json";
const BYTES: u64 = 256 << 20;

fn told(machine: &Machine) -> Option<HostState> {
    serde_json::from_str(&machine.try_sh("felhom-agent status --json").out).ok()
}

#[track_caller]
fn once<T>(machine: &Machine, what: &str, so: impl Fn(&HostState) -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        let state = told(machine);
        if let Some(found) = state.as_ref().and_then(&so) {
            return found;
        }
        let seen = state.map(|state| (state.storage, state.ops, state.drives));
        assert!(Instant::now() < deadline, "waited {WITHIN:?} in vain: {what}; told is {seen:#?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn is_ready(state: &HostState) -> Option<()> {
    let storage = state.storage.first()?;
    ((storage.outcome, storage.readiness) == (Outcome::Converged, Readiness::Ready)).then_some(())
}

fn is_unplugged(state: &HostState) -> Option<()> {
    (state.storage.first()?.readiness == Readiness::Unplugged).then_some(())
}

fn tells(code: &'static str) -> impl Fn(&HostState) -> Option<()> {
    move |state| {
        let notes = state.storage.iter().flat_map(|storage| &storage.notes);
        notes.into_iter().any(|note| note.code == code).then_some(())
    }
}

fn drive_file(machine: &Machine, name: &str) -> PathBuf {
    let path = machine.hardware().folder().join(name);
    File::create(&path).and_then(|file| file.set_len(BYTES)).expect("the machine's folder can be written");
    path
}

fn link(serial: &str) -> String {
    format!("/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_{serial}")
}

fn plug(machine: &Machine, slot: usize, serial: &str, file: &Path) {
    machine.hardware().plug(slot, serial, file);
    machine.eventually("udev names the drive", WITHIN, &format!("test -b {}", link(serial)));
}

fn virtio_link(serial: &str) -> String {
    format!("/dev/disk/by-id/virtio-{serial}")
}

/// The kernel lets go of a virtio disk that is pulled while it is in use. The head of an NVMe disk stays, and this ZFS never
/// learns that it is dead.
fn plug_virtio(machine: &Machine, slot: usize, serial: &str, file: &Path) {
    machine.hardware().plug_virtio(slot, serial, file);
    machine.eventually("udev names the drive", WITHIN, &format!("test -b {}", virtio_link(serial)));
}

fn spec(durable_id: DurableId) -> StorageSpec {
    StorageSpec {
        storage: StorageId::new("vms").expect("a plain name"),
        durable_id,
        action: StorageAction::Adopt,
        role: StorageRole::Guests,
        class: None,
        filesystem: None,
        content: BTreeSet::from([ContentType::Images, ContentType::Rootdir]),
        label: None,
    }
}

fn desired(spec: StorageSpec) -> DesiredState {
    DesiredState { storage: vec![spec], ..document([on_storage(lxc(101, "cloud"), "vms")]) }
}

/// A pool as another machine has left it: with something in it, exported. What the box calls the whole of it.
fn left_by_another(machine: &Machine, vdevs: &str) -> DurableId {
    // As on a host where they were there at boot.
    machine.sh(&format!(
        "modprobe zfs && systemctl start zfs-zed && zpool create tank {vdevs} && echo kept > /tank/photo"
    ));
    let guid = machine.sh("zpool get -H -o value guid tank").trim().to_owned();
    machine.sh("zpool export tank");
    let id = DurableId::of_pool(&guid).expect("a pool's number");
    once(machine, "the pool is seen on its drives", |state| {
        let mut contents = state.drives.iter().flat_map(|drive| &drive.contents);
        contents.any(|content| content.known_by.contains(&id)).then_some(())
    });
    id
}

/// As an operator's enrolment slip and felhom-sign would.
fn trust(house: &House<'_>, machine: &Machine) -> Keyring {
    let keyring = Keyring::new();
    let genesis = keyring.keyset().digest();
    machine.sh(&format!("printf '[trust]\\ngenesis_sha256 = \"{genesis}\"\\n' >> /etc/felhom/agent.toml"));
    house.hub("keyset put - --version 1", &keyring.keyset_blob());
    machine.sh("systemctl restart felhom-agent");
    keyring
}

/// What the whole drive with this serial number is known by.
fn whole(machine: &Machine, serial: &str) -> DurableId {
    once(machine, "the drive is seen", |state| {
        state.drives.iter().find(|drive| drive.serial.as_deref() == Some(serial))?.durable_id.clone()
    })
}

fn definition(machine: &Machine) -> serde_json::Value {
    let node: serde_json::Value =
        serde_json::from_str(&machine.sh("fake-pve ctl --control 127.0.0.1:8007 state")).expect("JSON");
    node["storages"]["vms"].clone()
}

fn house(machine: &Machine) -> House<'_> {
    let house = House::by_the_guide(machine);
    house.hurry();
    house
}

#[test]
fn a_pool_is_adopted_pulled_and_back_in_another_slot_without_a_person() {
    let machine = Machine::vm("zfs_adopted");
    let house = house(&machine);
    let hardware = machine.hardware();
    let first = drive_file(&machine, "first.raw");
    plug_virtio(&machine, 0, "WD-FIRST", &first);
    let pool = left_by_another(&machine, &virtio_link("WD-FIRST"));
    let desired = desired(spec(pool));
    house.publish(&desired);
    house.converges(CONVERGES);
    house.obeys(&desired);
    once(&machine, "it is ready", is_ready);
    let defined = definition(&machine);
    assert_eq!(
        (&defined["type"], &defined["options"]["pool"]),
        (&"zfspool".into(), &"tank".into()),
        "{defined}"
    );
    assert_eq!(machine.sh("cat /tank/photo").trim(), "kept", "PVE has mounted what was in it");
    let marker = machine.sh(&format!("cat {MARKER}"));

    // A copy of it, made by dd, with a serial number of its own.
    machine.sh("zpool sync tank");
    let copy = hardware.folder().join("copy.raw");
    std::fs::copy(&first, &copy).expect("the machine's folder can be written");
    plug_virtio(&machine, 1, "WD-COPY", &copy);
    once(&machine, "both are called the same", tells("drive_unclear"));
    assert_eq!(definition(&machine)["options"]["disable"], "1");
    hardware.pull(1);
    once(&machine, "alone it is known again", is_ready);

    let pulled = Instant::now();
    hardware.pull(0);
    once(&machine, "it is missed", is_unplugged);
    println!("missed {:?} after it was pulled", pulled.elapsed());
    assert_eq!(definition(&machine)["options"]["disable"], "1");
    // A guest goes on writing, and whoever waits for the pool waits until the drive is back. The agent does not.
    machine.sh("setsid sh -c 'echo more > /tank/more; sync' > /dev/null 2>&1 < /dev/null &");
    machine.sh("sleep 20");
    println!("meanwhile the kernel says {}", machine.sh("cat /proc/spl/kstat/zfs/tank/state").trim());
    assert_eq!(machine.sh("systemctl is-active felhom-agent").trim(), "active");
    house.publish(&DesiredState { guests: document([lxc(102, "dns")]).guests, ..desired.clone() });
    machine.eventually(
        "other work goes on",
        WITHIN,
        "fake-pve ctl --control 127.0.0.1:8007 state | grep -q '\"102\"'",
    );

    if !machine.try_sh("modinfo -F version zfs | grep -q '^2[.]1[.]'").well() {
        comes_back(&machine, &first, &marker);
    } else {
        println!("not tried: ZFS 2.1, older than a current Proxmox has, never learns that the drive is back");
    }
}

/// In another slot.
fn comes_back(machine: &Machine, first: &Path, marker: &str) {
    plug_virtio(machine, 2, "WD-FIRST", first);
    once(machine, "it is back", is_ready);
    assert_eq!(machine.sh(&format!("cat {MARKER}")), marker, "the same pool");
    machine.eventually("what was written meanwhile is there", WITHIN, "test \"$(cat /tank/more)\" = more");
    machine.sh("timeout 60 zpool sync tank");
    assert_eq!(machine.sh("zpool list -H -o health tank").trim(), "ONLINE");
}

#[test]
fn a_mirror_stays_in_use_without_one_of_its_drives() {
    let machine = Machine::vm("zfs_mirror");
    let house = house(&machine);
    let hardware = machine.hardware();
    let files = ["one", "two"].map(|name| drive_file(&machine, &format!("{name}.raw")));
    plug(&machine, 0, "WD-ONE", &files[0]);
    plug(&machine, 1, "WD-TWO", &files[1]);
    let pool = left_by_another(&machine, &format!("mirror {} {}", link("WD-ONE"), link("WD-TWO")));
    let desired = desired(spec(pool));
    house.publish(&desired);
    house.converges(CONVERGES);
    once(&machine, "it is ready", is_ready);
    hardware.pull(0);
    once(&machine, "one drive is missed", |state| {
        let serials = state.drives.iter().filter_map(|drive| drive.serial.as_deref());
        (!serials.into_iter().any(|serial| serial == "WD-ONE")).then_some(())
    });
    machine.sh("echo more > /tank/more && sync");
    machine.eventually("the pool is degraded", WITHIN, "zpool list -H -o health tank | grep -q DEGRADED");
    machine.sh("sleep 6");
    once(&machine, "it is said", tells("pool_degraded"));
    once(&machine, "it is in use all the same", |state| {
        (state.storage[0].readiness == Readiness::Ready).then_some(())
    });
    house.obeys(&desired);
}

#[test]
fn a_pool_is_made_under_a_signature_and_let_go_under_another() {
    let machine = Machine::vm("zfs_format");
    let house = house(&machine);
    let keyring = trust(&house, &machine);
    let fresh = drive_file(&machine, "fresh.raw");
    plug(&machine, 0, "WD-FRESH", &fresh);
    let made = StorageSpec {
        action: StorageAction::Format,
        filesystem: Some(Filesystem::Zfs),
        ..spec(whole(&machine, "WD-FRESH"))
    };
    house.publish(&desired(made.clone()));
    let pending = || once(&machine, "it is held", |state| state.ops.pending.first().cloned());
    let format = pending();
    assert!(format.text.contains("it is blank") && format.text.contains("WD-FRESH"), "{}", format.text);
    house.hub("ops upload kovacs-haz -", &keyring.release(&format));
    once(&machine, "it is made and in use", is_ready);
    house.converges(CONVERGES);
    let defined = definition(&machine);
    assert_eq!(
        (&defined["type"], &defined["options"]["pool"]),
        (&"zfspool".into(), &"vms".into()),
        "{defined}"
    );
    let listed = machine.sh("zfs list -H -o name,mounted,mountpoint,canmount vms vms/felhom");
    assert_eq!(listed, "vms\tyes\t/vms\ton\nvms/felhom\tyes\tlegacy\ton\n");
    let path = machine.sh("zpool status -P vms | grep -o '/dev/[^ ]*'");
    assert!(path.starts_with("/dev/disk/by-"), "a drive's name of today is none to remember: {path}");

    // No more: PVE forgets it, and what was made of it may be pulled.
    let ignored = StorageSpec { action: StorageAction::Ignore, ..made };
    house.publish(&DesiredState { storage: vec![ignored], ..document([lxc(102, "dns")]) });
    let detach = once(&machine, "the end of it is held", |state| {
        state.ops.pending.iter().find(|pending| pending.op == "storage.detach").cloned()
    });
    house.hub("ops upload kovacs-haz -", &keyring.release(&detach));
    machine.eventually("it is let go", WITHIN, "! zpool list vms 2> /dev/null");
    assert!(definition(&machine).is_null());
    assert_eq!(
        machine.sh("zpool import -d /dev/disk/by-id | grep -c 'pool: vms'").trim(),
        "1",
        "it is whole"
    );
}

/// Each is told by its reason while it is there, and the drive may be formatted again as soon as a person has emptied it.
#[test]
fn wrong_drive_what_is_woven_or_encrypted_is_never_formatted() {
    let machine = Machine::vm("zfs_woven");
    let house = house(&machine);
    let _ = trust(&house, &machine);
    plug(&machine, 0, "WD-WOVEN", &drive_file(&machine, "woven.raw"));
    let wanted = StorageSpec {
        action: StorageAction::Format,
        filesystem: Some(Filesystem::Zfs),
        ..spec(whole(&machine, "WD-WOVEN"))
    };
    house.publish(&DesiredState { storage: vec![wanted], ..document([]) });
    let held = |state: &HostState| state.ops.pending.first().map(drop);
    once(&machine, "an empty drive waits for a signature", held);
    let device = link("WD-WOVEN");
    let luks = "cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000";
    let ways = [
        (format!("{luks} {device} /etc/hostname"), "drive_woven"),
        (format!("cryptsetup open --key-file /etc/hostname {device} secret"), "drive_held"),
        (
            format!(
                "cryptsetup close secret && wipefs -qa {device} && pvcreate -qy {device} && vgcreate -qy data {device}"
            ),
            "drive_woven",
        ),
        ("lvcreate -qy -n volume -L 16M data".to_owned(), "drive_held"),
        ("vgchange -qan data".to_owned(), "drive_woven"),
        (
            format!(
                "vgremove -qy data && pvremove -qy {device} && wipefs -qa {device} && modprobe zfs && zpool create tank {device}"
            ),
            "drive_mounted",
        ),
        ("zpool export tank".to_owned(), "drive_woven"),
    ];
    for (way, code) in ways {
        machine.sh(&way);
        once(&machine, &way, tells(code));
        let state = told(&machine).expect("the agent answers");
        assert!(state.ops.pending.is_empty(), "nothing is offered for signing: {way}");
    }
    machine
        .sh(&format!("zpool labelclear -f {device}-part1; sgdisk --zap-all {device}; wipefs -qa {device}"));
    once(&machine, "a person has emptied it", held);
}
