//! Drives as storages in a real kernel with real systemd: adopted, pulled, plugged in elsewhere, copied, full, read-only
//! and failing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use felhom_machine::{House, Machine, Medium};
use felhom_shared::desired::{ContentType, DesiredState, StorageAction, StorageRole, StorageSpec};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{HostState, Outcome, Readiness, StorageReport};
use felhom_tests::{document, lxc, on_storage};

const WITHIN: Duration = Duration::from_secs(40);
const CONVERGES: Duration = Duration::from_secs(120);
const SERIAL: &str = "WD-FIRST";
const UUID: &str = "b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20";
const AT: &str = "/mnt/felhom/photos";
const MARKER: &str = "/mnt/felhom/photos/.felhom-drive.json";

fn photos() -> StorageSpec {
    StorageSpec {
        storage: StorageId::new("photos").expect("a plain name"),
        durable_id: DurableId::of_contents(UUID, None).expect("a real UUID"),
        action: StorageAction::Adopt,
        role: StorageRole::Guests,
        class: None,
        filesystem: None,
        content: BTreeSet::from([ContentType::Images, ContentType::Rootdir]),
        label: Some("the drive on the shelf".to_owned()),
    }
}

fn desired() -> DesiredState {
    DesiredState { storage: vec![photos()], ..document([on_storage(lxc(101, "cloud"), "photos")]) }
}

/// A drive's content: a file system as another machine has left it.
fn drive_file(machine: &Machine, name: &str, options: &[&str]) -> PathBuf {
    let path = machine.hardware().folder().join(name);
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-U", UUID]).args(options).arg(&path).arg("256M");
    assert!(make.status().expect("mke2fs is installed").success());
    path
}

fn told(machine: &Machine) -> Option<StorageReport> {
    let answer = machine.try_sh("felhom-agent status --json");
    let state: HostState = serde_json::from_str(&answer.out).ok()?;
    state.storage.into_iter().next()
}

