//! The real hub, whose database is in the wrong hands: whoever writes straight into its tables has neither the pages'
//! checks nor the command line's questions in his way, and the hub serves what he wrote.

use std::net::SocketAddr;

use felhom_hub::config::Config;
use felhom_hub::serve::{self, Running};
use felhom_hub::store::{FILE_NAME, hosts, keys};
use felhom_shared::desired::{DesiredState, digest};
use felhom_shared::id::HostId;
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::signed::{KeyEntry, Namespace, OpId, Role};
use felhom_tests::{House, Key, Keyring, document, host_id, wait_until};
use rusqlite::{Connection, OptionalExtension, params};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::ground::{Ground, furnish, good};
use crate::log::Log;
use crate::operations::{destruction_of, without};
use crate::siege::{PATIENCE, json};

/// Where a row shows, beside the agent's log.
enum Shown {
    /// The hub was posted an event of this kind with these words.
    Event(&'static str, &'static str),
    /// The queue says that this became of an operation.
    Op(OpId, &'static str, Option<&'static str>),
    /// Nowhere in the hub, whose own tables say who the agent is.
    LogAlone,
}

/// The hub, its folder, and the boxes it knows.
struct Owned {
    runtime: Runtime,
    folder: TempDir,
    listen: SocketAddr,
    pin: String,
    running: Option<Running>,
    key: ApiKey,
    other: HostId,
}

impl Owned {
    /// A hub that knows this test's box and another one.
    fn start() -> Self {
        let mut workers = tokio::runtime::Builder::new_multi_thread();
        let runtime = workers.worker_threads(2).enable_all().build().expect("a runtime of its own");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = ApiKey::from_random(KeyKind::Host, [9; 10], &[7; 32]);
        let other = HostId(Uuid::from_u128(0xbeef));
        let mut hub = Self {
            runtime,
            folder,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            pin: String::new(),
            running: None,
            key,
            other,
        };
        hub.serve();
        let state = hub.running.as_ref().expect("it was just started").state.clone();
        let (lookup, hmac) = (hub.key.lookup().to_owned(), state.keys.hmac(&hub.key));
        let enrolled = state.store.write(move |sql| {
            hosts::add(sql, host_id(), "house", None, 0)?;
            hosts::add(sql, other, "another-house", None, 0)?;
            keys::replace_host_key(sql, host_id(), &lookup, &hmac, 0)
        });
        hub.runtime.block_on(enrolled).expect("the store works");
        hub
    }

    fn serve(&mut self) {
        let data_dir = self.folder.path().to_owned();
        let config = Config { listen: self.listen, data_dir, poll_interval_s: 5, ..Config::default() };
        let running = self.runtime.block_on(serve::start(config)).expect("the hub starts");
        (self.listen, self.pin) = (running.local_addr, running.pin.clone());
        self.running = Some(running);
    }

    /// Stops the hub, lets somebody write into its tables, and starts it on what he left.
    fn own(&mut self, deed: impl FnOnce(&Connection)) {
        let running = self.running.take().expect("it runs");
        self.runtime.block_on(running.shutdown()).expect("the store works");
        deed(&self.tables());
        self.serve();
    }

    fn tables(&self) -> Connection {
        Connection::open(self.folder.path().join(FILE_NAME)).expect("a database")
    }

    fn shows(&self, since: i64, shown: &Shown) -> bool {
        let sql = self.tables();
        match shown {
            Shown::Event(kind, words) => {
                let like = (format!("%\"kind\":\"{kind}\"%"), format!("%{words}%"));
                let found = sql
                    .query_row(
                        "SELECT 1 FROM events WHERE rowid > ?1 AND event LIKE ?2 AND event LIKE ?3",
                        params![since, like.0, like.1],
                        |_| Ok(()),
                    )
                    .optional();
                found.expect("the table is there").is_some()
            }
            Shown::Op(op_id, state, code) => {
                let found = sql
                    .query_row(
                        "SELECT state, code FROM signed_ops WHERE op_id = ?1",
                        [op_id.as_str()],
                        |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)),
                    )
                    .optional();
                let (is, why) = found.expect("the table is there").expect("it was put there");
                is == *state && why.as_deref() == *code
            }
            Shown::LogAlone => true,
        }
    }

    fn newest_event(&self) -> i64 {
        let newest =
            self.tables().query_row("SELECT coalesce(max(rowid), 0) FROM events", [], |row| row.get(0));
        newest.expect("the table is there")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // A hub that cannot write its last words has said so in its log.
            let _ = self.runtime.block_on(running.shutdown());
        }
    }
}

