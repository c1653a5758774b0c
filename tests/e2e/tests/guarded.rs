//! What only a signature releases: held without one, done once with one, and void when the guest is another.

use felhom_shared::desired::{DesiredState, GuestSpec, Power, Presence};
use felhom_shared::report::{Outcome, ReceiptState};
use felhom_shared::signed::{Expect, Request, ResetGeneration, RestoreGuest, RollbackGuest, VoidBefore};
use felhom_shared::wire::QueueState;
use felhom_tests::{Agent, House, Keyring, Told, document, guest_id, lxc, op_on, qemu};

fn absent(spec: GuestSpec) -> GuestSpec {
    GuestSpec { presence: Presence::Absent, ..spec }
}

/// A house with two guests, of which the first shall go.
fn one_shall_go(house: &House, spec: GuestSpec) -> (Agent, DesiredState) {
    let mut agent = house.agent();
    agent.desire(&document([spec.clone(), lxc(102, "stays")]));
    agent.settle();
    let desired = document([absent(spec), lxc(102, "stays")]);
    agent.desire(&desired);
    (agent, desired)
}

fn state_of(agent: &Agent) -> Vec<ReceiptState> {
    agent.state().book().receipts(10).iter().map(|receipt| receipt.state).collect()
}

#[test]
fn a_signed_destruction_runs_once_and_leaves_a_receipt() {
    for spec in [lxc(101, "goes"), qemu(101, "goes")] {
        let keyring = Keyring::new();
        let house = House::new().trusting(&keyring);
        let (mut agent, desired) = one_shall_go(&house, spec);
        let end = agent.cycle();
        assert_eq!(end.outcome(101), Outcome::Held);
        let pending = end.state.ops.pending.first().expect("the held step is drafted").clone();
        assert_eq!(pending.op, "guest.destroy");
        let envelope = keyring.release(&pending);
        assert_eq!(agent.hand_in(&envelope).state, QueueState::Delivered);
        agent.settle();
        assert!(!house.control().snapshot().guests.contains_key(&101), "it is gone");
        house.obeys(&desired);
        house.is_tidy();
        assert_eq!(state_of(&agent), [ReceiptState::Applied]);
        assert_eq!(agent.hand_in(&envelope).state, QueueState::Applied, "what became of it stands");
        assert_eq!(house.changes_to("DELETE", "/101"), 1);
    }
}

#[test]
fn a_guest_that_changed_after_signing_is_not_destroyed() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let (mut agent, _) = one_shall_go(&house, lxc(101, "goes"));
    let pending = agent.cycle().state.ops.pending[0].clone();
    house.control().edit_config(101, "description", Some("my photographs live here")).unwrap();
    agent.time_passes();
    assert_eq!(agent.hand_in(&keyring.release(&pending)).state, QueueState::Delivered);
    let end = agent.cycle();
    assert!(end.tells(101, "expect_mismatch"));
    let end = agent.cycle();
    assert_eq!(state_of(&agent), [ReceiptState::Rejected]);
    assert!(house.runs(101), "not even shut down");
    assert_eq!(end.outcome(101), Outcome::Held, "and a new signature is asked for");
    assert_ne!(end.state.ops.pending[0].params, pending.params);
}

#[test]
fn a_destruction_nobody_asks_for_is_refused() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let (mut agent, _) = one_shall_go(&house, lxc(101, "goes"));
    let pending = agent.cycle().state.ops.pending[0].clone();
    agent.desire(&document([lxc(101, "goes"), lxc(102, "stays")]));
    let told = agent.hand_in(&keyring.release(&pending));
    assert_eq!(told.code.as_deref(), Some("not_asked_for"));
    agent.cycle();
    assert!(house.runs(101));
}

#[test]
fn a_revoked_key_ends_what_it_had_signed() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let (mut agent, _) = one_shall_go(&house, lxc(101, "goes"));
    let pending = agent.cycle().state.ops.pending[0].clone();
    house.control().set_lock(101, Some("backup")).unwrap();
    agent.time_passes();
    let pending = agent.cycle().state.ops.pending.first().cloned().unwrap_or(pending);
    assert_eq!(agent.hand_in(&keyring.release(&pending)).state, QueueState::Delivered);
    agent.cycle();
    assert_eq!(state_of(&agent), [ReceiptState::Accepted], "the lock is in the way");
    let revoked = keyring.next(|keyset| keyset.keys.truncate(1));
    agent.ops().take_keysets(&[revoked.keyset_blob()], jiff::Timestamp::now()).unwrap();
    agent.cycle();
    assert_eq!(state_of(&agent), [ReceiptState::Rejected]);
    assert_eq!(agent.state().book().receipts(1)[0].code.as_deref(), Some("unknown_key"));
}

#[test]
fn voided_operations_do_not_run_and_do_not_come_again() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let (mut agent, _) = one_shall_go(&house, lxc(101, "goes"));
    let pending = agent.cycle().state.ops.pending[0].clone();
    let first = keyring.release(&pending);
    let second = keyring.release(&pending);
    agent.hand_in(&first);
    let void = keyring.root_op(Request::VoidBefore(VoidBefore { before: millis() }));
    assert_eq!(agent.hand_in(&void).state, QueueState::Applied);
    assert_eq!(agent.hand_in(&second).code.as_deref(), Some("stale"));
    agent.cycle();
    assert!(house.runs(101));
}

