//! 68–77: keysets that do not follow, or that make no sense.

use felhom_shared::signed::{self, KeyEntry, Keyset, Namespace, Role, Signed};
use felhom_tests::{Key, Keyring};
use jiff::Timestamp;

use crate::scene::{Scene, all, code, genesis, second};
use crate::{Row, row};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(68, "the keyset after the next", "keyset_version", || next_is(|keyset| keyset.version += 1)),
    row(68, "the farthest version", "keyset_version", || next_is(|keyset| keyset.version = u64::MAX)),
    row(69, "the trusted keyset again", "keyset_version", || code(signed::next(&second(|_| ()), Keyring::new().next(|_| ()).keyset_blob().as_bytes()))),
    row(69, "another keyset under the trusted one's version", "keyset_version", || code(signed::next(&second(|_| ()), Keyring::new().next(|keyset| keyset.thresholds.release = 2).keyset_blob().as_bytes()))),
    row(70, "signed by the old root key only, and the new one has another", "threshold", || new_root(&[1])),
    row(71, "signed by the new root key only", "threshold", || new_root(&[8])),
    row(71, "signed by both", "accepted", || all([new_root(&[1, 8]), new_root(&[8, 1])])),
    row(71, "signed by both and by somebody", "unknown_key", || new_root(&[1, 8, 5])),
    row(71, "signed by the operator's key beside the root key's", "unknown_key", || new_root(&[1, 8, 2])),
    row(72, "prev_sha256 of another keyset", "keyset_prev", || next_is(|keyset| keyset.prev_sha256 = Some("0".repeat(64)))),
    row(72, "no prev_sha256, or one in capitals", "keyset_malformed", || all([next_is(|keyset| keyset.prev_sha256 = None), next_is(|keyset| keyset.prev_sha256 = keyset.prev_sha256.as_ref().map(|text| text.to_uppercase()))])),
    row(73, "a key that is root and ops", "keyset_malformed", || next_is(|keyset| keyset.keys[0].roles.push(Role::Ops))),
    row(73, "a role twice, or none", "keyset_malformed", || all([next_is(|keyset| keyset.keys[1].roles.push(Role::Ops)), next_is(|keyset| keyset.keys[1].roles.clear())])),
    row(74, "no root key", "keyset_malformed", || next_is(|keyset| { keyset.keys.remove(0); })),
    row(74, "a threshold above the keys", "keyset_malformed", || all([next_is(|keyset| keyset.thresholds.root = 2), next_is(|keyset| keyset.thresholds.destroy = 2), next_is(|keyset| keyset.thresholds.ops = 255)])),
    row(74, "a threshold of none", "keyset_malformed", || all([next_is(|keyset| keyset.thresholds.root = 0), next_is(|keyset| keyset.thresholds.ops = 0), next_is(|keyset| keyset.thresholds.destroy = 0), next_is(|keyset| keyset.thresholds.release = 0)])),
    row(74, "fewer signatures for a destruction than for anything else", "keyset_malformed", || next_is(|keyset| { keyset.keys.push(entry(3, Role::Ops)); keyset.thresholds.ops = 2; })),
    row(74, "seventeen keys, or none", "keyset_malformed", || all([next_is(|keyset| (10..25).for_each(|number| keyset.keys.push(entry(number, Role::Ops)))), next_is(|keyset| keyset.keys.clear())])),
    row(74, "sixteen keys", "accepted", || next_is(|keyset| (10..24).for_each(|number| keyset.keys.push(entry(number, Role::Ops))))),
    row(75, "the key is revoked while its operation waits", "unknown_key, ran 0", revoked_while_waiting),
    row(75, "the threshold is raised while an operation waits", "threshold, ran 0", threshold_raised_while_waiting),
    row(76, "one pin only", "keyset_malformed", || all([1, 5].map(|pins| next_is(move |keyset| keyset.hub_pins = vec!["0".repeat(64); pins])))),
    row(76, "a pin that is none", "keyset_malformed", || next_is(|keyset| keyset.hub_pins = vec!["sha256:0".to_owned(); 2])),
    row(77, "a first keyset that is not the slip's", "keyset_genesis", other_genesis),
    row(77, "a later keyset in place of the first", "keyset_genesis", || code(signed::genesis(Keyring::new().next(|_| ()).keyset_blob().as_bytes(), &Keyring::new().next(|_| ()).keyset().digest()))),
    row(77, "the slip's keyset without a signature, or by another key", "rejected", unsigned_genesis),
    row(77, "the box itself, told of another first keyset by the hub", "no keyset", other_genesis_on_the_box),
    row(77, "a keyset in another spelling", "keyset_malformed", || code(signed::next(&genesis(), respelled().as_bytes()))),
];

