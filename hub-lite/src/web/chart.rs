//! Lines over time as inline SVG, drawn on the hub: readable without scripts, in the page's own colours.
//!
//! Where nothing was heard there is no line: a gap is a fact, and joining its ends would invent numbers.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::shown::Shown;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 168.0;
const LEFT: f64 = 38.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// More points than this are averaged: the eye sees no more.
const POINTS_MAX: i64 = 320;
/// Silence longer than this is shown as such.
const GAP_MS: i64 = 20 * 60 * 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What is drawn.
pub(super) struct Line {
    pub(super) name: Shown,
    /// Milliseconds and value, oldest first.
    pub(super) points: Vec<(i64, f64)>,
}

/// From when to when, in whose hours.
pub(super) struct Span {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) zone: TimeZone,
}

/// How high the picture is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// From 0 to 100.
    Percent,
    /// From 0 to what is there.
    Open { at_least: f64 },
}

/// A finished picture.
#[derive(Template)]
#[template(path = "chart.html")]
pub(super) struct Chart {
    title: &'static str,
    unit: String,
    summary: String,
    across: Vec<Tick>,
    up: Vec<Tick>,
    drawn: Vec<Drawn>,
}

impl HtmlSafe for Chart {}

struct Tick {
    at: String,
    label: String,
}

struct Drawn {
    name: Shown,
    path: String,
    newest: String,
    highest: String,
}

impl Chart {
    pub(super) fn new(
        title: &'static str,
        unit: &str,
        span: &Span,
        (scale, lines): (Scale, Vec<Line>),
    ) -> Self {
        let highest = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(0.0, f64::max);
        let (top, step) = match scale {
            Scale::Percent => (100.0, 25.0),
            Scale::Open { at_least } => nice(highest.max(at_least)),
        };
        let drawn: Vec<Drawn> = lines
            .into_iter()
            .filter(|line| !line.points.is_empty())
            .map(|line| draw(line, span, (scale, top)))
            .collect();
        let told =
            drawn.iter().map(|line| format!("{} now {}, at most {}", line.name, line.newest, line.highest));
        let summary =
            if drawn.is_empty() { "no numbers yet".to_owned() } else { told.collect::<Vec<_>>().join("; ") };
        let up = ticks_up(top, step);
        Self { title, unit: unit.to_owned(), summary, across: ticks_across(span), up, drawn }
    }

    fn several(&self) -> bool {
        self.drawn.len() > 1
    }
}

fn draw(line: Line, span: &Span, (scale, top): (Scale, f64)) -> Drawn {
    let value = |value: f64| match scale {
        Scale::Percent => format!("{value:.0} %"),
        Scale::Open { .. } => format!("{value:.2}"),
    };
    let highest = line.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let newest = line.points.last().map_or(0.0, |(_, value)| *value);
    let points = thin(&line.points, span);
    let gap = GAP_MS.max((span.to_ms - span.from_ms) / POINTS_MAX * 3);
    let mut path = String::new();
    let mut before = None;
    for (at_ms, value) in points {
        let verb = if before.is_some_and(|before| at_ms - before <= gap) { 'L' } else { 'M' };
        // A lone point becomes a dot: a line of no length with round ends.
        let dot = if verb == 'M' { "h0" } else { "" };
        path.push_str(&format!("{verb}{:.1} {:.1}{dot}", x(at_ms, span), y(value, top)));
        before = Some(at_ms);
    }
    Drawn { name: line.name, path, newest: value(newest), highest: value(highest) }
}

/// Averages points that would fall on the same place.
fn thin(points: &[(i64, f64)], span: &Span) -> Vec<(i64, f64)> {
    let width = ((span.to_ms - span.from_ms) / POINTS_MAX).max(1);
    let mut thinned: Vec<(i64, f64)> = Vec::new();
    let seen = points
        .iter()
        .filter(|(at_ms, value)| (span.from_ms..=span.to_ms).contains(at_ms) && value.is_finite());
    for bucket in seen.collect::<Vec<_>>().chunk_by(|a, b| a.0 / width == b.0 / width) {
        let Some((at_ms, _)) = bucket.last() else { continue };
        #[expect(clippy::cast_precision_loss, reason = "a bucket holds few points")]
        let mean = bucket.iter().map(|(_, value)| value).sum::<f64>() / bucket.len() as f64;
        thinned.push((*at_ms, mean));
    }
    thinned
}

