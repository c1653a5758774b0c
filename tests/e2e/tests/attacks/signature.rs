//! 15–24: signatures that are none, that are somebody else's, or that count twice.

use std::path::Path;
use std::process::{Command, Stdio};

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use felhom_shared::signed::{self, Namespace, Op, PublicKey, Signed};
use felhom_tests::{Key, Keyring};
use ssh_key::HashAlg;

use crate::forge::{ED25519, Forged, SECURITY_KEY, TOUCHED, field, line, public, security_key};
use crate::scene::{
    all, code, genesis, judged, judged_by, op, payload, release_key, second, signed, with_second_operator,
};
use crate::{Row, row};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(15, "an operation offered as a keyset", "keyset_malformed", || code(signed::next(&genesis(), signed(&payload()).as_bytes()))),
    row(15, "a keyset offered as an operation", "namespace_wrong", || judged(Keyring::new().next(|_| ()).keyset_blob())),
    row(15, "an operation's signature relabelled as a keyset's", "bad_signature", relabelled),
    row(15, "the first keyset, signed as an operation", "namespace_wrong", keyset_signed_as_op),
    row(16, "a signature over the bare payload", "bad_signature", || with_raw(|payload| payload.as_bytes().to_vec())),
    row(16, "a signature over the payload's digest", "bad_signature", || with_raw(|payload| { use sha2::Digest; sha2::Sha512::digest(payload.as_bytes()).to_vec() })),
    row(16, "a signature over the right thing is good", "accepted", || with_raw(|payload| crate::forge::to_sign("felhom-op-v1", payload))),
    row(17, "S + L in place of S", "bad_signature", s_plus_l),
    row(18, "a small-order key in a keyset", "keyset_malformed", || all(SMALL_ORDER.map(small_order_in_keyset))),
    row(18, "a small-order key in a signature, which a plain verification accepts", "key_refused", || all(SMALL_ORDER.map(small_order_signs))),
    row(18, "an RSA key", "key_refused", || by_ssh_keygen("rsa")),
    row(18, "an ECDSA key", "rejected", || not_accepted(&by_ssh_keygen("ecdsa"))),
    row(18, "a key of ssh-keygen's that is Ed25519 but unknown", "unknown_key", || by_ssh_keygen("ed25519")),
    row(19, "the same signer twice for a threshold of two", "signer_twice", signer_twice),
    row(19, "one point as two keys, software and security key, for a threshold of two", "keyset_malformed", || one_point_twice((ED25519, public), (SECURITY_KEY, |key| security_key(key, "ssh:")))),
    row(19, "one point as two security keys of other applications", "keyset_malformed", || one_point_twice((SECURITY_KEY, |key| security_key(key, "ssh:")), (SECURITY_KEY, |key| security_key(key, "ssh:b")))),
    row(20, "signatures in any order: it means nothing, each key counts once", "accepted", any_order),
    row(21, "a valid signature and one by an unknown key, in both orders", "unknown_key", known_and_unknown),
    row(21, "a valid signature and a bad one by a known key", "bad_signature", known_and_bad),
    row(22, "a release key signs an operation", "unknown_key", || { let (key, trusted) = release_key(); judged_by(&trusted, by(&key)) }),
    row(22, "a root key signs the destruction of a guest", "unknown_key", || judged(by(&Keyring::new().root))),
    row(22, "an operator and a root key sign the destruction together", "unknown_key", operator_and_root),
    row(23, "key_id names another key than the signer", "key_mismatch", || all([Keyring::new().root.public().fingerprint(), "SHA256:".to_owned(), String::new(), "\u{202e}".to_owned()].map(with_key_id))),
    row(24, "the same public key twice in a keyset", "keyset_malformed", same_public_twice),
    row(24, "a security key, touched", "accepted", || security_key_signs("ssh:", "ssh:", TOUCHED, |_| ())),
    row(24, "a security key without touch", "no_touch", || all([0, 4, 0x80].map(|flags| security_key_signs("ssh:", "ssh:", flags, |_| ())))),
    row(24, "a security key of a web site", "key_refused", || security_key_signs("ssh:", "https://example.org", TOUCHED, |_| ())),
    row(24, "a security key of another SSH application than the keyset says", "unknown_key", || security_key_signs("ssh:", "ssh:other", TOUCHED, |_| ())),
    row(24, "the touch flag set afterwards", "bad_signature", || security_key_signs("ssh:", "ssh:", 0, |sig| { let at = sig.len() - 5; sig[at] |= TOUCHED; })),
    row(24, "the counter changed afterwards", "bad_signature", || security_key_signs("ssh:", "ssh:", TOUCHED, |sig| *sig.last_mut().unwrap() ^= 1)),
    row(24, "bytes after the counter", "rejected", || not_accepted(&security_key_signs("ssh:", "ssh:", TOUCHED, |sig| sig.push(0)))),
    row(24, "a software signature in a security key's name", "rejected", || not_accepted(&software_for_security_key())),
    row(24, "sha256 in place of sha512", "hash_wrong", || judged(format!("{}{}", payload(), sha256()))),
];

