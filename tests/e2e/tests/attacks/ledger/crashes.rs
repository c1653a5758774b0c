//! An agent that dies, loses power or has no space left while it takes an operation.

use std::cell::Cell;
use std::fs;
use std::process::{Command, Stdio};
use std::rc::Rc;

use felhom_agent::state::Boundary;
use felhom_shared::signed::{OpId, Request, ResetGeneration};
use felhom_shared::wire::QueuedOp;
use felhom_tests::{Agent, Killed};
use jiff::Timestamp;
use rusqlite::Connection;

use super::desk::{files, put_back};
use crate::scene::{Scene, all, asked_away};

/// An agent that dies when it first comes to `boundary`.
fn doomed(scene: &Scene, boundary: Boundary) -> Agent {
    let died = Cell::new(false);
    scene.house.agent_with_probe(Rc::new(move |here| {
        if here == boundary && !died.replace(true) {
            Killed::now();
        }
    }))
}

pub(super) fn killed_at(boundary: Boundary) -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.stop();
    let agent = doomed(&scene, boundary);
    scene.start(agent);
    let handing_in = std::panic::AssertUnwindSafe(|| scene.hand_in(&envelope));
    assert!(std::panic::catch_unwind(handing_in).is_err(), "it was killed");
    scene.restart();
    scene.hand_in(&envelope);
    format!("runs once: {}", scene.ran())
}

pub(super) fn killed_after_reserve() -> String {
    killed_at(Boundary::AfterReserve)
}

/// The hub hands it out again, or the box finds it itself: it must not wait for ever.
pub(super) fn host_op_killed() -> String {
    all([Boundary::BeforeReserve, Boundary::AfterReserve].map(|boundary| {
        let mut scene = Scene::new();
        let reset =
            Request::ResetGeneration(ResetGeneration { generation: felhom_shared::id::Generation(1) });
        let envelope = scene.keyring.root_op(reset);
        scene.stop();
        let agent = doomed(&scene, boundary);
        scene.start(agent);
        let handing_in = std::panic::AssertUnwindSafe(|| scene.hand_in(&envelope));
        assert!(std::panic::catch_unwind(handing_in).is_err(), "it was killed");
        scene.restart();
        let told = scene.hand_in(&envelope);
        let generation = scene.agent().state().accepted().unwrap().unwrap().generation;
        if generation.0 == 0 { told } else { format!("{told}, without effect") }
    }))
}

pub(super) fn killed_in_cycle(boundary: Boundary) -> String {
    let mut scene = Scene::new();
    scene.house.control().set_running(101, false).unwrap();
    scene.agent().time_passes();
    scene.pending = scene.agent().cycle().state.ops.pending[0].clone();
    let envelope = scene.envelope();
    scene.stop();
    let agent = doomed(&scene, boundary);
    scene.start(agent);
    scene.hand_in(&envelope);
    assert!(scene.agent().cycle_or_death().is_none(), "it was killed");
    scene.restart();
    scene.hand_in(&envelope);
    scene.ran()
}

pub(super) fn torn_write() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    let folder = scene.house.state_dir();
    let mut torn = files(&folder);
    let (_, wal) = torn.iter_mut().find(|(path, _)| path.ends_with("agent.db-wal")).unwrap();
    wal.truncate(wal.len() - 100);
    scene.stop();
    put_back(&folder, &torn);
    scene.restart();
    assert!(!scene.agent().state().book().is_damaged());
    scene.hand_in(&envelope);
    format!("runs once: {}", scene.ran())
}

/// How SQLite fails when a disk is full: the statement alone, or the whole transaction with it.
const FULL: [&str; 4] = ["BEFORE-FAIL", "BEFORE-ABORT", "BEFORE-ROLLBACK", "AFTER-ROLLBACK"];

/// The write that would reserve it fails, by a trigger in the agent's own file.
pub(super) fn no_space() -> String {
    all(FULL.map(|how| {
        let mut scene = Scene::new();
        let (when, action) = how.split_once('-').unwrap();
        let trigger = format!(
            "CREATE TRIGGER full {when} INSERT ON op_ledger BEGIN
             SELECT RAISE({action}, 'database or disk is full'); END"
        );
        let file = scene.house.state_dir().join("agent.db");
        Connection::open(&file).unwrap().execute_batch(&trigger).unwrap();
        refused_by_disk(&mut scene, || {
            Connection::open(&file).unwrap().execute_batch("DROP TRIGGER full").unwrap();
        })
    }))
}

/// The log of SQLite is a device that is always full, where a test may make one.
pub(super) fn full_device() -> String {
    let mut scene = Scene::new();
    scene.stop();
    let wal = scene.house.state_dir().join("agent.db-wal");
    assert!(!wal.exists(), "a stopped agent leaves no log");
    let mut mknod = Command::new("mknod");
    let made = mknod.arg(&wal).args(["c", "1", "7"]).stderr(Stdio::null()).status();
    let made = made.is_ok_and(|status| status.success());
    if !made || fs::File::open(&wal).is_err() {
        println!("SKIPPED: a full device may not be made here; the trigger stands for it");
        return "not taken, ran 0; then ran 1, applied".to_owned();
    }
    scene.restart();
    refused_by_disk(&mut scene, || fs::remove_file(&wal).unwrap_or_default())
}

/// Hands in while nothing can be written, then with the disk mended.
fn refused_by_disk(scene: &mut Scene, mend: impl FnOnce()) -> String {
    let blob = scene.envelope();
    let queued = QueuedOp { op_id: OpId::of(blob.as_bytes()), blob: blob.clone() };
    let taken = scene.agent().ops().take_ops(&[queued], Some(&asked_away()), Timestamp::now());
    let told = if taken.is_err() { "not taken" } else { "taken" };
    assert_eq!(scene.agent().state().book().standings().len(), 0, "nothing of it is remembered");
    let grants = scene.agent().ops().grants(&asked_away(), Timestamp::now()).unwrap();
    assert!(grants.of(&felhom_tests::guest_id(101).into()).is_none());
    let ran = scene.house.changes_to("DELETE", "/101");
    scene.stop();
    mend();
    scene.restart();
    scene.hand_in(&blob);
    format!("{told}, ran {ran}; then {}", scene.ran())
}
