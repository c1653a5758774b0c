//! Drives become storages, go away, come back, and are never taken for others: the real cycle, the real `felhom-host`, a
//! double of the host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::rc::Rc;

use fake_pve::{Drive, Fault, Token};
use felhom_agent::cycle::CycleEnd;
use felhom_agent::state::Boundary;
use felhom_shared::desired::{
    ContentType, DesiredState, Filesystem, StorageAction, StorageRole, StorageSpec,
};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{Outcome, Readiness, ReceiptState, StorageReport};
use felhom_tests::{House, Keyring, Told, document, lxc, on_storage};

const DATA_SERIAL: &str = "WD-WCC7K4LJ5TXR";
const DATA_UUID: &str = "b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20";

fn photos() -> StorageSpec {
    StorageSpec {
        storage: StorageId::new("photos").unwrap(),
        durable_id: DurableId::of_contents(DATA_UUID, None).unwrap(),
        action: StorageAction::Adopt,
        role: StorageRole::Guests,
        class: None,
        filesystem: None,
        content: BTreeSet::from([ContentType::Images, ContentType::Rootdir]),
        label: None,
    }
}

fn house() -> House {
    furnished(House::new().with_host_desk())
}

/// As `house`, whose agent takes what this keyring signs.
fn signing_house(keyring: &Keyring) -> House {
    furnished(House::new().trusting(keyring).with_host_desk())
}

fn furnished(house: House) -> House {
    house.control().set_drives(&Drive::usual()).unwrap();
    house
}

/// A drive, a guest on it and one elsewhere.
fn desired() -> DesiredState {
    let mut desired = document([on_storage(lxc(101, "cloud"), "photos"), lxc(102, "dns")]);
    desired.storage = vec![photos()];
    desired
}

fn storage(end: &CycleEnd) -> &StorageReport {
    &end.state.storage[0]
}

#[test]
fn a_drive_becomes_a_storage_and_a_guest_is_made_on_it_in_one_cycle() {
    let house = house();
    let mut agent = house.agent();
    agent.desire(&desired());
    let end = agent.settle();
    assert_eq!((storage(&end).readiness, storage(&end).outcome), (Readiness::Ready, Outcome::Converged));
    let seen = house.control().snapshot();
    let options = &seen.storages["photos"].options;
    let option = |key: &str| options.get(key).map(String::as_str);
    assert_eq!((option("is_mountpoint"), option("create-base-path")), (Some("1"), Some("0")));
    assert_eq!(option("path"), Some("/mnt/felhom/photos"));
    assert!(seen.volumes_of(101)[0].starts_with("photos:"), "{:?}", seen.volumes_of(101));
    // The next cycle changes nothing.
    house.control().reset_requests();
    let end = agent.cycle();
    assert_eq!(end.cost.changing_requests, 0);
}

#[test]
fn an_unplugged_drive_blocks_its_guests_and_nobody_else_and_comes_back_without_a_person() {
    let house = house();
    let mut agent = house.agent();
    agent.desire(&desired());
    agent.settle();
    house.control().plug_drive(DATA_SERIAL, false).unwrap();
    // A drift on both: the guest on the drive waits, the other is put right.
    for vmid in [101, 102] {
        house.control().edit_config(vmid, "memory", Some("64")).unwrap();
    }
    let gone = agent.settle_to(|end| end.outcome(102) == Outcome::Converged);
    assert_eq!((storage(&gone).readiness, storage(&gone).outcome), (Readiness::Unplugged, Outcome::Waiting));
    assert!(gone.tells(101, "storage_not_ready") && gone.outcome(101) == Outcome::Waiting);
    assert_eq!(house.value(101, "memory").as_deref(), Some("64"));
    assert_eq!(house.control().snapshot().storages["photos"].options["disable"], "1");
    assert!(house.control().host_root().join("mnt/felhom/photos").read_dir().unwrap().next().is_none());
    house.control().plug_drive(DATA_SERIAL, true).unwrap();
    let back = agent.settle();
    assert_eq!(storage(&back).readiness, Readiness::Ready);
    assert_eq!(house.value(101, "memory").as_deref(), Some("512"));
    assert!(!house.control().snapshot().storages["photos"].options.contains_key("disable"));
}

