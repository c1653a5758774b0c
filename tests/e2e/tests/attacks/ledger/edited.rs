//! Somebody edits the ledger's file while the agent is stopped.

use std::path::Path;
use std::time::Duration;

use felhom_shared::signed::{Request, VoidBefore};
use jiff::Timestamp;
use rusqlite::Connection;

use crate::scene::{Scene, now_ms};

fn edit(folder: &Path, sql: &str) {
    let edited = Connection::open(folder.join("agent.db")).unwrap().execute(sql, []).unwrap();
    assert!(edited > 0, "{sql}: nothing was changed");
}

/// Every column that the chain is over, changed a little in the middle of the ledger.
pub(super) const FLIPS: [&str; 5] = [
    "UPDATE op_ledger SET row = replace(row, '\"issued_at\":1', '\"issued_at\":2') WHERE seq = 1",
    "UPDATE op_ledger SET row = row || ' ' WHERE seq = 1",
    "UPDATE op_ledger SET chain = zeroblob(32) WHERE seq = 1",
    "UPDATE op_ledger SET seq = seq + 1000 WHERE seq = (SELECT max(seq) FROM op_ledger)",
    "INSERT INTO op_base VALUES (1, 1, zeroblob(32))",
];

/// One operation ended and one waits; then somebody edits the file.
fn two_in_ledger() -> (Scene, String) {
    let mut scene = Scene::new();
    let first = scene.envelope();
    scene.hand_in(&first);
    let void = scene.keyring.root_op(Request::VoidBefore(VoidBefore { before: now_ms() }));
    assert_eq!(scene.hand_in(&void), "applied");
    std::thread::sleep(Duration::from_millis(2));
    let waiting = scene.envelope();
    assert_eq!(scene.hand_in(&waiting), "delivered");
    (scene, waiting)
}

pub(super) fn tampered(sql: &str, expected: &str) -> String {
    let (mut scene, _) = two_in_ledger();
    scene.stop();
    edit(&scene.house.state_dir(), sql);
    scene.restart();
    std::thread::sleep(Duration::from_millis(2));
    let fresh = scene.envelope();
    let told = scene.hand_in(&fresh);
    assert_eq!(told, expected, "{sql}");
    scene.work();
    format!("{told}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

pub(super) fn tampered_seen(sql: &str) -> String {
    let (mut scene, waiting) = two_in_ledger();
    let head = scene.agent().state().ledger_head();
    scene.stop();
    edit(&scene.house.state_dir(), sql);
    scene.restart();
    scene.agent().ops().take_seen(head.as_ref(), Timestamp::now()).unwrap();
    let envelope = scene.envelope();
    let told = scene.hand_in(&envelope);
    scene.work();
    assert_eq!(scene.house.changes_to("DELETE", "/101"), 0, "{waiting}");
    told
}
