//! A ZFS pool becomes a storage, goes away, comes back, and is made new: the real cycle, the real `felhom-host`, a double of
//! the host and its tools.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use fake_pve::{Drive, Part};
use felhom_agent::cycle::CycleEnd;
use felhom_agent::host::block::BlockDevices;
use felhom_agent::resources::storage::detect;
use felhom_shared::desired::{
    ContentType, DesiredState, Filesystem, StorageAction, StorageRole, StorageSpec,
};
use felhom_shared::drive::DurableId;
use felhom_shared::id::StorageId;
use felhom_shared::report::{Outcome, Readiness, ReceiptState, StorageReport};
use felhom_tests::{House, Keyring, document, lxc, on_storage};

const GUID: &str = "12451870623840514532";

fn member(serial: &str, guid: &str, pool: &str) -> Drive {
    let part = Part {
        size_bytes: 1_990_000_000_000,
        format: "zfs_member".to_owned(),
        uuid: guid.to_owned(),
        label: pool.to_owned(),
        mounted_at: None,
        held_by: None,
        partition: format!("0f2d4a6c-1b3e-4d5f-8a7b-{serial:0>12}"),
    };
    Drive { parts: vec![part], ..Drive::spare(serial) }
}

fn vms() -> StorageSpec {
    StorageSpec {
        storage: StorageId::new("vms").unwrap(),
        durable_id: DurableId::of_pool(GUID).unwrap(),
        action: StorageAction::Adopt,
        role: StorageRole::Guests,
        class: None,
        filesystem: None,
        content: BTreeSet::from([ContentType::Images, ContentType::Rootdir]),
        label: None,
    }
}

fn desired() -> DesiredState {
    DesiredState { storage: vec![vms()], ..document([on_storage(lxc(101, "cloud"), "vms")]) }
}

fn house(drives: &[Drive]) -> House {
    let house = House::new().with_host_desk();
    set_drives(&house, drives);
    house
}

fn set_drives(house: &House, drives: &[Drive]) {
    let all: Vec<Drive> = [Drive::usual().remove(0)].iter().chain(drives).cloned().collect();
    house.control().set_drives(&all).unwrap();
}

fn state_of(house: &House, pool: &str) -> String {
    let file = house.control().host_root().join("proc/spl/kstat/zfs").join(pool).join("state");
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn storage(end: &CycleEnd) -> &StorageReport {
    &end.state.storage[0]
}

#[test]
fn a_pool_becomes_a_zfspool_and_a_guest_is_made_on_it() {
    let house = house(&[member("WX41A11", GUID, "tank"), member("WX41A12", GUID, "tank")]);
    let mut agent = house.agent();
    agent.desire(&desired());
    let end = agent.settle();
    assert_eq!((storage(&end).readiness, storage(&end).outcome), (Readiness::Ready, Outcome::Converged));
    let seen = house.control().snapshot();
    let defined = &seen.storages["vms"];
    assert_eq!((defined.kind.as_str(), defined.options["pool"].as_str()), ("zfspool", "tank"));
    assert!(!defined.options.contains_key("path") && !defined.options.contains_key("is_mountpoint"));
    assert!(seen.volumes_of(101)[0].starts_with("vms:subvol-101"), "{:?}", seen.volumes_of(101));
    house.control().reset_requests();
    assert_eq!(agent.cycle().cost.changing_requests, 0);
}

#[test]
fn a_pool_without_its_drives_is_waited_for_by_nobody_and_goes_on_when_they_are_back() {
    let drives = [member("WX41A11", GUID, "tank")];
    let house = house(&drives);
    let mut agent = house.agent();
    agent.desire(&desired());
    agent.settle();
    set_drives(&house, &[]);
    agent.settle_to(|end| storage(end).readiness == Readiness::Unplugged);
    assert_eq!(house.control().snapshot().storages["vms"].options["disable"], "1");
    assert_eq!(state_of(&house, "tank"), "SUSPENDED");
    set_drives(&house, &drives);
    let back = agent.settle();
    assert_eq!((storage(&back).readiness, state_of(&house, "tank").as_str()), (Readiness::Ready, "ONLINE"));
    assert!(!house.control().snapshot().storages["vms"].options.contains_key("disable"));
}

/// Another pool of the same name is imported, as by PVE at boot, which knows pools by their names only.
#[test]
fn wrong_disk_another_pool_of_the_same_name_is_not_used() {
    let other = member("WX41A99", "777000777000777", "tank");
    let house = house(&[member("WX41A11", GUID, "tank"), other]);
    let device = "/dev/any";
    house.control().run_zfs(&["zpool", "import", "-d", device, "777000777000777"]).unwrap();
    let mut agent = house.agent();
    agent.desire(&DesiredState { guests: Vec::new(), ..desired() });
    let end = agent.cycle();
    assert_eq!(storage(&end).outcome, Outcome::Failed);
    assert!(format!("{:?}", storage(&end)).contains("pool_name_taken"), "{:?}", storage(&end));
    assert!(!house.control().snapshot().storages.contains_key("vms"));
    assert!(
        !house.control().host_root().join("pools").join("777000777000777").exists(),
        "nothing is written in it"
    );
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_a_pool() {
    for deadly in 1..=40 {
        let house = house(&[member("WX41A11", GUID, "tank")]);
        let mut agent = house.agent_killed_at(deadly);
        agent.desire(&desired());
        let died = agent.cycle_or_death().is_none();
        drop(agent);
        let end = house.agent().settle();
        assert_eq!(storage(&end).readiness, Readiness::Ready, "killed at {deadly}");
        assert_eq!(house.control().snapshot().volumes_of(101).len(), 1, "killed at {deadly}");
        if !died {
            assert!(deadly > 9, "a storage has at least nine boundaries");
            return;
        }
    }
}

#[test]
fn a_pool_is_made_under_a_signature_and_let_go_under_another() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring).with_host_desk();
    let blank = Drive { parts: Vec::new(), ..Drive::spare("WX41FRESH") };
    set_drives(&house, &[blank]);
    let mut agent = house.agent();
    let drives = detect(&BlockDevices::new(house.control().host_root()).read().unwrap());
    let whole = drives.into_iter().find(|drive| drive.serial.as_deref() == Some("WX41FRESH")).unwrap();
    let made = StorageSpec {
        durable_id: whole.durable_id.unwrap(),
        action: StorageAction::Format,
        filesystem: Some(Filesystem::Zfs),
        ..vms()
    };
    agent.desire(&DesiredState { storage: vec![made.clone()], ..desired() });
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    agent.hand_in(&keyring.release(&held.state.ops.pending[0]));
    let end = agent.settle();
    assert_eq!((storage(&end).readiness, state_of(&house, "vms").as_str()), (Readiness::Ready, "ONLINE"));
    assert_eq!(end.state.ops.receipts.last().unwrap().state, ReceiptState::Applied);

    let ignored = StorageSpec { action: StorageAction::Ignore, ..made };
    agent.desire(&DesiredState { storage: vec![ignored], ..document([]) });
    let held = agent.settle_to(|end| !end.state.ops.pending.is_empty());
    agent.hand_in(&keyring.release(&held.state.ops.pending[0]));
    agent.settle_to(|_| state_of(&house, "vms").is_empty());
    assert!(!house.control().snapshot().storages.contains_key("vms"));
}
