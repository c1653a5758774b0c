//! A short fuzz run without a fuzzer: the committed vectors, changed at random, through the same properties that
//! the long runs check. So many inputs each time, and the same ones for the same seed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; the seed is told"
)]

#[path = "../../../fuzz/src/properties.rs"]
mod properties;

use std::fs;
use std::path::PathBuf;

use felhom_tests::Random;

/// Inputs that a run of each target makes; those whose accepted inputs cost points of a curve make fewer.
const INPUTS: u32 = 20_000;
const COSTLY_INPUTS: u32 = 1_500;

/// Pieces that matter to the parsers: quotes, ends, numbers at the bounds, escapes, armor.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"0",
    b"-1",
    b"1e3",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\n",
    b"\r\n",
    b" ",
    b"=",
    b"-----BEGIN SSH SIGNATURE-----\n",
    b"-----END SSH SIGNATURE-----\n",
    b"\"op\":",
    b"\xe2\x80\xae",
    b"\xff",
];

/// Every committed file of a folder below `shared/tests`, in the order of their names.
fn corpus(folders: &[&str]) -> Vec<Vec<u8>> {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/tests");
    let files = folders.iter().flat_map(|folder| fs::read_dir(shared.join(folder)).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Payloads alone, as a verified envelope hands them on.
fn payloads() -> Vec<Vec<u8>> {
    let envelopes = corpus(&["vectors/signed"]);
    envelopes
        .into_iter()
        .map(|text| text.split_inclusive(|byte| *byte == b'\n').next().unwrap_or(b"").to_vec())
        .collect()
}

/// One to four small changes.
fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(4) {
        let (from, to) = range(random, bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[from.min(to.saturating_sub(1))] ^= 1 << random.below(8),
            1 => drop(bytes.drain(from..to)),
            2 => bytes.splice(from..from, bytes[from..to].to_vec()).for_each(drop),
            3 => bytes.splice(from..from, random.pick(&WORDS).iter().copied()).for_each(drop),
            4 => bytes.splice(from..to, random.pick(&WORDS).iter().copied()).for_each(drop),
            _ => {
                let other = random.pick(corpus);
                let (begin, end) = range(random, other.len());
                bytes.splice(from..to, other[begin..end].iter().copied()).for_each(drop);
            }
        }
    }
    bytes
}

/// A short stretch of so many bytes; empty when there are none.
fn range(random: &mut Random, length: usize) -> (usize, usize) {
    let below = |random: &mut Random, bound: usize| {
        usize::try_from(random.below(u64::try_from(bound).unwrap() + 1)).unwrap()
    };
    let from = below(random, length);
    let longest = if random.once_in(8) { length - from } else { (length - from).min(12) };
    (from, from + below(random, longest))
}

/// Every vector as it is, then so many changed ones.
fn run(name: &str, corpus: &[Vec<u8>], inputs: u32, property: fn(&[u8])) {
    let told = std::env::var("FELHOM_SEED").ok().map(|seed| seed.parse().expect("FELHOM_SEED is a number"));
    let seed = told.unwrap_or_else(Random::fresh_seed);
    println!("{name}: FELHOM_SEED={seed}, {inputs} inputs");
    corpus.iter().for_each(|bytes| property(bytes));
    let mut random = Random::new(seed);
    (0..inputs).for_each(|_| property(&mutate(&mut random, corpus)));
}

#[test]
fn envelopes_hold_to_their_properties() {
    run("envelope", &corpus(&["vectors/signed"]), INPUTS, properties::envelope);
}

#[test]
fn operations_hold_to_their_properties() {
    run("op", &payloads(), INPUTS, properties::op);
}

#[test]
fn keysets_hold_to_their_properties() {
    let mut inputs = corpus(&["vectors/signed"]);
    inputs.extend(payloads());
    run("keyset", &inputs, COSTLY_INPUTS, properties::keyset);
}

#[test]
fn documents_hold_to_their_properties() {
    // Most of the vectors are refused; the frozen documents of the wire are not.
    let mut documents = corpus(&["vectors/desired"]);
    let golden = corpus(&["golden"]);
    documents.extend(golden.into_iter().filter(|text| text.windows(10).any(|part| part == b"\"identity\"")));
    run("desired", &documents, INPUTS, properties::desired);
}
