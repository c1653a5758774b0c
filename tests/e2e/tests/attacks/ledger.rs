//! 53–56 and 60–67: replays, and what can happen to the box's memory of what it took.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use felhom_agent::ops::Ops;
use felhom_agent::state::{Boundary, State};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::report::LedgerHead;
use felhom_shared::signed::{
    LedgerRebase, Namespace, Nonce, Op, OpId, Request, ResetGeneration, Role, Target, VoidBefore,
};
use felhom_shared::wire::QueuedOp;
use felhom_tests::{Agent, Key, Keyring, Killed, Program, host_id, wait_until};
use jiff::Timestamp;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::scene::{DAY, HOUR, Scene, all, asked_away, now_ms, word};
use crate::{Row, row};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(53, "handed in again after it ran", "applied, ran 1, applied", || replayed(|_| ())),
    row(53, "handed in again while it waits", "delivered, ran 1, applied", handed_in_twice),
    row(54, "handed in again after a restart", "applied, ran 1, applied", || replayed(Scene::restart)),
    row(55, "handed in again after the ledger was cleared, with the clock set back", "applied, stale", after_clearing),
    row(55, "voided beforehand, and handed in after the row that voided it was cleared", "stale, stale", voided_and_cleared),
    row(55, "the floor outlives a second clearing that raises nothing", "stale", cleared_twice),
    row(56, "4097 operations", "ledger_full, 4096 kept", ledger_full),
    row(56, "a full ledger makes room when a root key voids what is old", "ledger_full, applied, accepted", voided_when_full),
    row(60, "the same nonce under another payload", "replayed", || same_nonce(|op| op.expires_at += 1)),
    row(60, "the same payload in another envelope", "replayed", another_envelope),
    row(61, "killed after the reservation", "runs once: ran 1, applied", killed_after_reserve),
    row(61, "killed before the reservation", "runs once: ran 1, applied", || killed_at(Boundary::BeforeReserve)),
    row(61, "killed on the way of an operation on the host", "applied", host_op_killed),
    row(62, "killed after it began", "ran 0, interrupted", || killed_in_cycle(Boundary::AfterBegin)),
    row(62, "killed after PVE was asked", "ran 1, applied", || killed_in_cycle(Boundary::AfterCall)),
    row(63, "the write of the reservation is torn by a power cut", "runs once: ran 1, applied", torn_write),
    row(63, "rows cut off the end", "ledger_rolled_back", || tampered_seen("DELETE FROM op_ledger WHERE seq = (SELECT max(seq) FROM op_ledger)")),
    row(63, "every row cut off", "ledger_rolled_back", || tampered_seen("DELETE FROM op_ledger")),
    row(64, "a flipped byte", "ledger_damaged, ran 0", || all(FLIPS.map(|sql| tampered(sql, "ledger_damaged")))),
    row(64, "a row taken out of the middle", "ledger_damaged, ran 0", || tampered("DELETE FROM op_ledger WHERE seq = 1", "ledger_damaged")),
    row(64, "a state put back to before: accepted again", "ledger_damaged, ran 0", || tampered("UPDATE op_ledger SET row = replace(row, '\"state\":\"rejected\"', '\"state\":\"accepted\"')", "ledger_damaged")),
    row(65, "no space left for the reservation", "not taken, ran 0; then ran 1, applied", no_space),
    row(65, "no space left on a real device", "not taken, ran 0; then ran 1, applied", full_device),
    row(66, "the ledger of last week is put back", "ledger_rolled_back, ran 0", last_weeks_ledger),
    row(66, "a root key rebases it: what ran before does not run again", "ledger_rolled_back, applied, stale, delivered", rebased),
    row(66, "a rebase to the farthest row", "op_malformed", || all([u64::MAX, i64::MAX as u64, 1 << 60].map(rebased_to))),
    row(66, "a hub that has seen another ledger of the same length", "ledger_rolled_back", other_head),
    row(67, "two agents on one state", "refused: another agent", two_agents),
];

/// A box of which only the ledger and the judge are there; the time is what the test says.
struct Desk {
    folder: tempfile::TempDir,
    keyring: Keyring,
    ops: Ops,
    state: State,
}

impl Desk {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    fn over(folder: tempfile::TempDir) -> Self {
        let keyring = Keyring::new();
        let state = State::open(folder.path()).unwrap();
        let ops = Ops::new(host_id(), Some(keyring.keyset().digest()), state.clone());
        if ops.keyset_version().is_none() {
            ops.take_keysets(&[keyring.keyset_blob()], Timestamp::now()).unwrap();
        }
        ops.take_seen(None, Timestamp::now()).unwrap();
        Self { folder, keyring, ops, state }
    }

