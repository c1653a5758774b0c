//! Trust: a hub that would like to be trusted, and one that keeps serving whom nobody trusts any more.

use felhom_shared::signed::{KeyEntry, Keyset, Namespace, Role, Signed};
use felhom_tests::Key;

use crate::hub::Answer;
use crate::operations::carrying;
use crate::siege::{Attempt, Siege, Sign, json};

fn offering(keysets: &[&String]) -> Answer {
    Answer::poll(&format!(r#""keysets":{},"#, json(&keysets)))
}

fn hub_key() -> Key {
    Key::number(66)
}

/// The hub's own key in a role.
fn own_entry(role: Role) -> KeyEntry {
    KeyEntry { public: hub_key().public(), roles: vec![role] }
}

fn accepted(version: u64) -> Attempt {
    Attempt::new("a true keyset", [Sign::Event("keyset_accepted", format!("keyset {version}"))])
}

/// Before there is trust, and then against it.
pub(crate) fn attack(siege: &mut Siege) {
    let (keyring, hub) = (siege.keyring.clone(), hub_key());
    let sign = |keyset: &Keyset| hub.sign(Namespace::Keyset, &keyset.to_payload());
    let mut own = keyring.keyset().clone();
    own.keys =
        vec![own_entry(Role::Root), KeyEntry { public: Key::number(67).public(), roles: vec![Role::Ops] }];
    for (name, blob, code) in [
        ("a first keyset of the hub's own", sign(&own), "keyset_genesis"),
        ("the true first keyset, signed by the hub", sign(keyring.keyset()), "unknown_key"),
    ] {
        siege.withstand([offering(&[&blob])], vec![Attempt::refused(name, &blob, code)]);
    }
    let early = hub.sign(Namespace::Op, &siege.destroy(102).to_payload());
    let waits = Sign::Logged(vec!["no_trust_root".to_owned()]);
    siege.withstand([carrying([&early])], vec![Attempt::new("an operation before there is trust", [waits])]);
    let refused = Attempt::refused("the same, once there is trust", &early, "unknown_key");
    siege.withstand([offering(&[&keyring.keyset_blob()])], vec![refused]);
    successors(siege, &sign);
}

/// Every keyset that does not follow from the one in force.
fn successors(siege: &mut Siege, sign: &dyn Fn(&Keyset) -> String) {
    let keyring = siege.keyring.clone();
    let next = |change: fn(&mut Keyset)| keyring.next(change);
    let usurped = next(|keyset| keyset.keys.push(own_entry(Role::Root)));
    let free = next(|keyset| {
        keyset.keys.push(own_entry(Role::Root));
        keyset.thresholds.root = 0;
    });
    let signed_by_root = keyring.root.armor(Namespace::Keyset, &next(|_| ()).keyset().to_payload());
    let rows: Vec<(&str, String, &str)> = vec![
        ("the next keyset, signed by the hub", sign(next(|_| ()).keyset()), "unknown_key"),
        ("the next keyset, signed by its own new root alone", sign(usurped.keyset()), "threshold"),
        ("a keyset that needs no signature", sign(free.keyset()), "keyset_malformed"),
        ("a keyset that skips one", sign(next(|keyset| keyset.version += 1).keyset()), "keyset_version"),
        (
            "a keyset that follows from another",
            sign(next(|keyset| keyset.prev_sha256 = Some("0".repeat(64))).keyset()),
            "keyset_prev",
        ),
        (
            "a keyset signed by an operator",
            keyring.ops.sign(Namespace::Keyset, &usurped.keyset().to_payload()),
            "unknown_key",
        ),
        (
            "a keyset under the signature of another",
            Signed::join(&usurped.keyset().to_payload(), std::slice::from_ref(&signed_by_root)),
            "bad_signature",
        ),
        (
            "a keyset signed as an operation",
            keyring.root.sign(Namespace::Op, &next(|_| ()).keyset().to_payload()),
            "namespace_wrong",
        ),
        ("the keyset in force again", keyring.keyset_blob(), "keyset_version"),
    ];
    for (name, blob, code) in rows {
        siege.withstand([offering(&[&blob])], vec![Attempt::refused(name, &blob, code)]);
    }
}

/// A key is revoked; the hub goes on serving what it signed, and the keyset in which it was good.
pub(crate) fn revoked(siege: &mut Siege) {
    let old = siege.keyring.clone();
    let stolen = old.sign(&siege.destroy(102));
    let revoking = old.next(|keyset| keyset.keys.truncate(1));
    let both = format!(
        r#""keysets":{},"ops":[{{"op_id":"{}","blob":{}}}],"#,
        json(&[revoking.keyset_blob()]),
        felhom_shared::signed::OpId::of(stolen.as_bytes()),
        json(&stolen)
    );
    let attempt =
        Attempt::refused("signed by a key that is revoked in the same breath", &stolen, "unknown_key");
    siege.withstand([Answer::poll(&both)], vec![attempt]);
    let back = old.keyset_blob();
    let attempt = Attempt::refused("the keyset in which the revoked key was good", &back, "keyset_version");
    siege.withstand([offering(&[&back])], vec![attempt]);

    let ops = Key::number(3);
    let renewed =
        revoking.next(|keyset| keyset.keys.push(KeyEntry { public: ops.public(), roles: vec![Role::Ops] }));
    siege.hear([offering(&[&renewed.keyset_blob()])], &[accepted(3)]);
    siege.keyring = renewed;
    siege.keyring.ops = ops;
    let attempt =
        Attempt::refused("signed by the revoked key, now that there is another", &stolen, "unknown_key");
    siege.withstand([carrying([&stolen])], vec![attempt]);
}