/// The operation, signed by this key and naming it.
fn by(key: &Key) -> String {
    let op = Op { key_id: key.public().fingerprint(), ..op() };
    key.sign(Namespace::Op, &op.to_payload())
}

fn not_accepted(outcome: &str) -> String {
    if outcome == "accepted" { outcome.to_owned() } else { "rejected".to_owned() }
}

fn relabelled() -> String {
    let keyring = Keyring::new();
    let next = keyring.next(|_| ()).keyset().to_payload();
    let mut forged = Forged::by(keyring.root.raw(), "felhom-op-v1", &next);
    forged.namespace = "felhom-keyset-v1".to_owned();
    code(signed::next(&genesis(), format!("{next}{}", forged.armor()).as_bytes()))
}

fn keyset_signed_as_op() -> String {
    let keyring = Keyring::new();
    let payload = keyring.keyset().to_payload();
    let envelope = keyring.root.sign(Namespace::Op, &payload);
    code(signed::genesis(envelope.as_bytes(), &keyring.keyset().digest()))
}

/// The operator's key signs other bytes for the payload.
fn with_raw(bytes: fn(&str) -> Vec<u8>) -> String {
    use ed25519_dalek::Signer;
    let (ops, payload) = (Keyring::new().ops, payload());
    let raw = ops.raw().sign(&bytes(&payload)).to_bytes();
    judged(format!("{payload}{}", ops.armor_of("felhom-op-v1", HashAlg::Sha512, &raw)))
}

/// The order of the group, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn s_plus_l() -> String {
    use ed25519_dalek::Signer;
    let (ops, payload) = (Keyring::new().ops, payload());
    let mut raw = ops.raw().sign(&crate::forge::to_sign("felhom-op-v1", &payload)).to_bytes();
    let mut carry = 0u16;
    for (byte, add) in raw[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(carry, 0, "S + L fits: S is below L, and L below 2^253");
    judged(format!("{payload}{}", ops.armor_of("felhom-op-v1", HashAlg::Sha512, &raw)))
}

/// Every point of order 1, 2, 4 and 8, and other spellings of some.
const SMALL_ORDER: [&str; 12] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0100000000000000000000000000000000000000000000000000000000000080",
];

