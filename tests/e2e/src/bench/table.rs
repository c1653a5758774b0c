//! Medians, and tables in Markdown, so that what a bench prints can stand in `docs/benchmarks.md` as it is.

#![expect(clippy::print_stdout, reason = "a bench's output is its purpose")]

use std::fmt::Write;

/// One claim: a figure beside its rival, and what the project has promised.
#[derive(Debug)]
pub struct Claim {
    /// What is claimed.
    pub what: &'static str,
    /// Ours.
    pub figure: String,
    /// The rival's, or a dash.
    pub rival: String,
    /// The measured value that the target is about, in words.
    pub value: String,
    /// The target in words.
    pub target: &'static str,
    /// Whether it is met.
    pub met: bool,
}

impl Claim {
    /// Ours is to be at least `times` the rival's.
    #[must_use]
    pub fn at_least(what: &'static str, (ours, rival): (f64, f64), times: f64, target: &'static str) -> Self {
        let ratio = ours / rival;
        Self {
            what,
            figure: number(ours),
            rival: number(rival),
            value: format!("{}×", number(ratio)),
            target,
            met: ratio >= times,
        }
    }

    /// Ours is to be at most `most`, in `unit`.
    #[must_use]
    pub fn at_most(what: &'static str, ours: f64, most: f64, (unit, target): (&str, &'static str)) -> Self {
        let value = format!("{} {unit}", number(ours));
        Self { what, figure: value.clone(), rival: "–".to_owned(), value, target, met: ours <= most }
    }

    /// The same beside a rival's figure, for information.
    #[must_use]
    pub fn beside(mut self, rival: String) -> Self {
        self.rival = rival;
        self
    }
}

/// Prints claims.
pub fn print_claims(claims: &[Claim]) {
    let rows: Vec<Vec<String>> = claims
        .iter()
        .map(|claim| {
            let met = if claim.met { "yes" } else { "**MISSED**" };
            let target = claim.target.to_owned();
            let (figure, rival, value) = (claim.figure.clone(), claim.rival.clone(), claim.value.clone());
            vec![claim.what.to_owned(), figure, rival, value, target, met.to_owned()]
        })
        .collect();
    print(&["claim", "figure", "rival", "ratio or value", "target", "met"], &rows);
}

/// Prints a table.
pub fn print(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut text = String::from("|");
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, " {cell:width$} |");
        }
        text
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    println!("{}", line(&head));
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    println!("{}", line(&dashes));
    for row in rows {
        println!("{}", line(row));
    }
    println!();
}

/// Prints a line of text.
pub fn say(text: &str) {
    println!("{text}");
}

/// The middle value; the mean of the middle two.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// A number with about three digits that count.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.005 => format!("{value:.2}"),
        _ if value == 0.0 => "0".to_owned(),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median([3.0, 900.0, 2.0]), 3.0);
        assert_eq!(median([1.0, 2.0, 4.0, 100.0]), 3.0);
    }

    #[test]
    fn a_missed_target_is_missed() {
        assert!(!Claim::at_least("", (34.0, 100.0), 0.35, "").met);
        assert!(Claim::at_most("", 8.0, 8.0, ("KiB", "")).met);
    }
}
