//! The attack list, one row for each attack: how it is made, and what must come of it.
//!
//! The numbers are those of the list in the threat model: envelope 1–14, signature 15–24, JSON 25–39, authority
//! 40–48, time and replay 49–67, keyset 68–77, desired state 78–88. Every number has a row; one whose attack has
//! no place in this design says why and what stands there instead. A row is data: adding an attack is one line
//! and, if no forger for it exists, one function. `FELHOM_ATTACKS=14,65` runs the rows of these numbers only.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; the table is printed"
)]

mod authority;
mod desired;
mod envelope;
#[path = "../../../../shared/tests/forge/mod.rs"]
mod forge;
mod json;
mod keyset;
mod ledger;
mod scene;
mod signature;
mod time;

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The numbers of the list that this suite answers for.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=88;
/// The scenes wait more than they work.
const THREADS: usize = 4;

/// How an attack is made.
enum Made {
    /// What came of it, in the words of `expected`.
    By(fn() -> String),
    /// There is nothing to attack, and what stands there instead.
    NotApplicable(&'static str),
}

/// One attack.
struct Row {
    number: u8,
    attack: &'static str,
    expected: &'static str,
    made: Made,
}

const fn row(number: u8, attack: &'static str, expected: &'static str, made: fn() -> String) -> Row {
    Row { number, attack, expected, made: Made::By(made) }
}

const fn not_applicable(number: u8, attack: &'static str, reason: &'static str) -> Row {
    Row { number, attack, expected: "not applicable", made: Made::NotApplicable(reason) }
}

const PARTS: [&[Row]; 7] =
    [envelope::ROWS, signature::ROWS, json::ROWS, authority::ROWS, time::ROWS, ledger::ROWS, keyset::ROWS];

fn rows() -> Vec<&'static Row> {
    PARTS.into_iter().flatten().chain(desired::ROWS).collect()
}

/// What came of a row; a scene that breaks down is told as what it said last.
fn outcome(row: &Row) -> String {
    match row.made {
        Made::NotApplicable(_) => row.expected.to_owned(),
        Made::By(make) => catch_unwind(make).unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            format!("panicked: {}", text.or(cause.downcast_ref::<&str>().copied()).unwrap_or("no words"))
        }),
    }
}

/// Runs every row, several at a time, and returns what came of each in their order.
fn run(rows: &[&'static Row]) -> Vec<String> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(vec![String::new(); rows.len()]));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((at, row)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|at| rows.get(at).map(|row| (at, row)))
                {
                    let outcome = outcome(row);
                    outcomes.lock().unwrap()[at] = outcome;
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn every_attack_comes_to_what_the_table_says() {
    let mut rows = rows();
    if let Ok(only) = std::env::var("FELHOM_ATTACKS") {
        println!("FELHOM_ATTACKS={only}: the other rows are left out");
        rows.retain(|row| only.split(',').any(|number| number == row.number.to_string()));
    }
    let outcomes = run(&rows);
    let as_expected = rows.iter().zip(&outcomes).filter(|(row, outcome)| row.expected == *outcome).count();
    if as_expected < rows.len() {
        for (row, outcome) in rows.iter().zip(&outcomes) {
            let mark = if row.expected == outcome { "  " } else { "!!" };
            println!("{mark} {:>2} {:<72} {:<28} {outcome}", row.number, row.attack, row.expected);
        }
    }
    println!("attacks: {} rows, {as_expected} as expected", rows.len());
    assert_eq!(as_expected, rows.len(), "rows marked !! came to something else");
}

#[test]
fn every_number_of_the_list_has_a_row_or_a_reason() {
    let rows = rows();
    let present: BTreeSet<u8> = rows.iter().map(|row| row.number).collect();
    let missing: Vec<u8> = NUMBERS.filter(|number| !present.contains(number)).collect();
    assert!(missing.is_empty(), "attacks without a row: {missing:?}");
    assert!(present.iter().all(|number| NUMBERS.contains(number)), "a row has a number of another part");
    for row in rows {
        if let Made::NotApplicable(reason) = row.made {
            println!("{:>2} {}: {reason}", row.number, row.attack);
            assert!(reason.len() > 20, "{}: a reason is a sentence", row.number);
        }
    }
}
