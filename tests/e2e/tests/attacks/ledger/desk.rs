//! A box of which only the ledger and the judge are there, and its files.

use std::fs;
use std::path::{Path, PathBuf};

use felhom_agent::ops::Ops;
use felhom_agent::state::State;
use felhom_shared::report::LedgerHead;
use felhom_shared::signed::{Namespace, Nonce, Op, OpId, Request, Target};
use felhom_shared::wire::QueuedOp;
use felhom_tests::{Keyring, host_id};
use jiff::Timestamp;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::scene::{DAY, asked_away, word};

/// A box of which only the ledger and the judge are there; the time is what the test says.
pub(super) struct Desk {
    pub(super) folder: tempfile::TempDir,
    pub(super) keyring: Keyring,
    pub(super) ops: Ops,
    pub(super) state: State,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    pub(super) fn over(folder: tempfile::TempDir) -> Self {
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
    pub(super) fn filled(count: u64, from: u64) -> Self {
        let Self { folder, state, ops, .. } = Self::new();
        drop((state, ops));
        append(folder.path(), None, count, from);
        let desk = Self::over(folder);
        assert!(!desk.state.book().is_damaged(), "the rows are chained as the agent chains them");
        assert_eq!(desk.state.book().standings().len() as u64, count);
        desk
    }

    pub(super) fn restarted(self) -> Self {
        drop((self.state, self.ops));
        Self::over(self.folder)
    }

    /// Hands in at a time.
    pub(super) fn hand_in(&self, envelope: &str, at_ms: u64) -> String {
        let blob = envelope.to_owned();
        let queued = QueuedOp { op_id: OpId::of(blob.as_bytes()), blob };
        let told = self.ops.take_ops(&[queued], Some(&asked_away()), at(at_ms)).unwrap();
        told.first().map_or_else(|| "untold".to_owned(), |(_, told)| word(told))
    }

    /// A destruction issued at a time for a day.
    pub(super) fn destruction(&self, issued_at: u64) -> String {
        let nonce = Nonce(*uuid::Uuid::new_v4().as_bytes());
        let op = crate::scene::op();
        self.keyring.sign(&Op { nonce, issued_at, expires_at: issued_at + DAY, ..op })
    }

    /// An operation on the host issued at a time for a day.
    pub(super) fn by_root(&self, request: Request, issued_at: u64) -> String {
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

pub(super) fn at(ms: u64) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap()
}

/// Appends operations that ended to the ledger of a stopped agent, chained as it chains them.
pub(super) fn append(folder: &Path, head: Option<&LedgerHead>, count: u64, from: u64) {
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

/// The files as they are on disk now.
pub(super) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["agent.db", "agent.db-wal"].map(|name| folder.join(name));
    names
        .into_iter()
        .filter(|path| path.exists())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Puts files back in place of what is there. The agent has stopped.
pub(super) fn put_back(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for name in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        // What is not there need not go.
        let _ = fs::remove_file(folder.join(name));
    }
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}