/// Puts a document where the newest one stands.
fn put_document(sql: &Connection, host_id: HostId, generation: u64, desired: &DesiredState) {
    let (bytes, generation) = (json(desired).into_bytes(), generation.cast_signed());
    let (id, digest) = (host_id.to_string(), digest(&bytes));
    sql.execute(
        "DELETE FROM desired_history WHERE host_id = ?1 AND generation >= ?2",
        params![id, generation],
    )
    .expect("the table is there");
    sql.execute(
        "INSERT INTO desired_history (host_id, generation, bytes, digest, author, published_at_ms) VALUES (?1, ?2, ?3, ?4, 'nobody', 0)",
        params![id, generation, bytes, digest],
    )
    .expect("the table is there");
    sql.execute(
        "UPDATE hosts SET desired_generation = ?2, desired_digest = ?3 WHERE host_id = ?1",
        params![id, generation, digest],
    )
    .expect("the table is there");
}

fn put_op(sql: &Connection, envelope: &str) {
    let (id, op_id) = (host_id().to_string(), OpId::of(envelope.as_bytes()));
    sql.execute(
        "INSERT INTO signed_ops (host_id, op_id, blob, state, uploaded_by, uploaded_at_ms, changed_at_ms) VALUES (?1, ?2, ?3, 'queued', 'nobody', ?4, ?4)",
        params![id, op_id.as_str(), envelope, felhom_hub::clock::now_ms()],
    )
    .expect("the table is there");
}

fn put_keyset(sql: &Connection, version: i64, blob: &str) {
    sql.execute(
        "INSERT OR REPLACE INTO keysets (version, blob, uploaded_by, uploaded_at_ms) VALUES (?1, ?2, 'nobody', 0)",
        params![version, blob],
    )
    .expect("the table is there");
}

/// The house whose hub is owned.
struct Victim {
    hub: Owned,
    house: House,
    ground: Ground,
    keyring: Keyring,
    log: Log,
    attempts: Vec<String>,
}

impl Victim {
    fn settle() -> Self {
        let keyring = Keyring::new();
        let (house, mut hub) = (House::new().trusting(&keyring), Owned::start());
        hub.own(|sql| {
            put_document(sql, host_id(), 10, &good());
            put_keyset(sql, 1, &keyring.keyset_blob());
        });
        let url = format!("https://{}", hub.listen);
        let agent = house.run_as(host_id(), hub.key.expose(), (&url, &hub.pin));
        wait_until("the house is as it should be", PATIENCE, || {
            hub.shows(0, &Shown::Event("generation_reached", "generation 10"))
                && hub.shows(0, &Shown::Event("keyset_accepted", "keyset 1"))
        });
        agent.stop();
        furnish(&house);
        let ground = Ground::of(&house);
        Self { hub, house, ground, keyring, log: Log::listen(), attempts: Vec::new() }
    }

    /// Owns the hub, lets the agent live with it until it shows, and looks for harm.
    #[track_caller]
    fn withstand(&mut self, name: &str, deed: impl FnOnce(&Connection), (word, shown): (&str, &Shown)) {
        let (since, end) = (self.hub.newest_event(), self.log.end());
        self.hub.own(deed);
        let url = format!("https://{}", self.hub.listen);
        let agent = self.house.run_as(host_id(), self.hub.key.expose(), (&url, &self.hub.pin));
        wait_until(&format!("{name} shows as {word}"), PATIENCE, || {
            self.hub.shows(since, shown) && self.log.since(end).iter().any(|line| line.contains(word))
        });
        agent.stop();
        assert!(self.house.control().wait_idle(PATIENCE), "a task of the node does not end");
        let harm = self.ground.harm(&self.house);
        assert!(harm.is_empty(), "{name}:\n  {}", harm.join("\n  "));
        self.attempts.push(name.to_owned());
    }

    fn signed(&self, vmid: u32) -> String {
        self.keyring.sign(&destruction_of(&self.house, &self.keyring, vmid))
    }
}

/// Tries everything that a writer of the hub's database can, and ends with the one thing that he cannot.
pub(crate) fn attack() -> Vec<String> {
    let mut victim = Victim::settle();
    documents(&mut victim);
    signatures(&mut victim);
    identities(&mut victim);
    control(&mut victim);
    std::mem::take(&mut victim.attempts)
}

fn documents(victim: &mut Victim) {
    let refused = Shown::Event("document_refused", "");
    let here = host_id();
    let rows: [(&str, u64, DesiredState, &str); 4] = [
        ("tables: a document without guests", 11, document([]), "empty_over_nonempty"),
        ("tables: the document in force, written over", 10, without(101), "generation_same_other_bytes"),
        ("tables: the history cut short", 3, without(101), "generation_older"),
        ("tables: a number far ahead", i64::MAX.cast_unsigned(), without(101), "generation_jumped"),
    ];
    for (name, generation, desired, code) in rows {
        let deed = |sql: &Connection| {
            sql.execute("DELETE FROM desired_history", []).expect("the table is there");
            put_document(sql, here, generation, &desired);
        };
        victim.withstand(name, deed, (code, &refused));
    }
    let mut gone = good();
    gone.guests.iter_mut().for_each(|guest| guest.presence = felhom_shared::desired::Presence::Absent);
    let deed = |sql: &Connection| {
        sql.execute("DELETE FROM desired_history", []).expect("the table is there");
        put_document(sql, here, 11, &gone);
    };
    let held = Shown::Event("guest_held", "waits for a signature");
    victim.withstand("tables: every guest shall be absent", deed, ("guest_held", &held));
}