    /// A ledger of this many operations that ran and ended, the first issued at `from`, then one a millisecond.
    fn filled(count: u64, from: u64) -> Self {
        let Self { folder, state, ops, .. } = Self::new();
        drop((state, ops));
        append(folder.path(), None, count, from);
        let desk = Self::over(folder);
        assert!(!desk.state.book().is_damaged(), "the rows are chained as the agent chains them");
        assert_eq!(desk.state.book().standings().len() as u64, count);
        desk
    }

    fn restarted(self) -> Self {
        drop((self.state, self.ops));
        Self::over(self.folder)
    }

    /// Hands in at a time.
    fn hand_in(&self, envelope: &str, at_ms: u64) -> String {
        let blob = envelope.to_owned();
        let queued = QueuedOp { op_id: OpId::of(blob.as_bytes()), blob };
        let told = self.ops.take_ops(&[queued], Some(&asked_away()), at(at_ms)).unwrap();
        told.first().map_or_else(|| "untold".to_owned(), |(_, told)| word(told))
    }

    /// A destruction issued at a time for a day.
    fn destruction(&self, issued_at: u64) -> String {
        let nonce = Nonce(*uuid::Uuid::new_v4().as_bytes());
        let op = crate::scene::op();
        self.keyring.sign(&Op { nonce, issued_at, expires_at: issued_at + DAY, ..op })
    }

    /// An operation on the host issued at a time for a day.
    fn by_root(&self, request: Request, issued_at: u64) -> String {
        by_root(&self.keyring, request, issued_at)
    }
}

fn by_root(keyring: &Keyring, request: Request, issued_at: u64) -> String {
    let op = Op {
        request,
        target: Target { host_id: host_id(), guest_id: None },
        nonce: Nonce(*uuid::Uuid::new_v4().as_bytes()),
        issued_at,
        expires_at: issued_at + DAY,
        key_id: keyring.root.public().fingerprint(),
    };
    keyring.root.sign(Namespace::Op, &op.to_payload())
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap()
}