#[test]
fn a_privileged_container_is_created_under_a_signature_only() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let mut agent = house.agent();
    let desired = document([GuestSpec { unprivileged: false, features: None, ..lxc(101, "nfs") }]);
    agent.desire(&desired);
    let end = agent.cycle();
    assert!(end.tells(101, "privileged_needs_signature"));
    let pending = end.state.ops.pending[0].clone();
    assert_eq!(agent.hand_in(&keyring.release(&pending)).state, QueueState::Delivered);
    agent.settle();
    assert_eq!(house.value(101, "unprivileged").as_deref().unwrap_or("0"), "0");
    assert_eq!(state_of(&agent), [ReceiptState::Applied]);
}

#[test]
fn a_rollback_goes_to_the_signed_snapshot_and_to_no_other_of_that_name() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let mut agent = house.agent();
    let desired = document([lxc(101, "web")]);
    agent.desire(&desired);
    agent.settle();
    house.control().take_snapshot(101, "before").unwrap();
    let snapshot = house.control().snapshot().guests[&101].snapshots["before"].clone();
    let signed = |snaptime: u64| {
        let config = house.control().snapshot().guests[&101].digest();
        let expect = Expect {
            vmid: lxc(101, "web").vmid,
            name: lxc(101, "web").name,
            config_digest: Some(config.try_into().unwrap()),
        };
        let request = Request::RollbackGuest(RollbackGuest {
            snapshot: "before".to_owned().try_into().unwrap(),
            snaptime,
            expect,
        });
        keyring.sign(&keyring.issued(op_on(guest_id(101), request)))
    };
    let taken = snapshot.snaptime;
    agent.hand_in(&signed(taken + 1));
    agent.cycle();
    assert_eq!(state_of(&agent), [ReceiptState::Rejected]);
    agent.hand_in(&signed(taken));
    agent.time_passes();
    agent.settle();
    assert_eq!(state_of(&agent), [ReceiptState::Rejected, ReceiptState::Applied]);
    assert_eq!(house.changes_to("POST", "/snapshot/before/rollback"), 1);
    assert!(house.runs(101), "and the document's wish for power holds again");
}

#[test]
fn a_restore_overwrites_the_guest_once_and_only_under_a_signature() {
    for spec in [lxc(101, "web"), qemu(101, "web")] {
        let keyring = Keyring::new();
        let house = House::new().trusting(&keyring);
        let mut agent = house.agent();
        let desired = document([spec.clone()]);
        agent.desire(&desired);
        agent.settle();
        let volid = house.control().take_backup(101, "local").unwrap();
        house.control().edit_config(101, "description", Some("written after the backup")).unwrap();
        let config = house.control().snapshot().guests[&101].digest();
        let request = Request::RestoreGuest(RestoreGuest {
            volid: volid.try_into().unwrap(),
            expect: Expect {
                vmid: spec.vmid,
                name: spec.name.clone(),
                config_digest: Some(config.try_into().unwrap()),
            },
        });
        let envelope = keyring.sign(&keyring.issued(op_on(guest_id(101), request)));
        assert_eq!(agent.hand_in(&envelope).state, QueueState::Delivered);
        agent.time_passes();
        agent.settle();
        assert_eq!(state_of(&agent), [ReceiptState::Applied]);
        assert_ne!(house.value(101, "description").as_deref(), Some("written after the backup"));
        house.obeys(&desired);
        house.is_tidy();
        agent.hand_in(&envelope);
        agent.time_passes();
        agent.settle();
        let over = |request: &fake_pve::LoggedRequest| {
            request.params.iter().any(|(key, value)| key == "force" && value == "1")
        };
        assert_eq!(house.changes().iter().filter(|request| over(request)).count(), 1);
    }
}

#[test]
fn a_generation_reset_lets_a_lower_document_in_and_nothing_else_does() {
    let keyring = Keyring::new();
    let house = House::new().trusting(&keyring);
    let mut agent = house.agent();
    let desired = document([lxc(101, "web")]);
    (0..3).for_each(|_| agent.desire(&desired));
    assert_eq!(agent.state().accepted().unwrap().unwrap().generation.0, 3);
    let reset = Request::ResetGeneration(ResetGeneration { generation: felhom_shared::id::Generation(2) });
    let by_operator =
        Request::ResetGeneration(ResetGeneration { generation: felhom_shared::id::Generation(1) });
    let draft = felhom_shared::signed::Draft {
        request: by_operator,
        target: felhom_shared::signed::Target { host_id: felhom_tests::host_id(), guest_id: None },
    };
    assert_eq!(agent.hand_in(&keyring.sign(&keyring.issued(draft))).code.as_deref(), Some("unknown_key"));
    assert_eq!(agent.hand_in(&keyring.root_op(reset)).state, QueueState::Applied);
    assert_eq!(agent.state().accepted().unwrap().unwrap().generation.0, 1, "2 is the next that may come");
}

#[test]
fn without_a_trust_root_an_envelope_waits() {
    let keyring = Keyring::new();
    let house = House::new();
    let (mut agent, _) = one_shall_go(&house, GuestSpec { power: Power::Running, ..lxc(101, "goes") });
    let pending = agent.cycle().state.ops.pending[0].clone();
    assert_eq!(agent.hand_in(&keyring.release(&pending)).state, QueueState::Delivered);
    agent.cycle();
    assert!(house.runs(101));
    assert_eq!(agent.state().held().unwrap().len(), 1);
}

fn millis() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).expect("it is after 1970")
}
