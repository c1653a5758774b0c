//! 1–14: texts that are not an envelope. "Frame" in the list; here it is a line and armored signatures.

use felhom_shared::limits::{ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use felhom_shared::signed::{self, Namespace, Signed};
use felhom_tests::Keyring;

use crate::forge::{Forged, SECURITY_KEY, TOUCHED, armored, line, security_key};
use crate::scene::{all, code, judged, judged_by, payload, signed, with_second_operator};
use crate::{Row, row};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(1, "an empty envelope", "envelope_malformed", || judged("")),
    row(2, "eleven bytes", "envelope_malformed", || judged("hello world")),
    row(3, "another magic: armor of another kind", "envelope_malformed", || judged(signed(&payload()).replace("SSH SIGNATURE", "PGP SIGNATURE"))),
    row(3, "another magic: the blob begins with SSHSIH", "envelope_malformed", || edited_blob(|blob| blob[5] = b'H')),
    row(3, "another version of the signature's format", "envelope_malformed", || forged(|forged| forged.version = 2)),
    row(4, "a type nobody knows: namespaces of others", "namespace_wrong", || all(["felhom-op-v2", "file", "git", "FELHOM-OP-V1", "felhom-op-v1\0"].map(of_namespace))),
    row(4, "a type nobody knows: no namespace at all", "envelope_malformed", || of_namespace("")),
    row(5, "no signature", "signature_count", || judged(payload())),
    row(6, "five signatures", "signature_count", || judged(format!("{}{}", signed(&payload()), armor().repeat(4)))),
    row(7, "reserved bytes that are not empty", "envelope_malformed", || forged(|forged| forged.reserved = b"later".to_vec())),
    row(8, "an empty payload", "op_malformed", || judged(signed("\n"))),
    row(8, "an empty payload without its newline", "envelope_malformed", || judged(signed(""))),
    row(9, "a length of four gigabytes", "envelope_malformed", || all((0..5).map(huge_length))),
    row(10, "one byte after the last signature", "envelope_malformed", || all(["\n", " ", "\0", "x", "-"].map(|tail| judged(format!("{}{tail}", signed(&payload())))))),
    row(11, "a payload of 16 KiB and one byte", "too_large", || judged(signed(&long_payload(PAYLOAD_BYTES_MAX + 1)))),
    row(11, "a payload of 16 KiB is none too large", "op_malformed", || judged(signed(&long_payload(PAYLOAD_BYTES_MAX)))),
    row(12, "10 MiB", "too_large", || all([b"\n".repeat(10 << 20), b"a".repeat(10 << 20), b"-----BEGIN SSH SIGNATURE-----\n".repeat(400_000), vec![b'a'; ENVELOPE_BYTES_MAX + 1]].map(judged))),
    row(13, "base64 in another spelling", "envelope_malformed", || all(SPELLINGS.map(respelled))),
    row(14, "any bit flipped: one signature", "rejected", || flipped(&signed(&payload()), |envelope| judged(envelope))),
    row(14, "any bit flipped: a security key's signature beside another", "rejected", second_signature_flipped),
    row(14, "any bit flipped: a keyset", "rejected", || flipped(&Keyring::new().keyset_blob(), |envelope| code(signed::genesis(envelope, &Keyring::new().keyset().digest())))),
    row(14, "a byte taken out, or everything after one", "rejected", any_byte_taken_out),
];

fn armor() -> String {
    Keyring::new().ops.armor(Namespace::Op, &payload())
}

fn forged(change: impl FnOnce(&mut Forged)) -> String {
    let mut forged = Forged::by(Keyring::new().ops.raw(), "felhom-op-v1", &payload());
    change(&mut forged);
    judged(format!("{}{}", payload(), forged.armor()))
}

/// Really signed for that namespace.
fn of_namespace(namespace: &str) -> String {
    let forged = Forged::by(Keyring::new().ops.raw(), namespace, &payload());
    judged(format!("{}{}", payload(), forged.armor()))
}

fn blob() -> Vec<u8> {
    let armor = armor();
    let body: String = armor.lines().filter(|line| !line.starts_with('-')).collect();
    data_encoding::BASE64.decode(body.as_bytes()).unwrap()
}

fn edited_blob(edit: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut blob = blob();
    assert_eq!(judged(format!("{}{}", payload(), armored(&blob))), "accepted", "the unedited one is good");
    edit(&mut blob);
    judged(format!("{}{}", payload(), armored(&blob)))
}