#[expect(clippy::cast_precision_loss, reason = "a tenth of a pixel is enough")]
fn x(at_ms: i64, span: &Span) -> f64 {
    let share = (at_ms - span.from_ms) as f64 / (span.to_ms - span.from_ms).max(1) as f64;
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn y(value: f64, top: f64) -> f64 {
    TOP + (1.0 - (value / top).clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
}

/// A round number not below `highest`, and a step that divides it into 2 to 5 parts.
fn nice(highest: f64) -> (f64, f64) {
    let magnitude = 10f64.powf((highest / 4.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| step * 4.0 >= highest);
    let step = step.unwrap_or(highest);
    ((highest / step).ceil() * step, step)
}

fn ticks_up(top: f64, step: f64) -> Vec<Tick> {
    let digits = if step >= 1.0 && (step - step.round()).abs() < 1e-9 { 0 } else { 2 };
    let values = (0..=5).map(|n| f64::from(n) * step).take_while(|value| *value <= top * 1.001);
    values
        .map(|value| Tick { at: format!("{:.1}", y(value, top)), label: format!("{value:.digits$}") })
        .collect()
}

/// Local hours within two days, days beyond.
fn ticks_across(span: &Span) -> Vec<Tick> {
    let days = (span.to_ms - span.from_ms) / DAY_MS;
    let (hours, every, format): (&[i8], usize, &str) = match days {
        ..=2 => (&[0, 6, 12, 18], 1, "%H:%M"),
        3..=8 => (&[0], 1, "%a"),
        _ => (&[0], 5, "%b %-d"),
    };
    let Ok(from) = Timestamp::from_millisecond(span.from_ms) else { return Vec::new() };
    let first = from.to_zoned_datetime(span.zone.clone()).date();
    let dates = (0..=days + 1).step_by(every).filter_map(|day| first.checked_add(day.days()).ok());
    let times = dates.flat_map(|date| hours.iter().map(move |hour| date.at(*hour, 0, 0, 0)));
    times.filter_map(|time| tick_across(time, span, format)).collect()
}

fn tick_across(time: civil::DateTime, span: &Span, format: &str) -> Option<Tick> {
    let at_ms = time.to_zoned_datetime(span.zone.clone()).ok()?.timestamp().as_millisecond();
    let at = x(at_ms, span);
    // A label at the very edge would be cut off.
    (LEFT..=WIDTH - RIGHT)
        .contains(&at)
        .then(|| Tick { at: format!("{at:.1}"), label: time.strftime(format).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        let to: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let to_ms = to.as_millisecond();
        Span { from_ms: to_ms - DAY_MS, to_ms, zone: TimeZone::get("Europe/Budapest").unwrap() }
    }

    fn chart(points: Vec<(i64, f64)>) -> Chart {
        let line = Line { name: Shown::new("load"), points };
        Chart::new("Load", "1 min", &span(), (Scale::Open { at_least: 1.0 }, vec![line]))
    }

    #[test]
    fn silence_breaks_the_line_and_a_lone_point_is_a_dot() {
        let start = span().from_ms;
        let minutes = |n: i64| start + n * 60_000;
        let chart = chart(vec![(minutes(0), 0.5), (minutes(5), 0.6), (minutes(90), 0.7)]);
        let path = &chart.drawn[0].path;
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert!(path.ends_with("h0"), "{path}");
    }

    #[test]
    fn the_scale_is_round_and_holds_the_highest_value() {
        for (highest, top) in [(1.0, 1.0), (0.9, 1.0), (7.3, 8.0), (33.0, 40.0), (101.0, 150.0)] {
            let (found, step) = nice(highest);
            assert!((found - top).abs() < 1e-9, "{highest}: {found}");
            assert!((2.0..=5.01).contains(&(found / step)));
        }
    }

    #[test]
    fn hours_are_the_operators() {
        let labels: Vec<String> = ticks_across(&span()).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["18:00", "00:00", "06:00", "12:00"]);
        let first: f64 = ticks_across(&span())[0].at.parse().unwrap();
        assert!(
            (first - x(span().from_ms + 5 * 3_600_000, &span())).abs() < 0.1,
            "13:00 to 18:00 is five hours"
        );
    }

    #[test]
    fn many_points_are_averaged_and_nonsense_is_left_out() {
        let start = span().from_ms;
        let points: Vec<(i64, f64)> = (0..8640).map(|n| (start + n * 10_000, 1.0)).collect();
        assert!(thin(&points, &span()).len() <= 321);
        assert_eq!(thin(&[(start, f64::NAN), (start - 1, 1.0), (start + 1, f64::INFINITY)], &span()), []);
    }

    #[test]
    fn without_numbers_the_picture_says_so() {
        assert!(chart(Vec::new()).to_string().contains("no numbers yet"));
    }
}
