//! What people change behind the agent's back, on guests that are ours and on guests that are not.

use fake_pve::{Kind, Snapshot};
use felhom_shared::desired::Presence;
use felhom_shared::report::Outcome;
use felhom_tests::{House, Told, document, lxc, qemu, with_mount};

#[test]
fn drift_is_repaired() {
    let desired = document([with_mount(lxc(101, "web"), 2), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    let control = house.control();
    control.edit_config(101, "memory", Some("64")).unwrap();
    control.edit_config(101, "cores", Some("7")).unwrap();
    control.edit_config(101, "hostname", Some("renamed")).unwrap();
    control.set_running(110, false).unwrap();
    control.edit_config(110, "name", Some("renamed")).unwrap();

    // Nothing is waited for or forgotten: the lists alone show that something has changed.
    agent.cycle();
    house.obeys(&desired);
}

#[test]
fn drift_that_no_list_shows_is_repaired_once_the_reading_is_old() {
    let mut desired = document([lxc(101, "web")]);
    desired.guests[0].onboot = true;
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    house.control().edit_config(101, "onboot", None).unwrap();
    agent.cycle();
    agent.time_passes();
    agent.cycle();
    assert_eq!(house.value(101, "onboot").as_deref(), Some("1"));
}

#[test]
fn what_the_document_does_not_name_is_left_alone() {
    let desired = document([lxc(101, "web"), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    let macs = [house.value(101, "net0"), house.value(110, "net0")];
    let control = house.control();
    control.edit_config(101, "cpulimit", Some("2")).unwrap();
    control.edit_config(101, "description", Some("ours\n")).unwrap();
    control.edit_config(110, "balloon", Some("0")).unwrap();
    control.edit_config(101, "memory", Some("64")).unwrap();
    control.set_running(110, false).unwrap();
    agent.time_passes();
    agent.settle();
    assert_eq!(house.value(101, "cpulimit").as_deref(), Some("2"));
    assert_eq!(house.value(101, "description").as_deref(), Some("ours\n"));
    assert_eq!(house.value(110, "balloon").as_deref(), Some("0"));
    assert_eq!([house.value(101, "net0"), house.value(110, "net0")], macs, "a card got a new MAC");
}

/// Everything about a guest that an agent could touch.
fn fingerprint(node: &Snapshot, vmid: u32) -> (String, String, bool, Vec<String>) {
    let guest = &node.guests[&vmid];
    let volumes = node.volumes_of(vmid).into_iter().map(str::to_owned).collect();
    (guest.digest(), guest.file(), guest.running.is_some(), volumes)
}

#[test]
fn unmanaged_guests_are_never_touched() {
    let house = House::new();
    let control = house.control();
    control.create_guest(200, Kind::Lxc, "theirs").unwrap();
    control.create_guest(201, Kind::Qemu, "their-vm").unwrap();
    control.set_running(201, true).unwrap();
    // The document wants the places of both, once by the right kind and once by the other.
    let desired = document([lxc(101, "web"), lxc(200, "taken"), qemu(201, "taken-too")]);
    let before = [fingerprint(&control.snapshot(), 200), fingerprint(&control.snapshot(), 201)];
    let mut agent = house.agent();
    agent.desire(&desired);
    for _ in 0..10 {
        let end = agent.cycle();
        assert_eq!((end.outcome(200), end.outcome(201)), (Outcome::Refused, Outcome::Refused));
        assert!(end.tells(200, "vmid_taken") && end.tells(201, "vmid_taken"));
        let unmanaged: Vec<u32> = end.state.unmanaged.iter().map(|guest| guest.vmid.get()).collect();
        assert_eq!(unmanaged, [200, 201, 9000]);
        agent.time_passes();
    }
    let after = [fingerprint(&control.snapshot(), 200), fingerprint(&control.snapshot(), 201)];
    assert_eq!(before, after);
    let touched: Vec<_> =
        house.changes().into_iter().filter(|request| request.path.contains("/20")).collect();
    assert!(touched.is_empty(), "{touched:?}");
    assert!(house.runs(101), "the guest in between is made all the same");
}

#[test]
fn a_copy_made_by_hand_carries_the_mark_and_stays_unmanaged() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    agent.settle();
    let control = house.control();
    control.create_guest(300, Kind::Lxc, "copy").unwrap();
    control.edit_config(300, "tags", house.value(101, "tags").as_deref()).unwrap();
    let before = fingerprint(&control.snapshot(), 300);
    agent.time_passes();
    let end = agent.cycle();
    assert!(end.state.unmanaged.iter().any(|guest| guest.vmid.get() == 300 && guest.marked));
    assert_eq!(fingerprint(&control.snapshot(), 300), before);
}

#[test]
fn a_guest_that_vanishes_from_the_document_becomes_unmanaged_and_stays() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web"), lxc(102, "files")]));
    agent.settle();
    let before = fingerprint(&house.control().snapshot(), 102);
    house.control().reset_requests();
    agent.desire(&document([lxc(101, "web")]));
    for _ in 0..5 {
        let end = agent.cycle();
        let gone = end.state.unmanaged.iter().find(|guest| guest.vmid.get() == 102).unwrap();
        assert!(gone.marked);
        agent.time_passes();
    }
    assert_eq!(fingerprint(&house.control().snapshot(), 102), before);
    assert!(house.changes().is_empty());
}

#[test]
fn absent_is_held_for_a_signature_and_destroys_nothing() {
    let house = House::new();
    let mut agent = house.agent();
    let mut desired = document([lxc(101, "web"), lxc(102, "files")]);
    agent.desire(&desired);
    agent.settle();
    let before = fingerprint(&house.control().snapshot(), 102);
    desired.guests[1].presence = Presence::Absent;
    agent.desire(&desired);
    let end = agent.cycle();
    assert_eq!(end.outcome(102), Outcome::Held);
    assert!(end.tells(102, "destroy_needs_signature"));
    assert_eq!(fingerprint(&house.control().snapshot(), 102), before);
}

#[test]
fn a_guest_destroyed_by_hand_is_made_again() {
    let desired = document([lxc(101, "web"), qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    house.control().destroy_guest(101).unwrap();
    agent.cycle();
    house.obeys(&desired);
}