#[track_caller]
fn once(machine: &Machine, what: &str, so: impl Fn(&StorageReport) -> bool) -> StorageReport {
    let deadline = Instant::now() + WITHIN;
    loop {
        let report = told(machine);
        if let Some(report) = report.clone().filter(|report| so(report)) {
            return report;
        }
        assert!(Instant::now() < deadline, "waited {WITHIN:?} in vain: {what}; told is {report:#?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[track_caller]
fn refused(machine: &Machine, code: &str) {
    once(machine, code, |storage| storage.notes.iter().any(|note| note.code == code));
    let node: serde_json::Value =
        serde_json::from_str(&machine.sh("fake-pve ctl --control 127.0.0.1:8007 state")).expect("JSON");
    let disabled = node["storages"]["photos"]["options"]["disable"] == "1";
    assert!(
        disabled || node["storages"]["photos"].is_null(),
        "PVE does not use it: {}",
        node["storages"]["photos"]
    );
}

fn is_ready(storage: &StorageReport) -> bool {
    (storage.readiness, storage.outcome) == (Readiness::Ready, Outcome::Converged)
}

/// As the guide says for a box with drives of its own.
fn house(machine: &Machine) -> House<'_> {
    let house = House::by_the_guide(machine);
    house.hurry();
    house
}

#[test]
fn a_drive_is_adopted_pulled_and_back_in_another_slot_without_a_person() {
    let machine = Machine::vm("storage_adopted");
    let house = house(&machine);
    let hardware = machine.hardware();
    let first = drive_file(&machine, "first.raw", &[]);
    hardware.plug(0, SERIAL, &first);
    house.publish(&desired());
    house.converges(CONVERGES);
    house.obeys(&desired());
    let storage = once(&machine, "it is ready", is_ready);
    let name = storage.name.expect("it is attached");
    assert_eq!(machine.sh(&format!("findmnt -no SOURCE {AT}")).trim(), format!("/dev/{name}"));
    let unit = r"mnt-felhom-photos.mount";
    assert_eq!(machine.sh(&format!("systemctl is-enabled {unit}")).trim(), "enabled");
    let marker = machine.sh(&format!("cat {MARKER}"));

    // Something has a file of it open, as a guest would.
    machine.sh(&format!("setsid sh -c 'exec sleep 1000 > {AT}/open' > /dev/null 2>&1 &"));
    let pulled = Instant::now();
    hardware.pull(0);
    once(&machine, "it is missed", |storage| storage.readiness == Readiness::Unplugged);
    println!("missed {:?} after it was pulled", pulled.elapsed());
    machine.eventually("the mount goes", WITHIN, &format!("! mountpoint -q {AT}"));
    refused(&machine, "drive_unplugged");
    let written = machine.try_sh(&format!("touch {AT}/lost"));
    assert!(!written.well(), "nobody writes under an empty mount point");
    assert_eq!(machine.sh(&format!("ls -A {AT}")), "");

    hardware.plug(2, SERIAL, &first);
    once(&machine, "it is back", is_ready);
    assert_eq!(machine.sh(&format!("cat {MARKER}")), marker, "the same drive");
    house.obeys(&desired());

    // A copy of it, made by dd, with a serial number of its own.
    machine.sh(&format!("sync -f {AT}"));
    let copy = hardware.folder().join("copy.raw");
    std::fs::copy(&first, &copy).expect("the machine's folder can be written");
    hardware.plug(1, "WD-COPY", &copy);
    refused(&machine, "drive_identity_shared");
    hardware.pull(1);
    once(&machine, "alone it is known again", is_ready);
}

/// The copy alone, while the original lies in a drawer. It was made before the drive was taken.
#[test]
fn wrong_disk_a_copy_in_place_of_the_drive_is_not_used() {
    let machine = Machine::vm("storage_copy");
    let house = house(&machine);
    let hardware = machine.hardware();
    let first = drive_file(&machine, "first.raw", &[]);
    let copy = hardware.folder().join("copy.raw");
    std::fs::copy(&first, &copy).expect("the machine's folder can be written");
    hardware.plug(0, SERIAL, &first);
    house.publish(&desired());
    house.converges(CONVERGES);
    hardware.pull(0);
    once(&machine, "it is missed", |storage| storage.readiness == Readiness::Unplugged);
    hardware.plug(0, SERIAL, &copy);
    refused(&machine, "marker_gone");
    assert!(!machine.try_sh(&format!("test -e {MARKER}")).well(), "nothing was written on it");
}

#[test]
fn stale_fstab_a_full_drive_a_read_only_one_and_one_that_fails_are_told_apart() {
    let machine = Machine::vm("storage_bad");
    let house = house(&machine);
    let hardware = machine.hardware();
    house.publish(&DesiredState { guests: Vec::new(), ..desired() });
    let first = drive_file(&machine, "first.raw", &["-m", "0"]);

    hardware.plug_medium(0, SERIAL, Medium::ReadOnly(&first));
    refused(&machine, "drive_read_only");
    hardware.pull(0);

    // An old line mounts it somewhere else, as soon as it is there.
    machine.sh(&format!("mkdir -p /srv/old && echo 'UUID={UUID} /srv/old ext4 nofail 0 0' >> /etc/fstab && systemctl daemon-reload"));
    hardware.plug(0, SERIAL, &first);
    machine.eventually(
        "fstab's mount",
        WITHIN,
        "mountpoint -q /srv/old || { systemctl start srv-old.mount; false; }",
    );
    machine.sh("dd if=/dev/zero of=/srv/old/full bs=1M status=none 2>/dev/null; sync");
    refused(&machine, "drive_mounted_elsewhere");
    machine.sh("sed -i '/srv.old/d' /etc/fstab && systemctl daemon-reload && umount /srv/old");

    // Not a block is free: there is no room for the marker.
    once(&machine, "no room for the marker", |storage| {
        storage.outcome == Outcome::Failed && format!("{storage:?}").contains("No space left on device")
    });
    machine.sh(&format!("rm {AT}/full && sync -f {AT}"));
    once(&machine, "with room it goes on", is_ready);

    let sector = sector_of(&machine, MARKER);
    hardware.pull(0);
    once(&machine, "it is missed", |storage| storage.readiness == Readiness::Unplugged);
    hardware.plug_medium(0, SERIAL, Medium::BadSector(&first, sector));
    once(&machine, "its marker cannot be read", |storage| storage.outcome == Outcome::Unreadable);
    refused(&machine, "marker_unreadable");
}

/// Where a file's first block lies on its drive.
fn sector_of(machine: &Machine, path: &str) -> u64 {
    let text = machine.sh(&format!(
        "sync -f {path}; debugfs -R \"blocks /$(basename {path})\" \"$(findmnt -no SOURCE -T {path})\" 2>/dev/null"
    ));
    let block: u64 =
        text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a block's number");
    let size = machine.sh(&format!("stat -fc %S {path}"));
    block * size.trim().parse::<u64>().expect("a block's size") / 512
}
