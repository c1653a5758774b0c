//! Envelopes: signatures that are not, signatures for something else, and true ones used against their signer.
//!
//! The hub has no key of anybody's. What is signed truly here is what an operator might once have signed.

use felhom_shared::desired::{DesiredState, GuestSpec, Presence};
use felhom_shared::id::{Generation, HostId, Vmid};
use felhom_shared::signed::{
    ConfigDigest, Draft, Expect, Expected, LedgerRebase, Namespace, Op, OpId, Request, ResetGeneration,
    RollbackGuest, Signed, Target, VoidBefore,
};
use felhom_tests::{House, Key, Keyring, guest_id, host_id, op_on, qemu};
use ssh_key::HashAlg;
use uuid::Uuid;

use crate::ground::{FOREIGN, good};
use crate::hub::Answer;
use crate::siege::{Attempt, Siege, Sign, json};

const HOUR_MS: u64 = 3600 * 1000;

/// An answer that carries envelopes, each under its own id.
pub(crate) fn carrying<'a>(envelopes: impl IntoIterator<Item = &'a String>) -> Answer {
    let labelled =
        envelopes.into_iter().map(|envelope| (OpId::of(envelope.as_bytes()).to_string(), envelope));
    labelled_as(labelled)
}

fn labelled_as<'a>(envelopes: impl IntoIterator<Item = (String, &'a String)>) -> Answer {
    let queued = envelopes.into_iter().map(|(op_id, blob)| serde_json::json!({"op_id": op_id, "blob": blob}));
    Answer::poll(&format!(r#""ops":{},"#, serde_json::Value::Array(queued.collect())))
}

/// The good document, in which one guest shall be absent.
pub(crate) fn without(vmid: u32) -> DesiredState {
    let mut document = good();
    let gone = document.guests.iter_mut().find(|guest| guest.vmid.get() == vmid).expect("it is good");
    gone.presence = Presence::Absent;
    document
}

/// What an operator would sign for a guest as it is now.
fn expectation_of(house: &House, vmid: u32) -> Expect {
    let node = house.control().snapshot();
    let guest = &node.guests[&vmid];
    let name = guest.config.get("hostname").or_else(|| guest.config.get("name")).expect("it has a name");
    Expect {
        vmid: Vmid::new(vmid).expect("within PVE's bounds"),
        name: name.parse().expect("a plain word"),
        config_digest: Some(ConfigDigest::try_from(guest.digest()).expect("PVE's digest")),
    }
}

/// An operation as an operator would issue it to destroy a guest.
pub(crate) fn destruction_of(house: &House, keyring: &Keyring, vmid: u32) -> Op {
    let request = Request::DestroyGuest(Expected { expect: expectation_of(house, vmid) });
    keyring.issued(op_on(guest_id(vmid), request))
}

impl Siege {
    fn expect(&self, vmid: u32) -> Expect {
        expectation_of(&self.house, vmid)
    }

    /// An operation as an operator would issue it to destroy a guest.
    pub(crate) fn destroy(&self, vmid: u32) -> Op {
        destruction_of(&self.house, &self.keyring, vmid)
    }

    fn destruction(&self, vmid: u32, change: impl FnOnce(&mut Expect)) -> Draft {
        let mut expect = self.expect(vmid);
        change(&mut expect);
        op_on(guest_id(vmid), Request::DestroyGuest(Expected { expect }))
    }

    fn host_op(&self, request: Request) -> Op {
        self.keyring.issued(Draft { request, target: Target { host_id: host_id(), guest_id: None } })
    }
}

type Row = (&'static str, String, &'static str);

/// Envelopes that are none, or are signed by nobody who may.
fn forged(siege: &Siege) -> Vec<Row> {
    let keyring = &siege.keyring;
    let (hub, op) = (Key::number(66), siege.destroy(102));
    let payload = op.to_payload();
    let own = |op: &Op| {
        let op = Op { key_id: hub.public().fingerprint(), ..op.clone() };
        hub.sign(Namespace::Op, &op.to_payload())
    };
    let restore = serde_json::json!({"op": "guest.restore", "target": {"host_id": host_id(), "guest_id": guest_id(101)},
        "params": {"volid": "local:backup/vzdump-lxc-101.tar.zst", "expect": siege.expect(101)}});
    let restore = keyring.issued(Draft::parse(restore.to_string().as_bytes()).expect("a draft"));
    let by_root = Op { key_id: keyring.root.public().fingerprint(), ..op.clone() };
    let spaced = payload.replacen("\"params\":", "\"params\": ", 1);
    let forced = payload.replacen("\"params\":{", "\"params\":{\"force\":true,", 1);
    let wiped = payload.replacen("guest.destroy", "guest.wipe", 1);
    let armor = keyring.ops.armor(Namespace::Op, &payload);
    let other = siege.destroy(101).to_payload();
    vec![
        ("not signed at all", payload.clone(), "signature_count"),
        ("a word of the hub's", "destroy guest 102, says the hub\n".to_owned(), "signature_count"),
        ("signed by the hub itself", own(&op), "unknown_key"),
        ("signed by the hub, under the operator's name", hub.sign(Namespace::Op, &payload), "unknown_key"),
        (
            "signed by a root key, which is for trust",
            keyring.root.sign(Namespace::Op, &by_root.to_payload()),
            "unknown_key",
        ),
        (
            "a signature that stands under another guest",
            Signed::join(&other, std::slice::from_ref(&armor)),
            "bad_signature",
        ),
        ("a signature for keysets", keyring.ops.sign(Namespace::Keyset, &payload), "namespace_wrong"),
        (
            "a signature over another hash",
            Signed::join(
                &payload,
                &[keyring.ops.armor_of(Namespace::Op.as_str(), HashAlg::Sha256, &[7; 64])],
            ),
            "hash_wrong",
        ),
        ("the same signature twice", Signed::join(&payload, &[armor.clone(), armor.clone()]), "signer_twice"),
        ("six signatures", Signed::join(&payload, &vec![armor.clone(); 6]), "signature_count"),
        ("a payload with a space more", keyring.ops.sign(Namespace::Op, &spaced), "not_canonical"),
        ("something after the signature", format!("{}\n{{}}", keyring.sign(&op)), "envelope_malformed"),
        ("a parameter that forces", keyring.ops.sign(Namespace::Op, &forced), "op_malformed"),
        ("an operation that is to come", keyring.ops.sign(Namespace::Op, &wiped), "op_unknown"),
        ("a restore over a guest, signed by the hub", own(&restore), "unknown_key"),
        (
            "a payload without end",
            keyring.ops.sign(Namespace::Op, &format!("{}\n", "x".repeat(20_000))),
            "too_large",
        ),
    ]
}

/// Signed truly, and not for this.
fn misused(siege: &Siege) -> Vec<Row> {
    let keyring = &siege.keyring;
    let op = siege.destroy(102);
    let sign = |op: Op| keyring.sign(&op);
    let elsewhere = Target { host_id: HostId(Uuid::from_u128(0xdead)), ..op.target };
    let nobody = Target { guest_id: None, ..op.target };
    let stranger = Target { guest_id: Some(guest_id(777)), ..op.target };
    let day = 24 * HOUR_MS;
    let (long_ago, then) = (op.issued_at - 2 * day, op.issued_at - day);
    let root = |request| siege.host_op(request);
    let hub = Key::number(66);
    let reset = root(Request::ResetGeneration(ResetGeneration { generation: Generation(1) }));
    let reset = Op { key_id: hub.public().fingerprint(), ..reset };
    vec![
        ("for another host", sign(Op { target: elsewhere, ..op.clone() }), "wrong_host"),
        ("for a guest that is not this host's", sign(Op { target: stranger, ..op.clone() }), "unknown_guest"),
        ("for no guest at all", sign(Op { target: nobody, ..op.clone() }), "unknown_guest"),
        ("for a guest that nobody manages", sign(siege.destroy(FOREIGN)), "unknown_guest"),
        ("for a guest that shall stay", sign(siege.destroy(101)), "not_asked_for"),
        ("expired yesterday", sign(Op { issued_at: long_ago, expires_at: then, ..op.clone() }), "expired"),
        (
            "good for thirty days",
            sign(Op { expires_at: op.issued_at + 30 * day, ..op.clone() }),
            "life_too_long",
        ),
        ("good until it was issued", sign(Op { expires_at: op.issued_at, ..op.clone() }), "window_empty"),
        (
            "under another key's name",
            sign(Op { key_id: hub.public().fingerprint(), ..op.clone() }),
            "key_mismatch",
        ),
        (
            "operations voided by an operator, who may not",
            sign(root(Request::VoidBefore(VoidBefore { before: op.issued_at }))),
            "unknown_key",
        ),
        (
            "a ledger begun anew by an operator",
            sign(root(Request::LedgerRebase(LedgerRebase { seq: 1 }))),
            "unknown_key",
        ),
        ("generations begun anew by the hub", hub.sign(Namespace::Op, &reset.to_payload()), "unknown_key"),
    ]
}

/// Tries everything with envelopes.
pub(crate) fn attack(siege: &mut Siege) {
    let generation = siege.next();
    let held = [Sign::Note(102, "destroy_needs_signature"), Sign::Event("guest_held", "files".to_owned())];
    siege.withstand(
        [Answer::document(generation, &json(&without(102)))],
        vec![Attempt::new("asked without an operation", held)],
    );
    for rows in [forged(siege), misused(siege)] {
        let answer = carrying(rows.iter().map(|(_, envelope, _)| envelope));
        let attempts = rows.iter().map(|(name, envelope, code)| Attempt::refused(name, envelope, code));
        siege.withstand([answer], attempts.collect());
    }
    labels_and_time(siege);
    expectations(siege);
    second_thoughts(siege);
    ledger(siege);
}

/// An operation under another's name, and one whose time has not come.
fn labels_and_time(siege: &mut Siege) {
    let op = siege.destroy(102);
    let forged = Key::number(66).sign(Namespace::Op, &op.to_payload());
    let (true_one, answer) =
        (OpId::of(siege.keyring.sign(&op).as_bytes()), |label: String| labelled_as([(label, &forged)]));
    let attempt = Attempt::refused("a forgery under the id of a true operation", &forged, "unknown_key");
    siege.withstand([answer(true_one.to_string())], vec![attempt]);

    let later = siege.keyring.sign(&Op {
        issued_at: op.issued_at + HOUR_MS,
        expires_at: op.issued_at + 2 * HOUR_MS,
        ..op
    });
    let logged = Sign::Logged(vec!["not_yet".to_owned(), OpId::of(later.as_bytes()).to_string()]);
    siege.withstand(
        [carrying([&later])],
        vec![Attempt::new("issued in an hour", [logged, Sign::Reported(2)])],
    );
}

/// Signed truly for this guest, which is not any more what was signed for.
fn expectations(siege: &mut Siege) {
    let sign = |siege: &Siege, draft: Draft| siege.keyring.sign(&siege.keyring.issued(draft));
    let older = sign(
        siege,
        siege.destruction(102, |of| of.config_digest = Some("0".repeat(40).try_into().expect("hex"))),
    );
    let (web, files) = (siege.expect(101), siege.expect(102));
    let other_vmid = sign(siege, op_on(guest_id(102), Request::DestroyGuest(Expected { expect: web })));
    let other_name =
        sign(siege, siege.destruction(102, |of| of.name = "documents".parse().expect("a plain word")));
    let snapshot = |vmid: u32, snaptime| RollbackGuest {
        snapshot: "before".to_owned().try_into().expect("a name"),
        snaptime,
        expect: siege.expect(vmid),
    };
    let taken = siege.house.control().snapshot().guests[&101].snapshots["before"].snaptime;
    let rollback = op_on(guest_id(101), Request::RollbackGuest(snapshot(101, taken - 1)));
    let rollback = sign(siege, rollback);
    for (name, envelope) in [
        ("signed for an older configuration", &older),
        ("signed for this guest at another's vmid", &other_vmid),
        ("signed for a guest of another name", &other_name),
        ("signed for an older snapshot of the same name", &rollback),
    ] {
        siege.withstand([carrying([envelope])], vec![Attempt::refused(name, envelope, "expect_mismatch")]);
    }

    let op = siege.destroy(102);
    let twin =
        Op { nonce: op.nonce, ..siege.keyring.issued(siege.destruction(102, |of| *of = siege.expect(102))) };
    let first = siege
        .keyring
        .sign(&Op { request: Request::DestroyGuest(Expected { expect: siege.expect(101) }), ..op });
    let twin = siege.keyring.sign(&twin);
    let attempts = vec![
        Attempt::refused("the first of two with one nonce", &first, "expect_mismatch"),
        Attempt::refused("the second of two with one nonce", &twin, "replayed"),
    ];
    siege.withstand([carrying([&first, &twin])], attempts);

    let of_files = siege.keyring.sign(&siege.destroy(102));
    let mut swapped = without(102);
    swapped.guests.retain(|guest| guest.vmid.get() != 101);
    swapped
        .guests
        .iter_mut()
        .filter(|guest| guest.vmid == files.vmid)
        .for_each(|guest| guest.vmid = 101.try_into().expect("a vmid"));
    let attempt =
        Attempt::new("signed for one guest, whose vmid is another's in the document", [Sign::Unmanaged(101)]);
    let generation = siege.next();
    siege.withstand([Answer::document(generation, &json(&swapped)), carrying([&of_files])], vec![attempt]);
    end_waiting(siege);

    let of_files = siege.keyring.sign(&siege.destroy(102));
    let mut other_kind = without(102);
    let machine = GuestSpec { presence: Presence::Absent, ..qemu(102, "files") };
    other_kind
        .guests
        .iter_mut()
        .filter(|guest| guest.vmid == files.vmid)
        .for_each(|guest| *guest = machine.clone());
    let generation = siege.next();
    let attempt =
        Attempt::new("signed for a container that is a machine in the document", [Sign::Failed(102)]);
    siege.withstand([Answer::document(generation, &json(&other_kind)), carrying([&of_files])], vec![attempt]);
    end_waiting(siege);
}

/// Nothing that was signed truly waits any more.
fn end_waiting(siege: &mut Siege) {
    siege.restore();
    let generation = siege.next();
    let held = Attempt::new("asked again", [Sign::Note(102, "destroy_needs_signature")]);
    siege.hear([Answer::document(generation, &json(&without(102)))], &[held]);
}

/// Taken back by a document or a keyset before it ran.
fn second_thoughts(siege: &mut Siege) {
    let lock = |siege: &Siege, lock| siege.house.control().set_lock(102, lock).expect("the guest is there");
    lock(siege, Some("backup"));
    let withdrawn = siege.keyring.sign(&siege.destroy(102));
    let waits = Attempt::new("it waits for the lock", [Sign::Note(102, "guest_locked")]);
    siege.hear([carrying([&withdrawn])], &[waits]);
    let generation = siege.next();
    let attempt =
        Attempt::refused("an operation of which the wish was taken back", &withdrawn, "not_asked_for");
    siege.withstand([Answer::document(generation, &json(&good()))], vec![attempt]);
    lock(siege, None);
    let generation = siege.next();
    let held = [Sign::Note(102, "destroy_needs_signature")];
    let answers = [Answer::document(generation, &json(&without(102))), carrying([&withdrawn])];
    siege.withstand(answers, vec![Attempt::new("the same again, now that it is wished again", held)]);
}

/// A ledger that the hub says it has seen more of.
fn ledger(siege: &mut Siege) {
    let op = siege.keyring.sign(&siege.destroy(102));
    let seen = Answer::poll(&format!(r#""ledger_seen":{{"seq":1000000,"head":"{}"}},"#, "a".repeat(64)));
    let attempts = vec![
        Attempt::new(
            "the hub has seen a ledger that never was",
            [
                Sign::Event("ledger_rolled_back", String::new()),
                Sign::Logged(vec!["the hub has seen more of this box's ledger".to_owned()]),
            ],
        ),
        Attempt::refused("a true operation under that lie", &op, "ledger_rolled_back"),
    ];
    siege.withstand([seen, carrying([&op])], attempts);
}

/// A signature that is good destroys one guest, once; sent again for the guest's successor it destroys nothing.
pub(crate) fn replays(siege: &mut Siege) {
    let generation = siege.next();
    let held = Attempt::new("103 shall go", [Sign::Note(103, "destroy_needs_signature")]);
    siege.hear([Answer::document(generation, &json(&without(103)))], &[held]);
    let envelope = siege.keyring.sign(&siege.destroy(103));
    siege.destroyed(103, &envelope);

    siege.restore();
    assert!(siege.house.control().snapshot().guests.contains_key(&103), "its successor is there");
    siege.house.control().reset_requests();
    let fresh = siege.house.control().snapshot().guests[&103].clone();
    let generation = siege.next();
    let held = [Sign::Note(103, "destroy_needs_signature")];
    let answers = [Answer::document(generation, &json(&without(103))), carrying([&envelope, &envelope])];
    siege.withstand(
        answers,
        vec![Attempt::new("an operation that has run, for the successor at its vmid", held)],
    );
    assert_eq!(
        siege.house.control().snapshot().guests[&103].config,
        fresh.config,
        "the successor is untouched"
    );
    assert_eq!(siege.house.changes_to("DELETE", "/103"), 0);
}

impl Siege {
    /// The ground is live: signed properly it is done, to this guest and to no other.
    #[track_caller]
    pub(crate) fn destroyed(&mut self, vmid: u32, envelope: &String) {
        self.ground.release(vmid);
        let applied = Sign::Applied(OpId::of(envelope.as_bytes()));
        self.hear([carrying([envelope])], &[Attempt::new("the signed destruction", [applied])]);
        assert!(!self.house.control().snapshot().guests.contains_key(&vmid), "{vmid} is gone");
        assert_eq!(self.house.changes_to("DELETE", &format!("/{vmid}")), 1);
        self.unharmed("the signed destruction of another guest");
    }
}

/// At the end of everything: what no hub could do, a signature does.
pub(crate) fn control(siege: &mut Siege) {
    let generation = siege.next();
    let held = Attempt::new("102 shall go", [Sign::Note(102, "destroy_needs_signature")]);
    siege.hear([Answer::document(generation, &json(&without(102)))], &[held]);
    siege.house.control().reset_requests();
    let envelope = siege.keyring.sign(&siege.destroy(102));
    siege.destroyed(102, &envelope);
}
