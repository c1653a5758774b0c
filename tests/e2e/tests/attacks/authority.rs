//! 40–48: well signed, and not for this box, this guest or this signer.

use felhom_shared::id::{GuestId, HostId};
use felhom_shared::signed::{Draft, Empty, Expected, Op, Request, RollbackGuest, Target};
use felhom_tests::{Key, Keyring, Told, document, guest_id, host_id, lxc, op_on};
use uuid::Uuid;

use crate::scene::{Scene, all, judged, judged_by, op, payload, signed, with_second_operator};
use crate::{Row, not_applicable, row};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(40, "an operation for another host", "wrong_host", || targeted(|target| target.host_id = HostId(Uuid::from_u128(1)))),
    row(41, "a guest of another host", "unknown_guest", || targeted(|target| target.guest_id = Some(guest_id(909)))),
    row(41, "a guest nobody has ever heard of", "unknown_guest", || targeted(|target| target.guest_id = Some(GuestId(Uuid::nil())))),
    row(42, "no guest for an operation on a guest", "unknown_guest", || targeted(|target| target.guest_id = None)),
    row(42, "a guest for an operation on the host", "unknown_guest", guest_for_host_op),
    row(43, "the hub's word for the class, within the payload", "op_malformed", || judged(signed(&payload().replacen("\"op\":", "\"class\":\"routine\",\"op\":", 1)))),
    row(43, "a document that asks for a destruction, and no signature", "Held, ran 0", held_without_signature),
    row(43, "an operator signs what needs a root key", "unknown_key", operator_resets_clock),
    row(44, "an operation nobody knows", "op_unknown", || all(["guest.exec", "host.reboot", "guest.destroy ", "", "destroy"].map(|word| judged(signed(&payload().replacen("guest.destroy", word, 1)))))),
    row(45, "the VMID is another guest's since signing: it waits until its time is over", "accepted, ran 0", vmid_reused),
    row(45, "the guest is gone since signing, and nothing took its place", "Converged, ran 0", gone_since),
    row(46, "the guest was renamed since signing", "expect_mismatch, ran 0", || edited_since("hostname", "photos")),
    row(46, "the guest lost its mark since signing", "ran 0", mark_removed),
    not_applicable(47, "a plan changed by one action", "there is no plan.apply: each operation is signed with its own parameters, and the guest's configuration digest stands for the rest; the next rows"),
    row(47, "one line of the configuration changed since signing", "expect_mismatch, ran 0", || edited_since("memory", "768")),
    row(47, "another snapshot took the signed one's name", "expect_mismatch, rolled back 0", snapshot_taken_again),
    row(47, "what was signed is asked for no longer", "not_asked_for, ran 0", asked_for_no_longer),
    row(48, "one signature where two are needed", "threshold", || judged_by(&with_second_operator(&Key::number(3).public().to_string(), 2), signed(&payload()))),
];

fn targeted(change: impl FnOnce(&mut Target)) -> String {
    let mut op = op();
    change(&mut op.target);
    judged(signed(&op.to_payload()))
}

fn guest_for_host_op() -> String {
    let op = Op { request: Request::ClockReset(Empty {}), ..op() };
    judged(signed(&op.to_payload()))
}

fn operator_resets_clock() -> String {
    let target = Target { host_id: host_id(), guest_id: None };
    judged(signed(&Op { request: Request::ClockReset(Empty {}), target, ..op() }.to_payload()))
}

fn held_without_signature() -> String {
    let mut scene = Scene::new();
    scene.work();
    let outcome = scene.agent().cycle().outcome(101);
    format!("{outcome:?}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

/// Signs for the guest as it is, then lets something happen to it, then hands in.
fn after(happens: impl FnOnce(&Scene)) -> (Scene, String) {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    happens(&scene);
    scene.agent().time_passes();
    let told = scene.hand_in(&envelope);
    scene.work();
    (scene, told)
}

fn last_word(mut scene: Scene) -> String {
    let receipt = scene.receipt();
    format!("{receipt}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

fn vmid_reused() -> String {
    let (scene, _) = after(|scene| {
        let control = scene.house.control();
        control.set_running(101, false).unwrap();
        control.destroy_guest(101).unwrap();
        control.create_guest(101, fake_pve::Kind::Lxc, "web").unwrap();
    });
    assert!(scene.house.control().snapshot().guests.contains_key(&101), "the other guest is still there");
    last_word(scene)
}

fn gone_since() -> String {
    let (mut scene, _) = after(|scene| {
        scene.house.control().set_running(101, false).unwrap();
        scene.house.control().destroy_guest(101).unwrap();
    });
    let outcome = scene.agent().cycle().outcome(101);
    format!("{outcome:?}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

fn edited_since(key: &str, value: &str) -> String {
    let (scene, _) = after(|scene| scene.house.control().edit_config(101, key, Some(value)).unwrap());
    assert!(scene.house.runs(101), "it was not even shut down");
    last_word(scene)
}

fn mark_removed() -> String {
    let (scene, _) = after(|scene| scene.house.control().edit_config(101, "tags", Some("mine")).unwrap());
    assert!(scene.house.runs(101));
    format!("ran {}", scene.house.changes_to("DELETE", "/101"))
}

fn snapshot_taken_again() -> String {
    let mut scene = Scene::new();
    scene.agent().desire(&document([lxc(101, "web"), lxc(102, "stays")]));
    scene.agent().settle();
    let control = scene.house.control();
    control.take_snapshot(101, "before").unwrap();
    let guest = control.snapshot().guests[&101].clone();
    let Request::DestroyGuest(Expected { mut expect }) = op().request else { unreachable!("it is one") };
    expect.config_digest = Some(guest.digest().try_into().unwrap());
    let request = Request::RollbackGuest(RollbackGuest {
        snapshot: "before".to_owned().try_into().unwrap(),
        snaptime: guest.snapshots["before"].snaptime - 60,
        expect,
    });
    let envelope = scene.keyring.sign(&scene.keyring.issued(op_on(guest_id(101), request)));
    scene.hand_in(&envelope);
    scene.work();
    format!("{}, rolled back {}", scene.receipt(), scene.house.changes_to("POST", "/rollback"))
}

fn asked_for_no_longer() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.agent().desire(&document([lxc(101, "web"), lxc(102, "stays")]));
    let told = scene.hand_in(&envelope);
    scene.work();
    format!("{told}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

/// A draft with all that a scene's document asks for is accepted: what the rows above change is what counts.
#[test]
fn the_unchanged_operation_is_accepted() {
    assert_eq!(judged(signed(&payload())), "accepted");
    let draft = Draft { request: op().request, target: op().target };
    assert_eq!(Draft::parse(draft.to_json().as_bytes()).unwrap(), draft);
    assert_eq!(Keyring::new().ops.public().fingerprint(), op().key_id);
}
