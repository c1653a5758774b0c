//! A host's numbers: storages as bars, load, memory and storage use over time.

use std::collections::BTreeMap;

use felhom_shared::report::Metrics;

use crate::store::host_metrics::Sample;
use crate::web::amount::{bytes, percent};
use crate::web::badge::{Badge, Tone};
use crate::web::chart::{Chart, Line, Scale, Span};
use crate::web::moment::Clock;
use crate::web::shown::Shown;

const FULL_PERCENT: f64 = 95.0;
const NEARLY_FULL_PERCENT: f64 = 85.0;
const HOUR_MS: i64 = 3_600_000;
/// Lines that can still be told apart.
const STORAGE_LINES_MAX: usize = 4;

/// How far back the charts look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Day,
    Week,
}

impl Range {
    pub(super) const ALL: [Self; 2] = [Self::Day, Self::Week];

    /// What the address says; anything else is a day.
    pub(super) fn read(word: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|range| Some(range.word()) == word).unwrap_or(Self::Day)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Day => "24 hours",
            Self::Week => "7 days",
        }
    }

    pub(super) fn ms(self) -> i64 {
        match self {
            Self::Day => 24 * HOUR_MS,
            Self::Week => 7 * 24 * HOUR_MS,
        }
    }
}

/// One storage on the page.
pub(super) struct StorageRow {
    pub(super) id: Shown,
    pub(super) used: String,
    pub(super) total: String,
    pub(super) percent: String,
    pub(super) tone: Tone,
    pub(super) state: Badge,
}

pub(super) fn storages(metrics: &Metrics) -> Vec<StorageRow> {
    let rows = metrics.storages.iter().map(|(id, storage)| {
        let share = percent(storage.used_bytes, storage.total_bytes);
        let state = match storage.active {
            false => Badge { word: "not reachable", tone: Tone::Bad },
            true if share >= FULL_PERCENT => Badge { word: "full", tone: Tone::Bad },
            true if share >= NEARLY_FULL_PERCENT => Badge { word: "nearly full", tone: Tone::Warn },
            true => Badge { word: "ok", tone: Tone::Good },
        };
        StorageRow {
            id: Shown::new(id),
            used: bytes(storage.used_bytes),
            total: bytes(storage.total_bytes),
            percent: format!("{share:.0}"),
            tone: state.tone,
            state,
        }
    });
    rows.collect()
}

/// Load, memory and storage use.
pub(super) fn charts(samples: &[Sample], range: Range, clock: &Clock) -> Vec<Chart> {
    let to_ms = clock.now.as_millisecond();
    let span = Span { from_ms: to_ms - range.ms(), to_ms, zone: clock.zone.clone() };
    let newest = samples.last().map(|sample| &sample.metrics);
    let cpus = newest.map_or(0, |metrics| metrics.cpus);
    let memory = newest.map_or(0, |metrics| metrics.memory_total_bytes);
    let points = |value: fn(&Metrics) -> f64| samples.iter().map(|s| (s.at_ms, value(&s.metrics))).collect();
    let load = Line { name: Shown::new("load"), points: points(|metrics| metrics.load1) };
    let used = Line {
        name: Shown::new("memory"),
        points: points(|metrics| percent(metrics.memory_used_bytes, metrics.memory_total_bytes)),
    };
    let limit = format!("1-minute average; {cpus} CPUs");
    let share = format!("% of {}", bytes(memory));
    vec![
        Chart::new("Load", &limit, &span, (Scale::Open { at_least: 1.0 }, vec![load])),
        Chart::new("Memory", &share, &span, (Scale::Percent, vec![used])),
        Chart::new("Storage", "% in use", &span, (Scale::Percent, storage_lines(samples))),
    ]
}

/// The fullest storages, each a line.
fn storage_lines(samples: &[Sample]) -> Vec<Line> {
    let mut lines: BTreeMap<&str, Vec<(i64, f64)>> = BTreeMap::new();
    for sample in samples {
        for (id, storage) in sample.metrics.storages.iter().filter(|(_, storage)| storage.total_bytes > 0) {
            let share = percent(storage.used_bytes, storage.total_bytes);
            lines.entry(id).or_default().push((sample.at_ms, share));
        }
    }
    let newest = |line: &Line| line.points.last().map_or(0.0, |(_, share)| *share);
    let mut lines: Vec<Line> =
        lines.into_iter().map(|(id, points)| Line { name: Shown::new(id), points }).collect();
    lines.sort_by(|a, b| newest(b).total_cmp(&newest(a)));
    lines.truncate(STORAGE_LINES_MAX);
    lines
}
