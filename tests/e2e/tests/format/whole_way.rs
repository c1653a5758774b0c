//! The whole way, by the agent: held, signed, formatted, adopted.

use std::collections::BTreeSet;
use std::path::Path;

use fake_pve::Drive;
use felhom_agent::host::block::BlockDevices;
use felhom_agent::resources::storage::detect;
use felhom_shared::desired::{
    ContentType, DesiredState, Filesystem, StorageAction, StorageRole, StorageSpec,
};
use felhom_shared::report::{Outcome, Readiness, ReceiptState, StorageReport};
use felhom_tests::{House, Keyring, document, lxc, on_storage};

use crate::ground::{SERIAL, storage};

fn spec(house: &House) -> StorageSpec {
    let devices = BlockDevices::new(house.control().host_root()).read().unwrap();
    let drive = detect(&devices).into_iter().find(|drive| drive.serial.as_deref() == Some(SERIAL)).unwrap();
    StorageSpec {
        storage: storage(),
        durable_id: drive.durable_id.unwrap(),
        action: StorageAction::Format,
        role: StorageRole::Guests,
        class: None,
        filesystem: Some(Filesystem::Ext4),
        content: BTreeSet::from([ContentType::Backup, ContentType::Rootdir]),
        label: None,
    }
}

fn house(keyring: &Keyring) -> House {
    let house = House::new().trusting(keyring).with_host_desk();
    let drives = [Drive::usual().remove(0), Drive::spare(SERIAL), Drive::spare("WX41OTHER")];
    house.control().set_drives(&drives).unwrap();
    house
}

fn desired(house: &House) -> DesiredState {
    let mut desired = document([on_storage(lxc(101, "cloud"), storage().as_str())]);
    desired.storage = vec![spec(house)];
    desired
}

fn told(storage: &[StorageReport]) -> (Outcome, Readiness, Vec<&str>) {
    let notes = storage[0].notes.iter().map(|note| note.code.as_str()).collect();
    (storage[0].outcome, storage[0].readiness, notes)
}

#[test]
fn formatting_is_held_until_it_is_signed_and_then_the_guest_is_made_on_it() {
    let keyring = Keyring::new();
    let house = house(&keyring);
    let before = house.control().drives();
    let mut agent = house.agent();
    agent.desire(&desired(&house));
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    assert_eq!(
        told(&held.state.storage),
        (Outcome::Held, Readiness::Attached, vec!["format_needs_signature"])
    );
    assert_eq!(house.control().drives(), before);
    let pending = &held.state.ops.pending[0];
    assert_eq!(pending.op, "drive.format");
    assert!(pending.text.contains(SERIAL) && pending.text.contains("ext4 spare"), "{}", pending.text);

    agent.hand_in(&keyring.release(pending));
    let end = agent.settle();
    assert_eq!(told(&end.state.storage), (Outcome::Converged, Readiness::Ready, vec![]));
    assert_eq!(end.state.ops.receipts.last().map(|receipt| receipt.state), Some(ReceiptState::Applied));
    assert!(house.control().snapshot().volumes_of(101)[0].starts_with("backup-usb:"));
    let drives = house.control().drives();
    assert_eq!((&drives[0], &drives[2]), (&before[0], &before[2]));

    // It was made once. That its marker is gone makes it another drive, and never an empty one.
    let uuid = &drives[1].parts[0].uuid;
    std::fs::remove_file(house.control().host_root().join("files").join(uuid).join(".felhom-drive.json"))
        .unwrap();
    let end = agent.settle_to(|end| end.state.storage[0].outcome != Outcome::Converged);
    assert_eq!(told(&end.state.storage).2, ["marker_gone"]);
    assert!(end.state.ops.pending.is_empty());
    assert_eq!(house.control().drives(), drives);
}

/// The drive changes after the signature and before the agent acts: the operation is over, and nothing was touched.
#[test]
fn an_operation_for_a_drive_that_has_changed_is_void() {
    let keyring = Keyring::new();
    let house = house(&keyring);
    let mut agent = house.agent();
    agent.desire(&desired(&house));
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    let envelope = keyring.release(&held.state.ops.pending[0]);
    let mut drives = house.control().drives();
    drives[1].parts[0].label = "wedding".to_owned();
    house.control().set_drives(&drives).unwrap();
    agent.hand_in(&envelope);
    let end = agent.settle_to(|end| !end.state.ops.receipts.is_empty());
    let receipt = end.state.ops.receipts.last().unwrap();
    assert_eq!((receipt.state, receipt.code.as_deref()), (ReceiptState::Rejected, Some("expect_mismatch")));
    assert_eq!(house.control().drives(), drives);
    let end = agent.cycle();
    assert!(
        end.state.ops.pending[0].text.contains("wedding"),
        "what would be signed now says what is there now"
    );
}

/// Killed at every boundary of its journal, the agent formats at most once, and never without saying what became of it.
#[test]
fn the_agent_may_die_anywhere_on_the_way_through_a_format() {
    for deadly in 1..=24 {
        let keyring = Keyring::new();
        let house = house(&keyring);
        let mut agent = house.agent();
        let mut desired = desired(&house);
        desired.guests.clear();
        agent.desire(&desired);
        let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
        let envelope = keyring.release(&held.state.ops.pending[0]);
        drop(agent);
        let mut agent = house.agent_killed_at(deadly);
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            agent.hand_in(&envelope);
            agent.settle();
        }));
        drop(agent);
        let mut agent = house.agent();
        agent.hand_in(&envelope);
        let end = agent.settle_to(|end| {
            end.state.journal_open == 0
                && matches!(told(&end.state.storage).0, Outcome::Converged | Outcome::Held)
        });
        let formats = used(&house.host_memory());
        let (outcome, ..) = told(&end.state.storage);
        assert!(formats <= 1, "killed at {deadly}: formatted {formats} times");
        assert_eq!(
            outcome == Outcome::Converged,
            formats == 1,
            "killed at {deadly}: {:?}",
            end.state.storage
        );
        if died.is_ok() {
            assert!(deadly > 8, "a format has more boundaries than {deadly}");
            return;
        }
    }
}

fn used(memory: &Path) -> usize {
    std::fs::read_dir(memory.join("used")).map_or(0, Iterator::count)
}