fn signatures(victim: &mut Victim) {
    let hub = Key::number(66);
    let payload = destruction_of(&victim.house, &victim.keyring, 101).to_payload();
    let forged = hub.sign(Namespace::Op, &payload);
    let op_id = OpId::of(forged.as_bytes());
    let shown = Shown::Op(op_id.clone(), "rejected", Some("unknown_key"));
    victim.withstand(
        "tables: an operation signed by the hub",
        |sql| put_op(sql, &forged),
        ("unknown_key", &shown),
    );
    let again = |sql: &Connection| {
        sql.execute("UPDATE signed_ops SET state = 'queued', code = NULL", []).expect("the table is there");
    };
    victim.withstand("tables: a rejected operation queued again", again, ("unknown_key", &shown));

    let usurped = victim.keyring.next(|keyset| {
        keyset.keys.push(KeyEntry { public: hub.public(), roles: vec![Role::Root] });
    });
    let blob = hub.sign(Namespace::Keyset, &usurped.keyset().to_payload());
    let refused = Shown::Event("op_rejected", "keyset");
    victim.withstand(
        "tables: a keyset of the hub's",
        |sql| put_keyset(sql, 2, &blob),
        ("threshold", &refused),
    );
    let first = victim.keyring.keyset_blob();
    let deed = move |sql: &Connection| {
        sql.execute("DELETE FROM keysets", []).expect("the table is there");
        put_keyset(sql, 2, &first);
    };
    victim.withstand("tables: the first keyset as the second", deed, ("keyset_version", &refused));
    victim.hub.own(|sql| {
        sql.execute("DELETE FROM keysets WHERE version > 1", []).expect("the table is there");
    });

    let lie = |sql: &Connection| {
        sql.execute(
            "INSERT OR REPLACE INTO ledger_heads (host_id, seq, head) VALUES (?1, 1000000, ?2)",
            params![host_id().to_string(), "a".repeat(64)],
        )
        .expect("the table is there");
        put_document(sql, host_id(), 12, &good());
    };
    let shown = Shown::Event("ledger_rolled_back", "");
    victim.withstand("tables: a ledger that never was", lie, ("more of this box's ledger", &shown));
    victim.hub.own(|sql| {
        sql.execute("DELETE FROM ledger_heads", []).expect("the table is there");
    });
}

/// The key of one box is said to be another's, whose document asks for the worst.
fn identities(victim: &mut Victim) {
    let other = victim.hub.other;
    let own = |owner: HostId| {
        move |sql: &Connection| {
            sql.execute("UPDATE keys SET owner = ?1 WHERE kind = 'h'", [owner.to_string()])
                .expect("the table is there");
            put_document(sql, other, 13, &without(101));
        }
    };
    victim.withstand("tables: another box's identity", own(other), ("other_host", &Shown::LogAlone));
    victim.hub.own(own(host_id()));
}

/// Signed properly, an operation put into the queue by anybody is done, once; queued again it is not.
fn control(victim: &mut Victim) {
    victim.hub.own(|sql| put_document(sql, host_id(), 14, &without(103)));
    let signed = victim.signed(103);
    let (op_id, deed) = (OpId::of(signed.as_bytes()), |sql: &Connection| put_op(sql, &signed));
    victim.ground.release(103);
    let applied = Shown::Op(op_id, "applied", None);
    victim.withstand("", deed, ("operation accepted", &applied));
    victim.attempts.pop();
    assert!(!victim.house.control().snapshot().guests.contains_key(&103), "the ground is live");

    let deed = |sql: &Connection| put_document(sql, host_id(), 15, &good());
    let reached = Shown::Event("generation_reached", "generation 15");
    victim.withstand("", deed, ("generation 15 is in force", &reached));
    victim.attempts.pop();
    let replay = |sql: &Connection| {
        put_document(sql, host_id(), 16, &without(103));
        sql.execute("UPDATE signed_ops SET state = 'queued', code = NULL", []).expect("the table is there");
    };
    victim.withstand("tables: an operation that has run, queued again", replay, ("guest_held", &applied));
    assert!(victim.house.control().snapshot().guests.contains_key(&103), "the successor is there");
    assert_eq!(victim.house.changes_to("DELETE", "/103"), 1, "once, and not twice");
}
