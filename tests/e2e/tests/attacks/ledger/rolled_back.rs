//! The files are those of last week, and the hub has seen what came after.

use std::time::Duration;

use felhom_shared::report::LedgerHead;
use felhom_shared::signed::{LedgerRebase, Request};
use jiff::Timestamp;

use super::desk::{Desk, files, put_back};
use crate::scene::{Scene, now_ms};

/// A box whose files are those of before, and a hub that has seen what came after.
fn rolled_back() -> (Scene, String, LedgerHead) {
    let mut scene = Scene::new();
    let folder = scene.house.state_dir();
    let last_week = files(&folder);
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    let head = scene.agent().state().ledger_head().unwrap();
    scene.stop();
    put_back(&folder, &last_week);
    scene.restart();
    scene.agent().ops().take_seen(Some(&head), Timestamp::now()).unwrap();
    (scene, envelope, head)
}

pub(super) fn last_weeks_ledger() -> String {
    let (mut scene, envelope, _) = rolled_back();
    let told = scene.hand_in(&envelope);
    scene.work();
    format!("{told}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

pub(super) fn rebased() -> String {
    let (mut scene, envelope, head) = rolled_back();
    let told = scene.hand_in(&envelope);
    let rebase = scene.keyring.root_op(Request::LedgerRebase(LedgerRebase { seq: head.seq }));
    let rebased = scene.hand_in(&rebase);
    scene.restart();
    scene.agent().ops().take_seen(Some(&head), Timestamp::now()).unwrap();
    let replayed = scene.hand_in(&envelope);
    std::thread::sleep(Duration::from_millis(2));
    let fresh = scene.envelope();
    format!("{told}, {rebased}, {replayed}, {}", scene.hand_in(&fresh))
}

pub(super) fn rebased_to(seq: u64) -> String {
    let desk = Desk::new();
    let rebase = desk.by_root(Request::LedgerRebase(LedgerRebase { seq }), now_ms());
    desk.hand_in(&rebase, now_ms())
}

pub(super) fn other_head() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    let head = scene.agent().state().ledger_head().unwrap();
    let other = LedgerHead { head: "0".repeat(64), ..head };
    scene.agent().ops().take_seen(Some(&other), Timestamp::now()).unwrap();
    let envelope = scene.envelope();
    scene.hand_in(&envelope)
}
