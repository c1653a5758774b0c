//! The same operation again: at once, after a restart, after the ledger was cleared, and in another dress.

use felhom_shared::signed::{Namespace, Op, OpId, Request, Role, VoidBefore};
use felhom_tests::Key;
use jiff::Timestamp;

use super::desk::{Desk, append, at};
use crate::scene::{DAY, HOUR, Scene, now_ms};

pub(super) fn replayed(between: fn(&mut Scene)) -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    assert_eq!(scene.ran(), "ran 1, applied");
    between(&mut scene);
    let told = scene.hand_in(&envelope);
    format!("{told}, {}", scene.ran())
}

pub(super) fn handed_in_twice() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    let again = scene.hand_in(&envelope);
    format!("{again}, {}", scene.ran())
}

/// Ten days ago something ran; it is cleared today; then the clock is ten days back.
pub(super) fn after_clearing() -> String {
    let then = now_ms() - 10 * DAY;
    let desk = Desk::filled(1500, then);
    let envelope = desk.destruction(then + HOUR);
    desk.hand_in(&envelope, then + HOUR);
    let op_id = OpId::of(envelope.as_bytes());
    let applied = felhom_shared::report::ReceiptState::Applied;
    desk.state.end_op(&op_id, (applied, None), at(then + HOUR)).unwrap();
    let before = desk.hand_in(&envelope, then + HOUR);
    desk.ops.take_ops(&[], None, Timestamp::now()).unwrap();
    assert!(desk.state.book().standings().len() < 100, "it was cleared");
    desk.state.put_clock_floor(then).unwrap();
    format!("{before}, {}", desk.restarted().hand_in(&envelope, then + HOUR))
}

/// A root key voids what is issued until tomorrow; the row that says so is cleared before tomorrow's clock returns.
pub(super) fn voided_and_cleared() -> String {
    let then = now_ms() - 12 * DAY;
    let desk = Desk::filled(1500, then);
    let void = Request::VoidBefore(VoidBefore { before: then + 2 * DAY });
    assert_eq!(desk.hand_in(&desk.by_root(void, then + HOUR), then + HOUR), "applied");
    let voided = desk.destruction(then + DAY);
    let before = desk.hand_in(&voided, then + DAY);
    desk.ops.take_ops(&[], None, Timestamp::now()).unwrap();
    assert!(desk.state.book().standings().len() < 100, "it was cleared");
    desk.state.put_clock_floor(then).unwrap();
    format!("{before}, {}", desk.restarted().hand_in(&voided, then + DAY))
}

/// What is cleared second was issued first: the floor is already higher, and must not fall with its row.
pub(super) fn cleared_twice() -> String {
    let then = now_ms() - 12 * DAY;
    let desk = Desk::filled(1500, then);
    let replay = desk.destruction(then + 2 * HOUR);
    desk.hand_in(&replay, then + 2 * HOUR);
    let end = |desk: &Desk, envelope: &str| {
        let op_id = OpId::of(envelope.as_bytes());
        let state = felhom_shared::report::ReceiptState::Applied;
        desk.state.end_op(&op_id, (state, None), at(then + 3 * HOUR)).unwrap();
    };
    end(&desk, &replay);
    let slow = desk.destruction(then + HOUR);
    assert_eq!(desk.hand_in(&slow, then + 3 * HOUR), "delivered");
    let week = 7 * DAY;
    desk.state.clear_ledger(now_ms(), week, Timestamp::now()).unwrap();
    end(&desk, &slow);
    // Only a ledger of a thousand clears itself: others fill it, older than all that.
    let Desk { folder, state, ops, .. } = desk;
    let head = state.ledger_head().unwrap();
    drop((state, ops));
    append(folder.path(), Some(&head), 1500, then - DAY);
    let desk = Desk::over(folder);
    assert!(!desk.state.book().is_damaged());
    desk.state.clear_ledger(now_ms(), week, Timestamp::now()).unwrap();
    desk.state.put_clock_floor(then).unwrap();
    desk.restarted().hand_in(&replay, then + 3 * HOUR)
}

pub(super) fn ledger_full() -> String {
    let desk = Desk::filled(4096, now_ms() - HOUR);
    let told = desk.hand_in(&desk.destruction(now_ms()), now_ms());
    let kept = desk.restarted().state.book().standings().len();
    format!("{told}, {kept} kept")
}

pub(super) fn voided_when_full() -> String {
    let desk = Desk::filled(4096, now_ms() - HOUR);
    let told = desk.hand_in(&desk.destruction(now_ms()), now_ms());
    let void = Request::VoidBefore(VoidBefore { before: now_ms() - 1 });
    let voided = desk.hand_in(&desk.by_root(void, now_ms()), now_ms());
    let next = desk.hand_in(&desk.destruction(now_ms() + 1), now_ms());
    let next = if next == "delivered" { "accepted".to_owned() } else { next };
    format!("{told}, {voided}, {next}")
}

pub(super) fn same_nonce(change: impl FnOnce(&mut Op)) -> String {
    let mut scene = Scene::new();
    let first = scene.envelope();
    scene.hand_in(&first);
    let line = first.find('\n').unwrap();
    let mut op = Op::parse(&first.as_bytes()[..=line]).unwrap();
    change(&mut op);
    let second = scene.keyring.sign(&op);
    scene.hand_in(&second)
}

/// A second operator's signature beside the first makes another envelope of the same operation.
pub(super) fn another_envelope() -> String {
    let mut scene = Scene::new();
    let key = Key::number(3);
    let second = scene.keyring.next(|keyset| {
        let mut entry = keyset.keys[1].clone();
        (entry.public, entry.roles) = (key.public(), vec![Role::Ops]);
        keyset.keys.push(entry);
    });
    scene.agent().ops().take_keysets(&[second.keyset_blob()], Timestamp::now()).unwrap();
    let first = scene.envelope();
    scene.hand_in(&first);
    let line = first.find('\n').unwrap();
    let other = format!("{first}{}", key.armor(Namespace::Op, &first[..=line]));
    scene.hand_in(&other)
}