/// The n-th of the outer fields claims to be as long as a length can say.
fn huge_length(nth: usize) -> String {
    edited_blob(|blob| {
        let mut at = 10;
        for _ in 0..nth {
            at += 4 + usize::from(u16::from_be_bytes([blob[at + 2], blob[at + 3]]));
        }
        blob[at..at + 4].fill(0xff);
    })
}

/// A line of exactly this many bytes, newline included.
fn long_payload(bytes: usize) -> String {
    format!("{}\n", " ".repeat(bytes - 1))
}

type Respell = fn(&str) -> String;

/// The same signature in ways that a lenient reader would take.
const SPELLINGS: [Respell; 9] = [
    |armor| armor.replace("\n-----END", "=\n-----END"),
    |armor| armor.replace("=\n-----END", "\n-----END"),
    |armor| armor.replace(['+', '/'], "-"),
    |armor| armor.replace('\n', "\r\n"),
    |armor| armor.replacen("-----\n", "-----\n\n", 1),
    |armor| armor.replacen("-----\n", "-----\n ", 1),
    |armor| armor.replacen("-----\n", "-----\nComment: hello\n\n", 1),
    |armor| {
        let body: String = armor.lines().filter(|line| !line.starts_with('-')).collect();
        format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n")
    },
    unused_bits_set,
];

/// The last character before the padding carries bits that no byte needs.
fn unused_bits_set(armor: &str) -> String {
    let end = armor.rfind("=\n-----END").unwrap();
    let last = armor[..end].trim_end_matches('=').len() - 1;
    let next = char::from(armor.as_bytes()[last] + 1);
    format!("{}{next}{}", &armor[..last], &armor[last + 1..])
}

fn respelled(spell: Respell) -> String {
    let armor = armor();
    let spelled = spell(&armor);
    // A spelling that changes nothing here proves nothing; it must be seen.
    if spelled == armor { "unchanged".to_owned() } else { judged(format!("{}{spelled}", payload())) }
}

/// Flips bits of an envelope that is good as it stands: every bit of its signatures, and of its payload one in
/// each byte, or every bit too when these rows are asked for by number. An unoptimised curve is slow.
fn flipped(envelope: &str, judge: impl Fn(&[u8]) -> String) -> String {
    let payload = envelope.find('\n').unwrap();
    let thorough = std::env::var_os("FELHOM_ATTACKS").is_some();
    let bits = (0..envelope.len() * 8).filter(|bit| thorough || bit / 8 >= payload || bit / 8 % 8 == bit % 8);
    flipped_in(bits, envelope, judge)
}

fn flipped_in(bits: impl Iterator<Item = usize>, envelope: &str, judge: impl Fn(&[u8]) -> String) -> String {
    assert_eq!(judge(envelope.as_bytes()), "accepted");
    let mut bytes = envelope.as_bytes().to_vec();
    for bit in bits {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if judge(&bytes) == "accepted" {
            return format!("accepted with bit {bit} flipped");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    "rejected".to_owned()
}

/// The first signature and the payload are the other row's.
fn second_signature_flipped() -> String {
    let key = felhom_tests::Key::number(9);
    let trusted = with_second_operator(&line(SECURITY_KEY, &security_key(key.raw(), "ssh:")), 2);
    let first = signed(&payload());
    let second = Forged::by_security_key(key.raw(), ("ssh:", TOUCHED, 5), "felhom-op-v1", &payload());
    let envelope = format!("{first}{}", second.armor());
    let bits = first.len() * 8..envelope.len() * 8;
    flipped_in(bits, &envelope, |envelope| judged_by(&trusted, envelope))
}

fn any_byte_taken_out() -> String {
    let envelope = signed(&payload());
    let payload_ends = envelope.find('\n').unwrap();
    for at in (0..8).chain(payload_ends - 8..envelope.len()) {
        let mut bytes = envelope.as_bytes().to_vec();
        bytes.remove(at);
        if judged(&bytes) == "accepted" {
            return format!("accepted without byte {at}");
        }
    }
    let cut = (0..envelope.len()).find(|at| Signed::decode(&envelope.as_bytes()[..*at]).is_ok());
    cut.map_or_else(|| "rejected".to_owned(), |at| format!("an envelope when cut at {at}"))
}