fn entry(number: u8, role: Role) -> KeyEntry {
    KeyEntry { public: Key::number(number).public(), roles: vec![role] }
}

/// The next keyset, changed, signed by the root key and offered to a box that trusts the first.
fn next_is(change: impl FnOnce(&mut Keyset)) -> String {
    code(signed::next(&genesis(), Keyring::new().next(change).keyset_blob().as_bytes()))
}

/// The root key is replaced by number 8; these sign.
fn new_root(signers: &[u8]) -> String {
    let keyring = Keyring::new().next(|keyset| keyset.keys[0] = entry(8, Role::Root));
    let payload = keyring.keyset().to_payload();
    let armors: Vec<String> =
        signers.iter().map(|number| Key::number(*number).armor(Namespace::Keyset, &payload)).collect();
    code(signed::next(&genesis(), Signed::join(&payload, &armors).as_bytes()))
}

fn revoked_while_waiting() -> String {
    changed_while_waiting(|keyset| keyset.keys.truncate(1))
}

fn threshold_raised_while_waiting() -> String {
    changed_while_waiting(|keyset| {
        keyset.keys.push(entry(3, Role::Ops));
        keyset.thresholds.destroy = 2;
    })
}

fn changed_while_waiting(change: impl FnOnce(&mut Keyset)) -> String {
    let mut scene = Scene::new();
    let envelope = scene.envelope();
    assert_eq!(scene.hand_in(&envelope), "delivered");
    let next = scene.keyring.next(change);
    scene.agent().ops().take_keysets(&[next.keyset_blob()], Timestamp::now()).unwrap();
    scene.work();
    format!("{}, ran {}", scene.receipt(), scene.house.changes_to("DELETE", "/101"))
}

/// A keyset of somebody who controls the hub.
fn thiefs() -> String {
    let mut keyset = Keyring::new().keyset().clone();
    keyset.keys = vec![entry(21, Role::Root), entry(22, Role::Ops)];
    Key::number(21).sign(Namespace::Keyset, &keyset.to_payload())
}

fn other_genesis() -> String {
    code(signed::genesis(thiefs().as_bytes(), &Keyring::new().keyset().digest()))
}

fn unsigned_genesis() -> String {
    let keyring = Keyring::new();
    let (payload, digest) = (keyring.keyset().to_payload(), keyring.keyset().digest());
    let envelopes = [
        payload.clone(),
        keyring.ops.sign(Namespace::Keyset, &payload),
        Key::number(21).sign(Namespace::Keyset, &payload),
    ];
    let outcomes = envelopes.map(|envelope| code(signed::genesis(envelope.as_bytes(), &digest)));
    if outcomes.iter().any(|outcome| outcome == "accepted") { all(outcomes) } else { "rejected".to_owned() }
}

fn other_genesis_on_the_box() -> String {
    let keyring = Keyring::new();
    let folder = tempfile::tempdir().unwrap();
    let state = felhom_agent::state::State::open(folder.path()).unwrap();
    let digest = keyring.keyset().digest();
    let ops = felhom_agent::ops::Ops::new(felhom_tests::host_id(), Some(digest), state);
    ops.take_keysets(&[thiefs()], Timestamp::now()).unwrap();
    ops.keyset_version().map_or_else(|| "no keyset".to_owned(), |version| format!("keyset {version}"))
}

fn respelled() -> String {
    let keyring = Keyring::new().next(|_| ());
    let payload = keyring.keyset().to_payload().replacen("\"keys\":", "\"comment\":1,\"keys\":", 1);
    keyring.root.sign(Namespace::Keyset, &payload)
}