/// Two guests are to be made on the drive, one after the other, and after the first the drive is another one.
#[test]
fn a_mount_is_proven_live_right_before_something_is_written_to_it() {
    let house = house();
    let control = house.control();
    let mut agent = house.agent_with_probe(Rc::new(move |boundary| {
        let begun = control.snapshot().volumes.keys().any(|volid| volid.starts_with("photos:"));
        if boundary == Boundary::AfterEnd && begun {
            let _ = std::fs::remove_file(
                control.host_root().join("files").join(DATA_UUID).join(".felhom-drive.json"),
            );
        }
    }));
    let mut desired = desired();
    desired.guests = vec![on_storage(lxc(101, "cloud"), "photos"), on_storage(lxc(102, "dns"), "photos")];
    agent.desire(&desired);
    let end = agent.cycle();
    let seen = house.control().snapshot();
    let made = [101, 102].map(|vmid| seen.volumes_of(vmid).len());
    assert_eq!(made.iter().sum::<usize>(), 1, "{made:?}");
    assert!([101, 102].iter().any(|vmid| end.tells(*vmid, "storage_not_live")), "{:?}", end.state.guests);
    assert_eq!(storage(&end).notes[0].code, "marker_gone");
}

/// Killed at every boundary of its journal, the agent comes to the same end, with one marker and one definition.
#[test]
fn the_agent_may_die_anywhere_on_the_way_to_a_storage() {
    for deadly in 1..=16 {
        let house = house();
        let mut agent = house.agent_killed_at(deadly);
        let mut desired = desired();
        desired.guests.clear();
        agent.desire(&desired);
        let died = agent.cycle_or_death().is_none();
        drop(agent);
        let mut agent = house.agent();
        let end = agent.settle();
        assert_eq!(storage(&end).readiness, Readiness::Ready, "killed at {deadly}");
        assert_eq!(end.state.journal_open, 0);
        if !died {
            assert!(deadly > 9, "a storage has at least nine boundaries");
            return;
        }
    }
}

#[test]
fn a_failed_definition_is_told_with_the_right_that_is_missing() {
    let house = house();
    let token = Token::poor("low@pve!t", "11111111-2222-3333-4444-555555555555")
        .grant("/", &["VM.Audit", "Sys.Audit", "Datastore.Audit"]);
    house.control().add_token(token);
    let house = house.with_token("low@pve!t=11111111-2222-3333-4444-555555555555");
    let mut agent = house.agent();
    let mut desired = desired();
    desired.guests.clear();
    agent.desire(&desired);
    let end = agent.cycle();
    let failed = storage(&end).steps.last().and_then(|step| step.error.clone()).unwrap();
    assert!(failed.text.contains("felhom-pve-role setup --storage"), "{}", failed.text);
    assert_eq!(storage(&end).outcome, Outcome::Failed);
}

/// PVE answers 500 and has done it all the same.
#[test]
fn a_definition_that_took_effect_behind_an_error_is_found() {
    let house = house();
    house.control().add_fault(Fault::on("POST", "/storage").apply_then(500, "got no response"));
    let mut agent = house.agent();
    let mut desired = desired();
    desired.guests.clear();
    agent.desire(&desired);
    let end = agent.settle();
    assert_eq!(storage(&end).readiness, Readiness::Ready);
    assert_eq!(house.changes_to("POST", "/storage"), 1);
}