fn point(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn small_order_in_keyset(hex: &str) -> String {
    let public = [field(ED25519.as_bytes()), field(&point(hex))].concat();
    let keyring = Keyring::new().next(|_| ());
    let good = Keyring::new().ops.public().to_string();
    let payload = keyring.keyset().to_payload().replace(&good, &line(ED25519, &public));
    assert!(line(ED25519, &public).parse::<PublicKey>().is_err());
    code(signed::next(&genesis(), keyring.root.sign(Namespace::Keyset, &payload).as_bytes()))
}

/// With S = 0 and R = A = the neutral element, S·B = R + k·A whatever the message says.
fn small_order_signs(hex: &str) -> String {
    let point = point(hex);
    let mut raw = [0u8; 64];
    raw[0] = 1;
    if hex == SMALL_ORDER[0] {
        let weak = VerifyingKey::from_bytes(point.as_slice().try_into().unwrap()).unwrap();
        assert!(
            weak.verify(b"anything at all", &Signature::from_bytes(&raw)).is_ok(),
            "plain verify takes it"
        );
    }
    let forged = Forged {
        public: [field(ED25519.as_bytes()), field(&point)].concat(),
        signature: [field(ED25519.as_bytes()), field(&raw)].concat(),
        ..Forged::by(Keyring::new().ops.raw(), "felhom-op-v1", &payload())
    };
    judged(format!("{}{}", payload(), forged.armor()))
}

/// A key and a signature by the real program, where it is installed.
fn by_ssh_keygen(kind: &str) -> String {
    let program = Path::new("/usr/bin/ssh-keygen");
    if !program.exists() {
        println!("SKIPPED: {kind} key by ssh-keygen, which is not installed");
        return if kind == "ed25519" { "unknown_key" } else { "key_refused" }.to_owned();
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["-q", "-t", kind, "-N", "", "-f", "key", "-C", ""]);
    std::fs::write(folder.path().join("op.json"), payload()).unwrap();
    run(&["-q", "-Y", "sign", "-n", "felhom-op-v1", "-f", "key", "op.json"]);
    let armor = std::fs::read_to_string(folder.path().join("op.json.sig")).unwrap();
    judged(format!("{}{armor}", payload()))
}

fn signer_twice() -> String {
    let second = Key::number(3);
    let trusted = with_second_operator(&second.public().to_string(), 2);
    let armor = Keyring::new().ops.armor(Namespace::Op, &payload());
    judged_by(&trusted, format!("{}{armor}{armor}", payload()))
}

type AsKey = (&'static str, fn(&ed25519_dalek::SigningKey) -> Vec<u8>);

/// Whoever holds the one secret would be two persons.
fn one_point_twice(first: AsKey, second: AsKey) -> String {
    let key = Key::number(9);
    let keyring = Keyring::new();
    let next = keyring.next(|keyset| {
        for (algorithm, public) in [first, second] {
            let mut entry = keyset.keys[1].clone();
            entry.public = line(algorithm, &public(key.raw())).parse().unwrap();
            keyset.keys.push(entry);
        }
        keyset.thresholds.destroy = 2;
    });
    code(signed::next(&genesis(), next.keyset_blob().as_bytes()))
}

fn any_order() -> String {
    let second = Key::number(3);
    let trusted = with_second_operator(&second.public().to_string(), 2);
    let armors =
        [Keyring::new().ops.armor(Namespace::Op, &payload()), second.armor(Namespace::Op, &payload())];
    let [first, other] = &armors;
    all([[first, other], [other, first]].map(|[a, b]| judged_by(&trusted, format!("{}{a}{b}", payload()))))
}

fn known_and_unknown() -> String {
    let known = Keyring::new().ops.armor(Namespace::Op, &payload());
    let unknown = Key::number(5).armor(Namespace::Op, &payload());
    all([[&known, &unknown], [&unknown, &known]].map(|[a, b]| judged(format!("{}{a}{b}", payload()))))
}

fn known_and_bad() -> String {
    let keyring = Keyring::new();
    let bad = keyring.root.armor(Namespace::Op, "{}\n");
    judged(format!("{}{}{bad}", payload(), keyring.ops.armor(Namespace::Op, &payload())))
}

fn operator_and_root() -> String {
    let keyring = Keyring::new();
    let armors =
        [keyring.ops.armor(Namespace::Op, &payload()), keyring.root.armor(Namespace::Op, &payload())];
    judged(Signed::join(&payload(), &armors))
}

fn with_key_id(key_id: String) -> String {
    judged(signed(&Op { key_id, ..op() }.to_payload()))
}

fn same_public_twice() -> String {
    let next = Keyring::new().next(|keyset| {
        let again = keyset.keys[1].clone();
        keyset.keys.push(again);
    });
    code(signed::next(&genesis(), next.keyset_blob().as_bytes()))
}

/// The keyset knows a security key of `known`; one of `application` signs, and the signature is edited.
fn security_key_signs(known: &str, application: &str, flags: u8, edit: fn(&mut Vec<u8>)) -> String {
    let key = Key::number(9);
    let known: PublicKey = line(SECURITY_KEY, &security_key(key.raw(), known)).parse().unwrap();
    let trusted = second(|keyset| keyset.keys[1].public = known.clone());
    let payload = Op { key_id: known.fingerprint(), ..op() }.to_payload();
    let mut forged = Forged::by_security_key(key.raw(), (application, flags, 41), "felhom-op-v1", &payload);
    edit(&mut forged.signature);
    judged_by(&trusted, format!("{payload}{}", forged.armor()))
}

fn software_for_security_key() -> String {
    let key = Key::number(9);
    let known: PublicKey = line(SECURITY_KEY, &security_key(key.raw(), "ssh:")).parse().unwrap();
    let trusted = second(|keyset| keyset.keys[1].public = known.clone());
    let payload = Op { key_id: known.fingerprint(), ..op() }.to_payload();
    let forged =
        Forged { public: security_key(key.raw(), "ssh:"), ..Forged::by(key.raw(), "felhom-op-v1", &payload) };
    judged_by(&trusted, format!("{payload}{}", forged.armor()))
}

fn sha256() -> String {
    use ed25519_dalek::Signer;
    let ops = Keyring::new().ops;
    let bytes = ssh_key::SshSig::signed_data("felhom-op-v1", HashAlg::Sha256, payload().as_bytes()).unwrap();
    ops.armor_of("felhom-op-v1", HashAlg::Sha256, &ops.raw().sign(&bytes).to_bytes())
}
