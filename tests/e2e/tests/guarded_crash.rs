//! A guarded step runs at most once: the agent is killed at every boundary on the way from the envelope to the
//! receipt, and what was signed happens zero or one times, never twice; the receipt says which.
//!
//! The kill is exact: the n-th passing of each boundary, for every n there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails; it tells how much it did")]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake_pve::{Fault, Options};
use felhom_agent::state::Boundary;
use felhom_shared::desired::{DesiredState, GuestSpec, Presence};
use felhom_shared::report::{Outcome, ReceiptState};
use felhom_shared::wire::QueueState;
use felhom_tests::{
    Agent, House, Key, Keyring, Killed, LocalHub, document, eventually, lxc, qemu, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(30);

const BOUNDARIES: [Boundary; 8] = [
    Boundary::BeforeReserve,
    Boundary::AfterReserve,
    Boundary::BeforeBegin,
    Boundary::AfterBegin,
    Boundary::AfterCall,
    Boundary::AfterTask,
    Boundary::BeforeEnd,
    Boundary::AfterEnd,
];

/// What came of one kill.
#[derive(Debug, PartialEq, Eq)]
struct End {
    requests: usize,
    gone: bool,
    receipts: Vec<ReceiptState>,
}

fn asked_away(spec: GuestSpec) -> DesiredState {
    document([GuestSpec { presence: Presence::Absent, ..spec }, lxc(102, "stays")])
}

/// An agent that is killed when it passes `boundary` for the `nth` time, and a sign of whether it was.
fn doomed(house: &House, boundary: Boundary, nth: usize) -> (Agent, Rc<Cell<bool>>) {
    let (passed, died) = (Cell::new(0), Rc::new(Cell::new(false)));
    let dead = Rc::clone(&died);
    let agent = house.agent_with_probe(Rc::new(move |here| {
        if here == boundary {
            passed.set(passed.get() + 1);
            if passed.get() == nth {
                dead.set(true);
                Killed::now();
            }
        }
    }));
    (agent, died)
}

/// One life that may be cut short, and another that finds out. `None` when nothing was cut.
fn life(spec: &GuestSpec, boundary: Boundary, nth: usize) -> Option<End> {
    let keyring = Keyring::new();
    let options = Options { task_time: Duration::from_millis(5), ..Options::default() };
    let house = House::with(options).trusting(&keyring);
    let mut agent = house.agent();
    agent.desire(&document([spec.clone(), lxc(102, "stays")]));
    agent.settle();
    agent.desire(&asked_away(spec.clone()));
    let pending = agent.cycle().state.ops.pending[0].clone();
    let envelope = keyring.release(&pending);
    drop(agent);

    let (mut agent, died) = doomed(&house, boundary, nth);
    // A kill unwinds; so does handing in at the boundaries around the reservation.
    let handed_in = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| agent.hand_in(&envelope)));
    if handed_in.is_ok() {
        for _ in 0..4 {
            if agent.cycle_or_death().is_none() {
                break;
            }
        }
    }
    drop(agent);

    // The hub still has the envelope queued, and hands it out again as often as it likes.
    let mut agent = house.agent();
    for _ in 0..3 {
        agent.hand_in(&envelope);
        agent.time_passes();
        agent.cycle();
    }
    let end = agent.cycle();
    assert_eq!(end.state.journal_open, 0, "an entry was left open after {boundary:?} {nth}");
    house.is_tidy();
    assert!(house.runs(102), "the other guest is none of its business");
    let receipts = end.state.ops.receipts.iter().map(|receipt| receipt.state).collect();
    let gone = !house.control().snapshot().guests.contains_key(&101);
    let outcome = end.state.guests.iter().find(|guest| guest.vmid.get() == 101).unwrap().outcome;
    assert_eq!(outcome == Outcome::Converged, gone, "{boundary:?} {nth}: {outcome:?}");
    died.get().then(|| End { requests: house.changes_to("DELETE", "/101"), gone, receipts })
}

#[test]
fn a_destruction_happens_zero_or_one_times_wherever_the_agent_dies() {
    let mut kills = 0;
    let mut interrupted = 0;
    for spec in [lxc(101, "goes"), qemu(101, "goes")] {
        for boundary in BOUNDARIES {
            for nth in 1.. {
                let Some(end) = life(&spec, boundary, nth) else { break };
                kills += 1;
                assert!(end.requests <= 1, "{boundary:?} {nth}: {end:?}");
                match end.receipts.as_slice() {
                    [ReceiptState::Applied] => assert!(end.gone, "{boundary:?} {nth}: {end:?}"),
                    [ReceiptState::Interrupted] => {
                        interrupted += 1;
                        assert!(!end.gone && end.requests == 0, "{boundary:?} {nth}: {end:?}");
                    }
                    other => panic!("{boundary:?} {nth}: {other:?}"),
                }
            }
        }
    }
    println!("guarded crash matrix: {kills} kills, {interrupted} interrupted, none ran twice");
    // Reserve twice; four boundaries around the shutdown and six around the destruction, for both kinds.
    assert!(kills >= 20, "only {kills} places to kill at");
    assert!(interrupted >= 2, "a kill between the intent and the request is a person's to judge");
}

