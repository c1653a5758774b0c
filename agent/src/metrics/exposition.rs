//! Prometheus' text format, and the prefix that all of the agent's metrics have. Knows no metric.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A text that grows by families.
#[derive(Default)]
pub(super) struct Exposition {
    pub(super) text: String,
}

impl Exposition {
    /// A gauge of one sample.
    pub(super) fn one(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, [(String::new(), value)]);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        self.family(("gauge", name), help, samples);
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        self.family(("counter", name), help, samples);
    }

    fn family(
        &mut self,
        (kind, name): (&str, &str),
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        let mut put = |line: std::fmt::Arguments<'_>| self.text.write_fmt(line).expect("a string takes all");
        put(format_args!("# HELP felhom_agent_{name} {help}\n# TYPE felhom_agent_{name} {kind}\n"));
        for (labels, value) in samples {
            put(format_args!("felhom_agent_{name}{labels} {value}\n"));
        }
    }
}

/// A sample for each word.
pub(super) fn by(name: &str, counts: &BTreeMap<&'static str, u64>) -> impl Iterator<Item = (String, f64)> {
    counts.iter().map(move |(word, count)| (label(name, word), *count as f64))
}

/// One label, in braces.
pub(super) fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}
