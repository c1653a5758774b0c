//! A drive made new in a real kernel: held, signed, partitioned and formatted by `felhom-host` within its sandbox, adopted; and
//! not touched when another drive lies in its place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use felhom_machine::{House, Machine};
use felhom_shared::desired::{
    ContentType, DesiredState, Filesystem, StorageAction, StorageRole, StorageSpec,
};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{HostState, Outcome, PendingOp, Readiness};
use felhom_tests::{Keyring, document};

const WITHIN: Duration = Duration::from_secs(60);
const SERIAL: &str = "WD-FRESH";
/// xfs makes nothing smaller than 300 MiB.
const BYTES: u64 = 512 << 20;

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

fn drive_file(machine: &Machine, name: &str) -> PathBuf {
    let path = machine.hardware().folder().join(name);
    File::create(&path).and_then(|file| file.set_len(BYTES)).expect("the machine's folder can be written");
    path
}

fn desired(durable_id: DurableId) -> DesiredState {
    let spec = StorageSpec {
        storage: StorageId::new("backup-disk").expect("a plain name"),
        durable_id,
        action: StorageAction::Format,
        role: StorageRole::Backup,
        class: None,
        filesystem: Some(Filesystem::Xfs),
        content: BTreeSet::from([ContentType::Backup]),
        label: None,
    };
    DesiredState { storage: vec![spec], ..document([]) }
}

/// As an operator's enrolment slip and felhom-sign would.
fn trust(house: &House<'_>, machine: &Machine, keyring: &Keyring) {
    let genesis = keyring.keyset().digest();
    machine.sh(&format!("printf '[trust]\\ngenesis_sha256 = \"{genesis}\"\\n' >> /etc/felhom/agent.toml"));
    house.hub("keyset put - --version 1", &keyring.keyset_blob());
    machine.sh("systemctl restart felhom-agent");
}

fn pending(machine: &Machine) -> PendingOp {
    once(machine, "it is held, and says what would release it", |state| state.ops.pending.first().cloned())
}

#[test]
fn a_drive_is_formatted_under_a_signature_for_it_and_another_in_its_place_is_not() {
    let machine = Machine::vm("drive_format");
    let house = House::by_the_guide(&machine);
    house.hurry();
    let keyring = Keyring::new();
    trust(&house, &machine, &keyring);
    let hardware = machine.hardware();
    let fresh = drive_file(&machine, "fresh.raw");
    let wedding = drive_file(&machine, "wedding.raw");
    let made =
        Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", "wedding"]).arg(&wedding).status();
    assert!(made.expect("mke2fs is installed").success());

    hardware.plug(0, SERIAL, &fresh);
    let durable_id = once(&machine, "the drive is seen", |state| {
        let drive = state.drives.iter().find(|drive| drive.serial.as_deref() == Some(SERIAL))?;
        drive.durable_id.clone()
    });
    house.publish(&desired(durable_id));
    let first = pending(&machine);
    assert!(first.text.contains("it is blank") && first.text.contains(SERIAL), "{}", first.text);

    // Before the box hears of the signature, somebody has put another drive in: same maker, same number, other content.
    hardware.pull(0);
    hardware.plug(0, SERIAL, &wedding);
    let before = fs::read(&wedding).expect("it can be read");
    house.hub("ops upload kovacs-haz -", &keyring.release(&first));
    let code = once(&machine, "the operation is void", |state| state.ops.receipts.last()?.code.clone());
    assert_eq!(code, "expect_mismatch");
    let again = once(&machine, "what would be signed now", |state| {
        state.ops.pending.first().filter(|pending| pending.text.contains("wedding")).cloned()
    });
    assert!(again.text.contains("lost is ext4 wedding"), "{}", again.text);
    hardware.pull(0);
    assert!(fs::read(&wedding).expect("it can be read") == before, "not a byte of it was touched");

    hardware.plug(1, SERIAL, &fresh);
    let second = once(&machine, "the right drive again", |state| {
        state.ops.pending.first().filter(|pending| pending.text.contains("it is blank")).cloned()
    });
    house.hub("ops upload kovacs-haz -", &keyring.release(&second));
    once(&machine, "it is formatted and in use", |state| {
        let storage = state.storage.first()?;
        ((storage.outcome, storage.readiness) == (Outcome::Converged, Readiness::Ready)).then_some(())
    });
    assert_eq!(machine.sh("findmnt -no FSTYPE /mnt/felhom/backup-disk").trim(), "xfs");
    machine.sh("touch /mnt/felhom/backup-disk/a-backup && sync -f /mnt/felhom/backup-disk");
    let log = machine.sh("journalctl -u felhom-host --no-pager -o cat");
    assert!(log.contains("is formatted with xfs for backup-disk"), "{log}");

    // It comes back as what it is, and is not made again.
    hardware.pull(1);
    once(&machine, "it is missed", |state| {
        (state.storage[0].readiness == Readiness::Unplugged).then_some(())
    });
    hardware.plug(2, SERIAL, &fresh);
    once(&machine, "it is back", |state| (state.storage[0].readiness == Readiness::Ready).then_some(()));
    machine.sh("test -e /mnt/felhom/backup-disk/a-backup");
}