#[test]
fn a_destruction_whose_answer_is_lost_is_found_or_left_to_a_person_and_never_asked_for_again() {
    for fault in [
        Fault::on("DELETE", "/nodes/*/lxc/101").apply_then(500, "unable to write the answer"),
        Fault::on("DELETE", "/nodes/*/lxc/101").close_after(),
        Fault::on("DELETE", "/nodes/*/lxc/101").close_before(),
        Fault::on("DELETE", "/nodes/*/lxc/101").refuse(596, "Connection timed out"),
        Fault::on("DELETE", "/nodes/*/lxc/101").task_fails("storage is busy"),
    ] {
        let keyring = Keyring::new();
        let house = House::new().trusting(&keyring);
        let mut agent = house.agent();
        agent.desire(&document([lxc(101, "goes"), lxc(102, "stays")]));
        agent.settle();
        agent.desire(&asked_away(lxc(101, "goes")));
        let pending = agent.cycle().state.ops.pending[0].clone();
        house.control().add_fault(fault);
        agent.hand_in(&keyring.release(&pending));
        for _ in 0..4 {
            agent.time_passes();
            agent.cycle();
        }
        assert!(house.control().wait_idle(Duration::from_secs(10)));
        let receipts = agent.state().book().receipts(5);
        assert_eq!(receipts.len(), 1);
        let gone = !house.control().snapshot().guests.contains_key(&101);
        assert_eq!(receipts[0].state == ReceiptState::Applied, gone, "{receipts:?}");
        assert!(matches!(
            receipts[0].state,
            ReceiptState::Applied | ReceiptState::Interrupted | ReceiptState::Failed
        ));
        assert_eq!(house.changes_to("DELETE", "/101"), 1);
    }
}

/// The whole agent beside the real hub, killed around the telling of a receipt.
#[test]
fn a_receipt_reaches_the_hub_wherever_the_agent_dies() {
    for boundary in [Boundary::BeforeTold, Boundary::AfterTold] {
        for nth in 1..=2 {
            let (keyring, hub) = (Keyring::new(), LocalHub::start());
            let enrolled = hub.enrol(1).remove(0);
            hub.put_keyset(1, &keyring.keyset_blob());
            let house = House::new().trusting(&keyring);
            let (url, pin) = hub.at();
            let at = (url.as_str(), pin.as_str());
            let agent = house.run_as(enrolled.host_id, &enrolled.key, at);
            hub.publish(enrolled.host_id, &document([lxc(101, "goes"), lxc(102, "stays")]));
            wait_until("the guests run", PATIENCE, || house.runs(101) && house.runs(102));
            hub.publish(enrolled.host_id, &asked_away(lxc(101, "goes")));
            let pending = eventually("the held step is reported", PATIENCE, || {
                hub.reported(enrolled.host_id)?.ops.pending.into_iter().next()
            });
            agent.stop();
            hub.hand_in(enrolled.host_id, &keyring.release(&pending));

            let dead = Arc::new(AtomicBool::new(false));
            let died = Arc::clone(&dead);
            let doomed = house.run_probed(enrolled.host_id, &enrolled.key, at, move || {
                let passed = Cell::new(0);
                Rc::new(move |here| {
                    if here == boundary {
                        passed.set(passed.get() + 1);
                        if passed.get() == nth {
                            died.store(true, Ordering::Relaxed);
                            Killed::now();
                        }
                    }
                })
            });
            wait_until("the agent dies", PATIENCE, || dead.load(Ordering::Relaxed));
            drop(doomed);
            let agent = house.run_as(enrolled.host_id, &enrolled.key, at);
            wait_until("the hub hears of it", PATIENCE, || {
                hub.ops(enrolled.host_id) == [(QueueState::Applied, None)]
            });
            agent.stop();
            assert_eq!(house.changes_to("DELETE", "/101"), 1, "{boundary:?} {nth}");
            assert!(!house.control().snapshot().guests.contains_key(&101));
        }
    }
}

#[test]
fn two_signatures_needed_are_two_signatures() {
    let one = Keyring::new();
    let second = Key::number(3);
    let two = one.next(|keyset| {
        let mut entry = keyset.keys[1].clone();
        entry.public = second.public();
        keyset.keys.push(entry);
        keyset.thresholds.destroy = 2;
    });
    let house = House::new().trusting(&one);
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "goes"), lxc(102, "stays")]));
    agent.settle();
    agent.desire(&asked_away(lxc(101, "goes")));
    let pending = agent.cycle().state.ops.pending[0].clone();
    agent.ops().take_keysets(&[two.keyset_blob()], jiff::Timestamp::now()).unwrap();
    let by_one = one.release(&pending);
    assert_eq!(agent.hand_in(&by_one).code.as_deref(), Some("threshold"));
    let payload = &by_one[..=by_one.find('\n').unwrap()];
    let by_two = format!("{by_one}{}", second.armor(felhom_shared::signed::Namespace::Op, payload));
    agent.hand_in(&by_two);
    agent.settle();
    assert!(!house.control().snapshot().guests.contains_key(&101));
}
