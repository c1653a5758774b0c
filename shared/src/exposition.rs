//! Prometheus' text format. Knows no metric; what is shown is the business of whoever shows it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A text that grows by families. Every name in it has the same prefix.
#[derive(Debug, Clone)]
pub struct Exposition {
    prefix: &'static str,
    text: String,
}

impl Exposition {
    /// An empty text, for names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new() }
    }

    /// A gauge of one sample.
    pub fn one(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, [(String::new(), value)]);
    }

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        self.family(("gauge", name), help, samples);
    }

    /// A count since the program's start; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        self.family(("counter", name), help, samples);
    }

    /// The whole text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn family(
        &mut self,
        (kind, name): (&str, &str),
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        let prefix = self.prefix;
        let mut put = |line: std::fmt::Arguments<'_>| self.text.write_fmt(line).expect("a string takes all");
        put(format_args!("# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} {kind}\n"));
        for (labels, value) in samples {
            put(format_args!("{prefix}_{name}{labels} {value}\n"));
        }
    }
}

/// A sample for each word.
pub fn by(name: &str, counts: &BTreeMap<&'static str, u64>) -> impl Iterator<Item = (String, f64)> {
    counts.iter().map(move |(word, count)| (label(name, word), *count as f64))
}

/// One label, in braces.
#[must_use]
pub fn label(name: &str, value: &str) -> String {
    labels(&[(name, value)])
}

/// Labels, in braces. A value may be any text.
#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line_or_its_quotes() {
        assert_eq!(labels(&[("a", "x\"} 1\n\\"), ("b", "y")]), "{a=\"x\\\"} 1\\n\\\\\",b=\"y\"}");
    }

    #[test]
    fn a_family_has_its_help_its_type_and_its_samples() {
        let mut text = Exposition::new("x");
        text.counter("beats_total", "Beats.", [(label("of", "heart"), 2.0)]);
        assert_eq!(
            text.into_text(),
            "# HELP x_beats_total Beats.\n# TYPE x_beats_total counter\nx_beats_total{of=\"heart\"} 2\n"
        );
    }
}