/// Appends operations that ended to the ledger of a stopped agent, chained as it chains them.
fn append(folder: &Path, head: Option<&LedgerHead>, count: u64, from: u64) {
    let mut sql = Connection::open(folder.join("agent.db")).unwrap();
    let transaction = sql.transaction().unwrap();
    let mut seq = head.map_or(0, |head| head.seq);
    let mut chain =
        head.map_or_else(Vec::new, |head| data_encoding::HEXLOWER.decode(head.head.as_bytes()).unwrap());
    let when = at(from);
    let first = seq;
    for nth in first..first + count {
        let (op_id, nonce, issued) = (format!("{nth:064x}"), format!("{nth:032x}"), from + nth);
        let reserved = format!(
            r#"{{"row":"reserved","op_id":"{op_id}","op":"guest.destroy","guest_id":null,"nonce":"{nonce}","issued_at":{issued},"expires_at":{},"at":"{when}"}}"#,
            issued + 1
        );
        let ended = format!(
            r#"{{"row":"ended","op_id":"{op_id}","state":"applied","code":null,"text":null,"at":"{when}"}}"#
        );
        for (row, nonce) in [(reserved, Some(nonce)), (ended, None)] {
            seq += 1;
            chain = Sha256::new()
                .chain_update(b"felhom/ledger/v1\0")
                .chain_update(&chain)
                .chain_update(seq.to_be_bytes())
                .chain_update(row.as_bytes())
                .finalize()
                .to_vec();
            let values = rusqlite::params![seq.cast_signed(), op_id, nonce, row, chain];
            transaction.execute("INSERT INTO op_ledger VALUES (?1, ?2, ?3, ?4, ?5)", values).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn replayed(between: fn(&mut Scene)) -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    assert_eq!(scene.ran(), "ran 1, applied");
    between(&mut scene);
    let told = scene.hand_in(&envelope);
    format!("{told}, {}", scene.ran())
}

fn handed_in_twice() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    let again = scene.hand_in(&envelope);
    format!("{again}, {}", scene.ran())
}

/// Ten days ago something ran; it is cleared today; then the clock is ten days back.
fn after_clearing() -> String {
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
fn voided_and_cleared() -> String {
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
fn cleared_twice() -> String {
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

fn ledger_full() -> String {
    let desk = Desk::filled(4096, now_ms() - HOUR);
    let told = desk.hand_in(&desk.destruction(now_ms()), now_ms());
    let kept = desk.restarted().state.book().standings().len();
    format!("{told}, {kept} kept")
}

fn voided_when_full() -> String {
    let desk = Desk::filled(4096, now_ms() - HOUR);
    let told = desk.hand_in(&desk.destruction(now_ms()), now_ms());
    let void = Request::VoidBefore(VoidBefore { before: now_ms() - 1 });
    let voided = desk.hand_in(&desk.by_root(void, now_ms()), now_ms());
    let next = desk.hand_in(&desk.destruction(now_ms() + 1), now_ms());
    let next = if next == "delivered" { "accepted".to_owned() } else { next };
    format!("{told}, {voided}, {next}")
}

fn same_nonce(change: impl FnOnce(&mut Op)) -> String {
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
fn another_envelope() -> String {
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

/// An agent that dies when it first comes to `boundary`.
fn doomed(scene: &Scene, boundary: Boundary) -> Agent {
    let died = Cell::new(false);
    scene.house.agent_with_probe(Rc::new(move |here| {
        if here == boundary && !died.replace(true) {
            Killed::now();
        }
    }))
}

fn killed_at(boundary: Boundary) -> String {
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

fn killed_after_reserve() -> String {
    killed_at(Boundary::AfterReserve)
}

/// The hub hands it out again, or the box finds it itself: it must not wait for ever.
fn host_op_killed() -> String {
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

fn killed_in_cycle(boundary: Boundary) -> String {
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

/// The files as they are on disk now.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["agent.db", "agent.db-wal"].map(|name| folder.join(name));
    names
        .into_iter()
        .filter(|path| path.exists())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Puts files back in place of what is there. The agent has stopped.
fn put_back(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for name in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        // What is not there need not go.
        let _ = fs::remove_file(folder.join(name));
    }
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

fn torn_write() -> String {
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

fn edit(folder: &Path, sql: &str) {
    let edited = Connection::open(folder.join("agent.db")).unwrap().execute(sql, []).unwrap();
    assert!(edited > 0, "{sql}: nothing was changed");
}

/// Every column that the chain is over, changed a little in the middle of the ledger.
const FLIPS: [&str; 5] = [
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

fn tampered(sql: &str, expected: &str) -> String {
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

fn tampered_seen(sql: &str) -> String {
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

/// How SQLite fails when a disk is full: the statement alone, or the whole transaction with it.
const FULL: [&str; 4] = ["BEFORE-FAIL", "BEFORE-ABORT", "BEFORE-ROLLBACK", "AFTER-ROLLBACK"];

/// The write that would reserve it fails, by a trigger in the agent's own file.
fn no_space() -> String {
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
fn full_device() -> String {
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
    assert!(grants.of(felhom_tests::guest_id(101)).is_none());
    let ran = scene.house.changes_to("DELETE", "/101");
    scene.stop();
    mend();
    scene.restart();
    scene.hand_in(&blob);
    format!("{told}, ran {ran}; then {}", scene.ran())
}

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

fn last_weeks_ledger() -> String {
    let (mut scene, envelope, _) = rolled_back();
    let told = scene.hand_in(&envelope);
    scene.work();
    format!("{told}, ran {}", scene.house.changes_to("DELETE", "/101"))
}

fn rebased() -> String {
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

fn rebased_to(seq: u64) -> String {
    let desk = Desk::new();
    let rebase = desk.by_root(Request::LedgerRebase(LedgerRebase { seq }), now_ms());
    desk.hand_in(&rebase, now_ms())
}

fn other_head() -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    scene.hand_in(&envelope);
    let head = scene.agent().state().ledger_head().unwrap();
    let other = LedgerHead { head: "0".repeat(64), ..head };
    scene.agent().ops().take_seen(Some(&other), Timestamp::now()).unwrap();
    let envelope = scene.envelope();
    scene.hand_in(&envelope)
}

fn two_agents() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let private = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let scene = Scene::new();
    let key = ApiKey::from_random(KeyKind::Host, [1; 10], &[2; 32]);
    private("hub-key", key.expose());
    private("pve-token", scene.house.node().token());
    let config = format!(
        "host_id = \"{}\"\nstate_dir = \"{}\"\n\n[hub]\nurl = \"https://127.0.0.1:9\"\npins = [\"sha256:{}\"]\n\
         key_file = \"{}\"\n\n[pve]\nurl = \"{}\"\ncertificate = \"{}\"\ntoken_file = \"{}\"\n",
        host_id(),
        path("state"),
        "0".repeat(64),
        path("hub-key"),
        scene.house.node().base_url(),
        scene.house.node().cert_path().display(),
        path("pve-token"),
    );
    private("agent.toml", &config);
    let arguments = ["run", "--config", &path("agent.toml")];
    let first = Program::start("felhom-agent", &arguments);
    let database = folder.path().join("state/agent.db");
    wait_until("the first agent is at work", Duration::from_secs(20), || database.exists());
    let second = Program::run("felhom-agent", &arguments);
    first.terminate();
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    match (second.status.success(), words.contains("another agent runs on this state")) {
        (false, true) => "refused: another agent".to_owned(),
        _ => format!("{:?}: {words}", second.status),
    }
}
