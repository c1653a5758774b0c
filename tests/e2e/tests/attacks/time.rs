//! 49–52 and 57–59: windows and clocks. Both clocks can be wrong; the hub's counts for nothing.

use std::rc::Rc;

use felhom_agent::state::{Boundary, State};
use felhom_shared::signed::{Clock, Empty, Op, Request, Target};
use felhom_tests::{Keyring, host_id};
use jiff::Timestamp;

use crate::scene::{
    DAY, HOUR, NOW, Scene, all, genesis, judged, judged_at, now_ms, op, payload, second, signed, word,
};
use crate::{Row, row};

const YEAR: u64 = 365 * DAY;

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(49, "a destruction that lives for thirty days", "life_too_long", || window(NOW, NOW + 30 * DAY)),
    row(49, "a destruction that lives 48 hours and a millisecond", "life_too_long", || window(NOW, NOW + 2 * DAY + 1)),
    row(49, "a destruction that lives 48 hours", "accepted", || window(NOW, NOW + 2 * DAY)),
    row(49, "a clock.reset that lives for ever: exempt from the clock, not from this", "life_too_long", || root_op(NOW, u64::MAX)),
    row(50, "over before it begins", "window_empty", || all([window(NOW, NOW), window(NOW, NOW - 1), window(u64::MAX, 0), window(NOW, 0)])),
    row(51, "issued an hour in the future", "not_yet", || window(NOW + HOUR, NOW + 2 * HOUR)),
    row(51, "issued in the farthest future", "not_yet", || window(u64::MAX - DAY, u64::MAX)),
    row(51, "issued five minutes in the future: a clock may be that wrong", "accepted", || window(NOW + 5 * 60_000, NOW + HOUR)),
    row(51, "its time is over", "expired", || all([window(NOW - DAY, NOW), window(NOW - DAY, NOW - 1), window(0, 1)])),
    row(52, "its time ends while it waits its turn", "expired, ran 0", expires_while_waiting),
    row(52, "its time ends between the shutdown and the destruction", "expired, ran 0", expires_between_steps),
    row(57, "the clock says 1970", "clock_behind", || all([0, 1, NOW / 2].map(at_system_time))),
    row(57, "the box's clock fell back; the operation waits for it and then runs", "delivered, ran 0, no receipt; ran 1, applied", held_then_runs),
    row(58, "the clock a week back, and an operation withheld since then", "expired", || judged_at(&genesis(), Clock { system_ms: NOW - 7 * DAY, floor_ms: NOW }, signed(&of_window(NOW - 7 * DAY, NOW - 6 * DAY)))),
    row(58, "the same on the box itself", "expired, ran 0", withheld_on_the_box),
    row(59, "the clock ten years forward: what is signed now is over", "expired", || judged_at(&genesis(), Clock { system_ms: NOW, floor_ms: NOW + 10 * YEAR }, signed(&payload()))),
    row(59, "and back, mended by a root key's clock.reset", "expired, applied, delivered, ran 1, applied", clock_reset),
    row(59, "the same clock.reset again, to bring back what it voided", "applied, stale, ran 0", clock_reset_does_not_revive),
    row(59, "clock.reset by an operator", "unknown_key", || judged(signed(&host_op(Request::ClockReset(Empty {})).to_payload()))),
];

fn of_window(issued_at: u64, expires_at: u64) -> String {
    Op { issued_at, expires_at, ..op() }.to_payload()
}

fn window(issued_at: u64, expires_at: u64) -> String {
    judged(signed(&of_window(issued_at, expires_at)))
}

fn host_op(request: Request) -> Op {
    Op { request, target: Target { host_id: host_id(), guest_id: None }, ..op() }
}

fn root_op(issued_at: u64, expires_at: u64) -> String {
    let root = Keyring::new().root;
    let key_id = root.public().fingerprint();
    let op = Op { issued_at, expires_at, key_id, ..host_op(Request::ClockReset(Empty {})) };
    judged(root.sign(felhom_shared::signed::Namespace::Op, &op.to_payload()))
}

fn at_system_time(system_ms: u64) -> String {
    let trusted = second(|_| ());
    judged_at(&trusted, Clock { system_ms, floor_ms: NOW - HOUR }, signed(&payload()))
}

/// The box has seen a later time than the end of the operation's.
fn expires_while_waiting() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    assert_eq!(scene.hand_in(&envelope), "delivered");
    scene.agent().state().put_clock_floor(now_ms() + 2 * HOUR).unwrap();
    scene.work();
    format!("{}, ran {}", scene.receipt(), scene.house.changes_to("DELETE", "/101"))
}

/// The guest takes its time to shut down, and the operation is looked at again before the next step.
fn expires_between_steps() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.stop();
    let folder = scene.house.state_dir();
    let agent = scene.house.agent_with_probe(Rc::new(move |here| {
        if here == Boundary::AfterTask {
            let state = State::open(&folder).unwrap();
            state.put_clock_floor(now_ms() + 2 * HOUR).unwrap();
        }
    }));
    scene.start(agent);
    assert_eq!(scene.hand_in(&envelope), "delivered");
    scene.work();
    assert_eq!(scene.house.changes_to("POST", "/101/status/shutdown"), 1, "it was shut down");
    format!("{}, ran {}", scene.receipt(), scene.house.changes_to("DELETE", "/101"))
}

fn held_then_runs() -> String {
    let mut scene = Scene::new();
    let floor = now_ms() + HOUR / 2;
    scene.agent().state().put_clock_floor(floor).unwrap();
    let envelope = scene.envelope();
    let told = scene.hand_in(&envelope);
    let before = scene.ran();
    scene.agent().state().put_clock_floor(now_ms() - HOUR).unwrap();
    let desired = crate::scene::asked_away();
    scene.agent().ops().take_held(Some(&desired), Timestamp::now()).unwrap();
    format!("{told}, {before}; {}", scene.ran())
}

fn withheld_on_the_box() -> String {
    let mut scene = Scene::new();
    // Signed a week ago by a clock that was right then; the box's clock was set back to that day.
    let withheld = scene.changed(|op| {
        op.issued_at -= HOUR;
        op.expires_at = op.issued_at + HOUR / 2;
    });
    let told = scene.hand_in(&withheld);
    scene.work();
    format!("{told}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

fn clock_reset() -> String {
    let mut scene = Scene::new();
    scene.agent().state().put_clock_floor(now_ms() + 10 * YEAR).unwrap();
    let early = scene.envelope();
    let early = scene.hand_in(&early);
    let reset = scene.keyring.root_op(Request::ClockReset(Empty {}));
    let reset = scene.hand_in(&reset);
    std::thread::sleep(std::time::Duration::from_millis(2));
    let late = scene.envelope();
    let late = scene.hand_in(&late);
    format!("{early}, {reset}, {late}, {}", scene.ran())
}

fn clock_reset_does_not_revive() -> String {
    let mut scene = Scene::new();
    let withheld = scene.envelope();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let reset = scene.keyring.root_op(Request::ClockReset(Empty {}));
    scene.agent().state().put_clock_floor(now_ms() + 10 * YEAR).unwrap();
    assert_eq!(scene.hand_in(&reset), "applied");
    scene.agent().state().put_clock_floor(now_ms()).unwrap();
    let again = word(&scene.agent().hand_in(&reset));
    let withheld = scene.hand_in(&withheld);
    scene.work();
    format!("{again}, {withheld}, ran {}", scene.house.changes_to("DELETE", "/101"))
}
