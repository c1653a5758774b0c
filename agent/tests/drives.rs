//! Drives as the agent reads them: beside a double, and from loop devices of the machine that runs the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fake_pve::{Drive, FakePve, Options};
use felhom_agent::host::block::BlockDevices;
use felhom_agent::pve::{ApiToken, Pve};
use felhom_agent::report::tellings;
use felhom_agent::resources::storage::{Attached, detect};
use felhom_agent::tls::{PinSource, client_config};
use felhom_shared::drive::DriveReport;
use felhom_shared::id::NodeName;
use felhom_shared::report::HostState;

fn client(node: &FakePve) -> Pve {
    let tls = client_config(PinSource::CertificateFile(node.cert_path())).unwrap();
    Pve::new(&node.base_url(), &ApiToken::new(node.token()).unwrap(), tls, Duration::from_secs(5)).unwrap()
}

async fn read(node: &FakePve) -> Vec<DriveReport> {
    let name = NodeName::new("pve1").unwrap();
    let mut attached = Attached::of(BlockDevices::new(node.control().host_root()));
    attached.refreshed(&client(node), Some(&name)).await.to_vec()
}

#[tokio::test]
async fn a_drive_is_told_with_its_health_its_identity_and_what_is_on_it() {
    let node = FakePve::start(Options::default()).unwrap();
    node.control().set_drives(&Drive::usual()).unwrap();
    let drives = read(&node).await;
    insta::assert_json_snapshot!(drives);
}

/// `smartctl` on a drive behind a USB bridge can hang PVE's list for all drives.
#[tokio::test]
async fn a_usb_drive_is_never_asked_for_its_health() {
    let node = FakePve::start(Options::default()).unwrap();
    let mut drives = Drive::usual();
    drives[1].bus = "usb".to_owned();
    node.control().set_drives(&drives).unwrap();
    let drives = read(&node).await;
    assert_eq!(drives[0].health.as_deref(), Some("PASSED"));
    assert_eq!(drives[1].health, None);
    let asked: Vec<String> = node.control().requests().into_iter().map(|request| request.path).collect();
    assert!(!asked.iter().any(|path| path.ends_with("/disks/list") || path.contains("sda")), "{asked:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_gone() {
    let node = FakePve::start(Options::default()).unwrap();
    node.control().set_drives(&Drive::usual()).unwrap();
    let root = node.control().host_root();
    let mut attached = Attached::of(BlockDevices::new(&root));
    let pve = client(&node);
    assert_eq!(attached.refreshed(&pve, None).await.len(), 2);
    std::fs::remove_dir_all(&root).unwrap();
    attached.look_again();
    assert_eq!(attached.refreshed(&pve, None).await.len(), 2);
}

fn told(before: &[DriveReport], after: &[DriveReport]) -> Vec<String> {
    let state = |drives: &[DriveReport]| {
        let mut state: HostState = serde_json::from_value(serde_json::json!({
            "host_id": "0d9be3f7-7b55-4d43-a7d5-6d4f4c3b2a10", "agent_version": "0.1.0",
            "generation": {"received": null, "reached": null}, "guests": [],
            "node": {"reading": "present", "node": "pve1", "pve_version": "9.0.11"},
        }))
        .unwrap();
        state.drives = drives.to_vec();
        state
    };
    let told = tellings(Some(&state(before)), &state(after));
    told.into_iter().map(|telling| format!("{}: {}", telling.kind, telling.text)).collect()
}

#[tokio::test]
async fn drives_that_come_go_and_fail_are_events() {
    let node = FakePve::start(Options::default()).unwrap();
    node.control().set_drives(&Drive::usual()).unwrap();
    let both = read(&node).await;
    node.control().set_drives(&Drive::usual()[..1]).unwrap();
    let one = read(&node).await;
    assert_eq!(
        told(&both, &one),
        [
            "drive_vanished: WDC WD40EFRX-68N32N0 with serial number WD-WCC7K4LJ5TXR (sda, 4000 GB) is no longer attached"
        ]
    );
    assert!(told(&one, &both)[0].starts_with("drive_attached: WDC"));
    // Under another name it is the same drive, and no news.
    let mut renamed = Drive::usual();
    renamed[1].name = "sdq".to_owned();
    node.control().set_drives(&renamed).unwrap();
    assert_eq!(told(&both, &read(&node).await), Vec::<String>::new());
    let mut failing = Drive::usual();
    failing[1].health = "FAILED".to_owned();
    node.control().set_drives(&failing).unwrap();
    assert!(told(&both, &read(&node).await)[0].starts_with("drive_failing: WDC"));
    let mut copy = Drive::usual();
    copy.push(Drive { name: "sdb".to_owned(), ..copy[1].clone() });
    node.control().set_drives(&copy).unwrap();
    let told = told(&both, &read(&node).await);
    assert!(told.iter().any(|text| text.starts_with("drive_unclear") && text.contains("sdb")), "{told:?}");
}

/// A file as a block device, until it is dropped.
struct Loop(String);

impl Loop {
    fn of(file: &Path, more: &[&str]) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).args(more).arg(file).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(String::from_utf8(made.stdout).unwrap().trim().trim_start_matches("/dev/").to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &format!("/dev/{}", self.0)]).status();
    }
}

fn must(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

#[test]
fn real_block_devices_are_read_with_size_mounts_and_write_protection() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: loop devices need root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drive.raw");
    std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
    must("mkfs.ext4", &["-q", "-F", file.to_str().unwrap()]);
    let device = Loop::of(&file, &[]);
    let find = |name: &str| {
        let all = detect(&BlockDevices::new("/").with_loops().read().unwrap());
        all.into_iter().find(|drive| drive.name == name)
    };
    let drive = find(&device.0).expect("it is attached");
    assert_eq!((drive.size_bytes, drive.read_only, drive.durable_id), (64 << 20, false, None));
    let point = folder.path().join("a blank");
    std::fs::create_dir(&point).unwrap();
    must("mount", &[&format!("/dev/{}", device.0), point.to_str().unwrap()]);
    let mounted = find(&device.0);
    must("umount", &[point.to_str().unwrap()]);
    assert_eq!(mounted.expect("it is attached").contents[0].mounted_at, [point.to_str().unwrap()]);
    let name = device.0.clone();
    drop(device);
    assert_eq!(find(&name), None, "a loop device without a file is no drive");
    let protected = Loop::of(&file, &["--read-only"]);
    assert!(find(&protected.0).expect("it is attached").read_only);
}