#[test]
fn an_entry_that_vanishes_leaves_everything_as_it_is() {
    let house = house();
    let mut agent = house.agent();
    let mut desired = desired();
    agent.desire(&desired);
    agent.settle();
    let before = house.control().snapshot().storages;
    desired.storage.clear();
    agent.desire(&desired);
    agent.settle();
    let after = house.control().snapshot();
    assert_eq!(before["photos"].options, after.storages["photos"].options);
    assert!(after.node.mounts.contains("/mnt/felhom/photos"));
}

fn codes(end: &CycleEnd) -> Vec<&str> {
    storage(end).notes.iter().map(|note| note.code.as_str()).collect()
}

#[test]
fn another_role_and_less_content_are_held_until_they_are_signed() {
    let keyring = Keyring::new();
    let house = signing_house(&keyring);
    let mut agent = house.agent();
    let mut desired = desired();
    agent.desire(&desired);
    agent.settle();
    desired.storage[0].role = StorageRole::Backup;
    desired.storage[0].content = BTreeSet::from([ContentType::Backup]);
    desired.guests.remove(0);
    agent.desire(&desired);
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    assert_eq!((codes(&held), storage(&held).outcome), (vec!["assign_needs_signature"], Outcome::Held));
    let content = |house: &House| house.control().snapshot().storages["photos"].options["content"].clone();
    assert_eq!(content(&house), "images,rootdir");

    // It goes on being put right while it waits.
    house.control().plug_drive(DATA_SERIAL, false).unwrap();
    agent.settle_to(|end| storage(end).readiness == Readiness::Unplugged);
    house.control().plug_drive(DATA_SERIAL, true).unwrap();
    let held = agent.settle_to(|end| storage(end).readiness == Readiness::Ready);
    agent.hand_in(&keyring.release(&held.state.ops.pending[0]));
    let end = agent.settle();
    assert_eq!(end.state.ops.receipts.last().map(|receipt| receipt.state), Some(ReceiptState::Applied));
    assert_eq!(content(&house), "backup");
    let marker = house.control().host_root().join("mnt/felhom/photos/.felhom-drive.json");
    assert!(std::fs::read_to_string(marker).unwrap().contains("\"role\": \"backup\""));
}

#[test]
fn detaching_is_held_until_it_is_signed_and_leaves_what_is_on_the_drive() {
    let keyring = Keyring::new();
    let house = signing_house(&keyring);
    let mut agent = house.agent();
    let mut desired = desired();
    desired.guests.clear();
    agent.desire(&desired);
    agent.settle();
    desired.storage[0].action = StorageAction::Ignore;
    agent.desire(&desired);
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    assert_eq!(codes(&held), ["detach_needs_signature"]);
    assert!(house.control().snapshot().storages.contains_key("photos"));
    let envelope = keyring.release(&held.state.ops.pending[0]);
    // Signed for this storage with this content; PVE lets something else lie on it meanwhile.
    house.control().set_storage_option("photos", "content", "images,rootdir,iso");
    agent.hand_in(&envelope);
    let end = agent.settle_to(|end| !end.state.ops.receipts.is_empty());
    assert_eq!(end.state.ops.receipts.last().unwrap().code.as_deref(), Some("expect_mismatch"));
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    agent.hand_in(&keyring.release(&held.state.ops.pending[0]));
    agent.settle();
    let after = house.control().snapshot();
    assert!(!after.storages.contains_key("photos") && !after.node.mounts.contains("/mnt/felhom/photos"));
    let root = house.control().host_root();
    assert!(root.join("files").join(DATA_UUID).join(".felhom-drive.json").exists(), "what is on it stays");
    assert!(
        !root.join("etc/systemd/system/mnt-felhom-photos.mount").exists(),
        "it is not mounted at the next boot"
    );
}

