//! Drives in a real kernel, with a real udev: seen within seconds, known by what they say of themselves, and refused
//! where two say the same.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use felhom_machine::{House, Machine};
use felhom_shared::drive::DriveReport;
use felhom_shared::report::HostState;

const WITHIN: Duration = Duration::from_secs(15);
const GIB: u64 = 1 << 30;
const SERIAL: &str = "WD-FIRST";
const LINK: &str = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_WD-FIRST";

/// The event of this kind and text has arrived at the hub.
fn heard(kind: &str, text: &str) -> String {
    format!(
        "sqlite3 'file:/var/lib/felhom-hub/hub.db?mode=ro' 'SELECT event FROM events' | grep '\"{kind}\"' | grep -q '{text}'"
    )
}

/// The drives with our serial number, as the agent tells of them, once they are so.
#[track_caller]
fn drives_once(machine: &Machine, what: &str, so: impl Fn(&[DriveReport]) -> bool) -> Vec<DriveReport> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let told = machine.sh("felhom-agent status --json");
        let state: HostState = serde_json::from_str(&told).expect("the state as it was reported");
        let mut drives = state.drives;
        drives.retain(|drive| drive.serial.as_deref() == Some(SERIAL));
        if so(&drives) {
            return drives;
        }
        assert!(Instant::now() < deadline, "waited {WITHIN:?} in vain: {what}; told is {drives:#?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn drive_file(machine: &Machine, name: &str) -> PathBuf {
    let path = machine.hardware().folder().join(name);
    File::create(&path).and_then(|file| file.set_len(GIB)).expect("the machine's folder can be written");
    path
}

#[test]
fn a_drive_is_seen_within_seconds_and_known_in_another_slot() {
    let machine = Machine::vm("drives_seen");
    let _house = House::by_the_guide(&machine);
    // What is there at its first look is no news.
    machine.eventually("the agent has looked once", WITHIN, "felhom-agent status --json");
    let hardware = machine.hardware();
    let first = drive_file(&machine, "first.raw");

    hardware.plug(0, SERIAL, &first);
    machine.eventually("the hub hears of the drive", WITHIN, &heard("drive_attached", SERIAL));
    let drives = drives_once(&machine, "it is there", |drives| drives.len() == 1);
    let id = drives[0].durable_id.clone().expect("it says who it is");
    assert!(id.as_str().starts_with("hardware:"), "{id}");
    assert_eq!((drives[0].kind.as_str(), drives[0].size_bytes), ("nvme", GIB));

    machine.sh(&format!("mkfs.ext4 -q -L photos {LINK}"));
    let is_photos = |drives: &[DriveReport]| {
        let mut on_it = drives.iter().flat_map(|drive| &drive.contents);
        on_it.any(|content| {
            (content.format.as_deref(), content.label.as_deref()) == (Some("ext4"), Some("photos"))
        })
    };
    drives_once(&machine, "its file system is seen", is_photos);

    hardware.pull(0);
    machine.eventually("the hub hears that it went", WITHIN, &heard("drive_vanished", SERIAL));
    hardware.plug(2, SERIAL, &first);
    let drives = drives_once(&machine, "it is back", |drives| drives.len() == 1);
    assert_eq!(drives[0].durable_id.as_ref(), Some(&id), "in another slot it is the same drive");
    assert!(is_photos(&drives), "with what is on it: {drives:#?}");
}

/// A bridge that gives one serial number to all its bays.
#[test]
fn drives_that_say_the_same_of_themselves_are_known_by_nothing() {
    let machine = Machine::vm("drives_alike");
    let _house = House::by_the_guide(&machine);
    machine.eventually("the agent has looked once", WITHIN, "felhom-agent status --json");
    let hardware = machine.hardware();
    hardware.plug_virtio(0, SERIAL, &drive_file(&machine, "first.raw"));
    let drives = drives_once(&machine, "it is there", |drives| drives.len() == 1);
    let id = drives[0].durable_id.clone().expect("alone it is known");

    hardware.plug_virtio(1, SERIAL, &drive_file(&machine, "second.raw"));
    machine.eventually("the hub hears of both", WITHIN, &heard("drive_unclear", "are both known by"));
    let drives = drives_once(&machine, "both are there", |drives| drives.len() == 2);
    assert!(drives.iter().all(|drive| drive.durable_id.is_none()), "neither is known by what both say");

    hardware.pull(1);
    let drives = drives_once(&machine, "it is alone again", |drives| drives.len() == 1);
    assert_eq!(drives[0].durable_id.as_ref(), Some(&id), "alone it is known again");
}
