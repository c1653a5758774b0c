//! Envelopes and keysets as they are, frozen: each committed file and what every reader must make of it.
//!
//! The files are put together by hand from fixed seeds ([`forge`]), not by the code that reads them. A file that
//! no longer fits is a change of format: everything signed before it would be worth nothing. If it is meant,
//! `FELHOM_GOLDEN=write cargo test -p felhom-shared --test signed_vectors` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so and ends")]

mod forge;

use std::collections::BTreeSet;
use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use felhom_shared::signed::{self, Namespace, Rejection, Role, Signed, Trusted};
use forge::{ED25519, Forged, SECURITY_KEY, TOUCHED, armored, line, public, security_key};
use sha2::{Digest, Sha256};

const OP: &str = "felhom-op-v1";
const KEYSET: &str = "felhom-keyset-v1";
/// The signer's security key: application, flags, counter.
const TOUCH: (&str, u8, u32) = ("ssh:", TOUCHED, 41);

/// A file and what comes of it: a sentence about what is good, a code for what is not.
struct Vector {
    name: &'static str,
    bytes: Vec<u8>,
    expected: &'static str,
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn fingerprint(public: &[u8]) -> String {
    format!("SHA256:{}", data_encoding::BASE64_NOPAD.encode(&Sha256::digest(public)))
}

fn sha256(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

/// The three keysets' payloads: root and operator; a security key beside it; the operator's software key gone.
fn keysets() -> [String; 3] {
    let entry = |line: &str, role: &str| format!("{{\"public\":\"{line}\",\"roles\":[\"{role}\"]}}");
    let root = entry(&line(ED25519, &public(&key(1))), "root");
    let ops = entry(&line(ED25519, &public(&key(2))), "ops");
    let hard = entry(&line(SECURITY_KEY, &security_key(&key(3), "ssh:")), "ops");
    let keyset = |version: u8, prev: &str, keys: &[&String]| {
        let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        format!(
            "{{\"version\":{version},\"prev_sha256\":{prev},\"keys\":[{}],\"thresholds\":{{\"root\":1,\"ops\":1,\
             \"destroy\":1,\"release\":1}},\"hub_pins\":[],\"escrow_recipients\":[]}}\n",
            keys.join(",")
        )
    };
    let first = keyset(1, "null", &[&root, &ops]);
    let second = keyset(2, &format!("\"{}\"", sha256(&first)), &[&root, &ops, &hard]);
    let third = keyset(3, &format!("\"{}\"", sha256(&second)), &[&root, &hard]);
    [first, second, third]
}

fn keyset_envelope(payload: &str, signer: u8) -> Vec<u8> {
    format!("{payload}{}", Forged::by(&key(signer), KEYSET, payload).armor()).into_bytes()
}

/// A destruction whose `key_id` is this.
fn destroy(key_id: &str) -> String {
    format!(
        "{{\"op\":\"guest.destroy\",\"target\":{{\"host_id\":\"fe110000-0000-4000-8000-000000000001\",\
         \"guest_id\":\"00000065-0000-4000-8000-000000000001\"}},\"params\":{{\"expect\":{{\"vmid\":101,\
         \"name\":\"web\",\"config_digest\":\"0123456789abcdef0123456789abcdef01234567\"}}}},\
         \"nonce\":\"07070707070707070707070707070707\",\"issued_at\":1795000000000,\
         \"expires_at\":1795086400000,\"key_id\":\"{key_id}\"}}\n"
    )
}

fn by_software() -> String {
    destroy(&fingerprint(&public(&key(2))))
}

fn by_touch() -> String {
    destroy(&fingerprint(&security_key(&key(3), "ssh:")))
}

fn op_envelope(payload: &str) -> Vec<u8> {
    format!("{payload}{}", Forged::by(&key(2), OP, payload).armor()).into_bytes()
}

/// The good operation, well signed after a change of its payload.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let good = by_software();
    assert!(good.contains(from), "{from} is not in the payload");
    op_envelope(&good.replacen(from, to, 1))
}

/// The good operation under a signature with other fields.
fn forged(change: impl FnOnce(&mut Forged)) -> Vec<u8> {
    let payload = by_software();
    let mut forged = Forged::by(&key(2), OP, &payload);
    change(&mut forged);
    format!("{payload}{}", forged.armor()).into_bytes()
}

fn touched(signer: (&str, u8, u32)) -> Vec<u8> {
    let payload = by_touch();
    format!("{payload}{}", Forged::by_security_key(&key(3), signer, OP, &payload).armor()).into_bytes()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn good() -> Vec<Vector> {
    let [first, second, third] = keysets();
    let vector = |name, bytes, expected| Vector { name, bytes, expected };
    vec![
        vector("keyset_1", keyset_envelope(&first, 1), "keyset 1, 2 keys, 1 of them ops"),
        vector("keyset_2", keyset_envelope(&second, 1), "keyset 2, 3 keys, 2 of them ops"),
        vector("keyset_3", keyset_envelope(&third, 1), "keyset 3, 2 keys, 1 of them ops"),
        vector("op_ed25519", op_envelope(&by_software()), "guest.destroy, 1 signer"),
        vector("op_security_key", touched(TOUCH), "guest.destroy, 1 signer"),
        vector("op_two_signers", two_signers(), "guest.destroy, 2 signers"),
    ]
}

fn two_signers() -> Vec<u8> {
    let payload = by_software();
    let second = Forged::by_security_key(&key(3), TOUCH, OP, &payload).armor();
    format!("{}{second}", text(op_envelope(&payload))).into_bytes()
}

#[rustfmt::skip]
fn malformed() -> Vec<Vector> {
    let vector = |name, bytes, expected| Vector { name, bytes, expected };
    let [first, second, _] = keysets();
    let good = text(op_envelope(&by_software()));
    let armor = good[by_software().len()..].to_owned();
    vec![
        vector("bad_empty", Vec::new(), "envelope_malformed"),
        vector("bad_no_signature", by_software().into_bytes(), "signature_count"),
        vector("bad_five_signatures", format!("{good}{}", armor.repeat(4)).into_bytes(), "signature_count"),
        vector("bad_byte_after", format!("{good}\n").into_bytes(), "envelope_malformed"),
        vector("bad_crlf", good.replace('\n', "\r\n").into_bytes(), "envelope_malformed"),
        vector("bad_blob", format!("{}{}", by_software(), armored(b"SSHSIG\0\0\0\x01\xff\xff\xff\xff")).into_bytes(), "envelope_malformed"),
        vector("bad_version", forged(|forged| forged.version = 2), "envelope_malformed"),
        vector("bad_reserved", forged(|forged| forged.reserved = b"x".to_vec()), "envelope_malformed"),
        vector("bad_namespace", forged(|forged| forged.namespace = "file".to_owned()), "namespace_wrong"),
        vector("bad_hash", forged(|forged| forged.hash = "sha256".to_owned()), "hash_wrong"),
        vector("bad_unknown_key", format!("{}{}", by_software(), Forged::by(&key(9), OP, &by_software()).armor()).into_bytes(), "unknown_key"),
        vector("bad_signature", forged(|forged| *forged.signature.last_mut().unwrap() ^= 1), "bad_signature"),
        vector("bad_signer_twice", format!("{good}{armor}").into_bytes(), "signer_twice"),
        vector("bad_no_touch", touched(("ssh:", 0, 41)), "no_touch"),
        vector("bad_application", touched(("https://example.org", TOUCHED, 41)), "key_refused"),
        vector("bad_key_id", op_envelope(&by_touch()), "key_mismatch"),
        vector("bad_field_twice", changed("\"op\":", "\"op\":\"guest.destroy\",\"op\":"), "op_malformed"),
        vector("bad_unknown_field", changed("\"op\":", "\"class\":\"routine\",\"op\":"), "op_malformed"),
        vector("bad_unknown_op", changed("guest.destroy", "guest.exec"), "op_unknown"),
        vector("bad_escape", changed("\"op\"", "\"\\u006fp\""), "not_canonical"),
        vector("bad_space", changed("\"op\":", "\"op\": "), "not_canonical"),
        vector("bad_time_float", changed("1795000000000", "1795000000000.0"), "op_malformed"),
        vector("bad_lone_surrogate", changed("\"web\"", "\"\\ud800\""), "op_malformed"),
        vector("bad_escape_sequence", changed("\"web\"", "\"\\u001b[2J\""), "op_malformed"),
        vector("bad_bidi", changed("\"web\"", "\"we\u{202e}b\""), "op_malformed"),
        vector("bad_keyset_prev", keyset_envelope(&second.replacen(&sha256(&first), &"0".repeat(64), 1), 1), "keyset_prev"),
        vector("bad_keyset_version", keyset_envelope(&second.replacen("\"version\":2", "\"version\":3", 1), 1), "keyset_version"),
        vector("bad_keyset_signer", keyset_envelope(&second, 2), "unknown_key"),
        vector("bad_keyset_threshold", keyset_envelope(&second.replacen("\"root\":1", "\"root\":2", 1), 1), "keyset_malformed"),
    ]
}

fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/signed");
    folder.join(format!("{name}.txt"))
}

fn committed(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; write it with FELHOM_GOLDEN=write", path.display()))
}

fn all() -> Vec<Vector> {
    good().into_iter().chain(malformed()).collect()
}

/// Whom a box trusts that has taken the committed keysets up to this one.
fn trusted(version: u8) -> Trusted {
    let first = signed::genesis(&committed("keyset_1"), &sha256(&keysets()[0])).unwrap();
    (2..=version)
        .fold(first, |trusted, next| signed::next(&trusted, &committed(&format!("keyset_{next}"))).unwrap())
}

fn read_keyset(bytes: &[u8]) -> Result<String, Rejection> {
    let read = match Signed::decode(bytes)?.unverified_payload().strip_prefix(b"{\"version\":1,") {
        Some(_) => signed::genesis(bytes, &sha256(&keysets()[0]))?,
        // The third follows the second; whatever else follows the first or nothing.
        None => signed::next(&trusted(2), bytes).or_else(|_| signed::next(&trusted(1), bytes))?,
    };
    let keyset = read.keyset();
    let ops = keyset.keys_of(Role::Ops).len();
    Ok(format!("keyset {}, {} keys, {ops} of them ops", keyset.version, keyset.keys.len()))
}

/// Read as a box reads it that trusts the second keyset, in which every signer is.
fn read_op(bytes: &[u8]) -> Result<String, Rejection> {
    let trusted = trusted(2);
    let op = Signed::decode(bytes)?.verify(Namespace::Op, &trusted.keyset().keys_of(Role::Ops))?.op()?;
    let signers = op.signers().len();
    Ok(format!("{}, {signers} signer{}", op.op().request.word(), if signers == 1 { "" } else { "s" }))
}

#[test]
fn vectors_are_frozen() {
    for vector in all() {
        if std::env::var("FELHOM_GOLDEN").is_ok_and(|word| word == "write") {
            println!("FELHOM_GOLDEN=write: {} is written anew, not compared", vector.name);
            std::fs::write(path(vector.name), &vector.bytes).unwrap();
        }
        assert!(committed(vector.name) == vector.bytes, "{} has changed: see the module", vector.name);
    }
}

#[test]
fn no_vector_is_left_over() {
    let files = std::fs::read_dir(path("x").parent().unwrap()).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let known: BTreeSet<String> = all().iter().map(|vector| format!("{}.txt", vector.name)).collect();
    assert_eq!(files, known);
}

#[test]
fn every_vector_means_what_it_says() {
    for vector in all() {
        let bytes = committed(vector.name);
        let is_keyset = vector.name.contains("keyset");
        let read = if is_keyset { read_keyset(&bytes) } else { read_op(&bytes) };
        let meant = read.unwrap_or_else(|rejection| rejection.code().to_owned());
        assert_eq!(meant, vector.expected, "{}", vector.name);
    }
}

#[test]
fn the_last_keyset_no_longer_trusts_the_software_key() {
    let trusted = trusted(3);
    let verify = |name: &str| {
        let signed = Signed::decode(&committed(name)).unwrap();
        signed.verify(Namespace::Op, &trusted.keyset().keys_of(Role::Ops)).map(|_| ())
    };
    assert_eq!(verify("op_security_key"), Ok(()));
    assert_eq!(verify("op_ed25519"), Err(Rejection::UnknownKey));
}