#[test]
fn a_drive_is_replaced_by_another_under_a_signature() {
    let keyring = Keyring::new();
    let house = signing_house(&keyring);
    let spare = Drive::spare("WX41NEW");
    house.control().plug_drive("WX41NEW", true).unwrap();
    let mut agent = house.agent();
    let mut desired = desired();
    desired.guests.clear();
    agent.desire(&desired);
    agent.settle();
    desired.storage[0].durable_id = DurableId::of_contents(&spare.parts[0].uuid, None).unwrap();
    agent.desire(&desired);
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    assert_eq!(codes(&held), ["replace_needs_signature"]);
    agent.hand_in(&keyring.release(&held.state.ops.pending[0]));
    let end = agent.settle();
    assert_eq!(storage(&end).name.as_deref(), Some(format!("{}1", spare.name).as_str()));
    let files = house.control().host_root().join("files");
    for uuid in [DATA_UUID, &spare.parts[0].uuid] {
        assert!(files.join(uuid).join(".felhom-drive.json").exists(), "what is on the old one stays");
    }
}

/// Whoever has the hub can publish anything, and sign nothing.
#[test]
fn no_document_takes_a_drive_in_use_away_empties_it_or_puts_another_in_its_place() {
    let house = signing_house(&Keyring::new());
    let other = Drive::spare("WX41OTHER");
    house.control().plug_drive("WX41OTHER", true).unwrap();
    let mut agent = house.agent();
    let good = desired();
    agent.desire(&good);
    agent.settle();
    let (drives, definition) =
        (house.control().drives(), house.control().snapshot().storages["photos"].options.clone());
    let hardware =
        agent.cycle().state.drives.iter().find(|drive| drive.serial.as_deref() == Some(DATA_SERIAL)).cloned();
    let whole = hardware.and_then(|drive| drive.durable_id).unwrap();
    let other_id = DurableId::of_contents(&other.parts[0].uuid, None).unwrap();
    type Change = Box<dyn Fn(&mut DesiredState)>;
    let documents: [(&str, Change); 8] = [
        (
            "format it",
            Box::new(move |d: &mut DesiredState| {
                d.storage[0].action = StorageAction::Format;
                d.storage[0].filesystem = Some(Filesystem::Ext4);
                d.storage[0].durable_id = whole.clone();
            }),
        ),
        ("ignore it", Box::new(|d| d.storage[0].action = StorageAction::Ignore)),
        ("leave it out", Box::new(|d| d.storage.clear())),
        ("leave it out, and take its name for another", {
            let other_id = other_id.clone();
            Box::new(move |d| d.storage[0].durable_id = other_id.clone())
        }),
        (
            "use it for backups alone",
            Box::new(|d| {
                d.storage[0].role = StorageRole::Backup;
                d.storage[0].content = BTreeSet::from([ContentType::Backup]);
            }),
        ),
        ("let less lie on it", Box::new(|d| d.storage[0].content = BTreeSet::from([ContentType::Images]))),
        (
            "take it under another name",
            Box::new(|d| d.storage[0].storage = StorageId::new("theirs").unwrap()),
        ),
        ("say that it is of another kind", Box::new(|d| d.storage[0].filesystem = Some(Filesystem::Xfs))),
    ];
    for (what, change) in documents {
        let mut hostile = good.clone();
        change(&mut hostile);
        agent.desire(&hostile);
        for _ in 0..3 {
            agent.cycle();
        }
        let seen = house.control().snapshot();
        assert_eq!(house.control().drives(), drives, "{what}");
        let root = house.control().host_root();
        let written = root.join("files").join(&other.parts[0].uuid).exists();
        assert!(!written, "{what}: nothing is written on the other drive");
        assert!(seen.node.mounts.contains("/mnt/felhom/photos"), "{what}: it stays mounted");
        let mut options = seen.storages["photos"].options.clone();
        // What is in doubt may be switched off, and comes back with the good document.
        options.remove("disable");
        assert_eq!(options, definition, "{what}");
        assert!(!seen.storages.contains_key("theirs"), "{what}");
        agent.desire(&good);
        let end = agent.settle();
        assert_eq!(storage(&end).readiness, Readiness::Ready, "{what}");
    }
    assert!(agent.cycle().state.ops.receipts.is_empty());
}
