//! The drive is right, and the word for it is not.

use felhom_agent::host::command::{Answer, HostCommand, SignedFormat};
use felhom_agent::host::format::Trust;
use felhom_shared::id::{HostId, StorageId};
use felhom_shared::signed::{Draft, Empty, FormatDrive, KeyEntry, Namespace, Op, Request, Role, Target};
use felhom_tests::{Key, host_id};

use crate::ground::{Ground, storage};

#[test]
fn wrong_word_no_signature_but_the_right_one_formats() {
    let ground = Ground::new();
    let op = ground.op();
    let good = ground.keyring.sign(&op);
    let signed = |change: &dyn Fn(&mut Op)| {
        let mut other = op.clone();
        change(&mut other);
        ground.keyring.sign(&other)
    };
    let order = |change: &dyn Fn(&mut FormatDrive)| {
        signed(&|op: &mut Op| {
            if let Request::FormatDrive(order) = &mut op.request {
                change(order);
            }
        })
    };
    let destroy = ground.keyring.root_op(Request::ClockReset(Empty {}));
    let ways = [
        ("nothing", String::new(), "envelope_malformed"),
        ("no signature", good.lines().next().unwrap().to_owned(), "envelope_malformed"),
        ("an edited payload", good.replacen("backup-usb", "backup-usc", 1), "bad_signature"),
        ("a stranger's key", Key::number(9).sign(Namespace::Op, &op.to_payload()), "unknown_key"),
        ("another purpose", ground.keyring.ops.sign(Namespace::Keyset, &op.to_payload()), "namespace_wrong"),
        ("another box", signed(&|op| op.target.host_id = HostId(uuid::Uuid::from_u128(7))), "wrong_host"),
        (
            "another storage",
            order(&|order| order.storage = StorageId::new("photos").unwrap()),
            "not_asked_for",
        ),
        ("another kind of operation", destroy, "op_unknown"),
        (
            "a time that is over",
            signed(&|op| {
                (op.issued_at, op.expires_at) = (op.issued_at - 7_200_000, op.issued_at - 3_600_000);
            }),
            "expired",
        ),
        (
            "a time to come",
            signed(&|op| {
                (op.issued_at, op.expires_at) = (op.issued_at + 3_600_000, op.expires_at + 3_600_000);
            }),
            "not_yet",
        ),
        ("too long a life", signed(&|op| op.expires_at += 60 * 3_600_000), "life_too_long"),
        (
            "another drive",
            order(&|order| order.expect.durable_id = serde_json::from_str("\"hardware:00\"").unwrap()),
            "drive_not_found",
        ),
    ];
    for (what, envelope, code) in ways {
        ground.refuses(&envelope, code, what);
    }
    // Whose box it is does not come from whoever asks.
    let mut stranger = ground.keyring.keyset().clone();
    stranger.keys[1].public = Key::number(9).public();
    let stranger = Key::number(1).sign(Namespace::Keyset, &stranger.to_payload());
    let foreign = HostCommand::FormatDrive(SignedFormat {
        storage: storage(),
        envelope: good.clone(),
        keysets: vec![stranger],
    });
    assert_eq!(ground.execute(&foreign, &ground.trust()).unwrap_err().code, "keyset_genesis");
    let nobody = Trust { genesis_sha256: None, ..ground.trust() };
    let command = HostCommand::FormatDrive(SignedFormat {
        storage: storage(),
        envelope: good.clone(),
        keysets: ground.keysets.clone(),
    });
    assert_eq!(ground.execute(&command, &nobody).unwrap_err().code, "no_trust_root");
    assert_eq!(ground.format(&good), Ok(Answer::Done), "and the right one does");
}

/// A key was revoked; an agent that was taken over shows the old keyset, by which it still counts.
#[test]
fn wrong_word_a_revoked_key_does_not_come_back_with_an_old_keyset() {
    let mut ground = Ground::new();
    let old = ground.keyring.clone();
    let by_old_key = old.sign(&ground.op());
    let entry = KeyEntry { public: Key::number(5).public(), roles: vec![Role::Ops] };
    let mut newer = old.next(|keyset| keyset.keys[1] = entry);
    newer.ops = Key::number(5);
    let chain = vec![old.keyset_blob(), newer.keyset_blob()];
    // The new keyset was seen once: a signature by the new key for a drive that is not there any more.
    ground.keysets.clone_from(&chain);
    let by_new_key = {
        let draft = Draft {
            request: Request::FormatDrive(ground.order()),
            target: Target { host_id: host_id(), guest_id: None },
        };
        newer.sign(&newer.issued(draft))
    };
    let mut drives = ground.control().drives();
    let target = drives.remove(1);
    ground.control().set_drives(&drives).unwrap();
    ground.refuses(&by_new_key, "drive_not_found", "the drive is away");
    drives.insert(1, target);
    ground.control().set_drives(&drives).unwrap();
    ground.refuses(&by_old_key, "unknown_key", "by the newest keyset the key is revoked");
    ground.keysets = vec![old.keyset_blob()];
    ground.refuses(&by_old_key, "keyset_version", "an older keyset than was seen");
}
