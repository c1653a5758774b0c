//! Points in time for a person: how long ago, with the exact time in the operator's zone behind it.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What "now" and "here" are while one page is made.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

/// A point in time as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(source = r#"<time datetime="{{ iso }}" title="{{ exact }}">{{ relative }}</time>"#, ext = "html")]
pub(super) struct Moment {
    iso: String,
    pub(super) exact: String,
    pub(super) relative: String,
}

impl HtmlSafe for Moment {}

impl Clock {
    /// A zone that this machine does not know falls back to UTC, and every exact time says so.
    pub(super) fn new(now: Timestamp, zone: &str) -> Self {
        Self { now, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC) }
    }

    /// Reads a time of the store; one outside of what can be shown becomes its nearest end.
    pub(super) fn at_ms(&self, at_ms: i64) -> Moment {
        let end = if at_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.at(Timestamp::from_millisecond(at_ms).unwrap_or(end))
    }

    pub(super) fn at(&self, at: Timestamp) -> Moment {
        let exact = at.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
        Moment { iso: at.to_string(), exact, relative: self.relative(at) }
    }

    fn relative(&self, at: Timestamp) -> String {
        let apart_s = self.now.as_second() - at.as_second();
        let words = coarse(apart_s.unsigned_abs());
        match apart_s {
            0..=4 => "just now".to_owned(),
            5.. => format!("{words} ago"),
            _ => format!("in {words}"),
        }
    }
}

/// One unit is enough for "about when"; the exact time stands beside it.
fn coarse(apart_s: u64) -> String {
    match apart_s {
        0..=59 => format!("{apart_s} s"),
        60..=7199 => format!("{} min", apart_s / 60),
        7200..=172_799 => format!("{} h", apart_s / 3600),
        _ => format!("{} d", apart_s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::new("2026-11-24T12:00:00Z".parse().unwrap(), "Europe/Budapest")
    }

    #[test]
    fn a_moment_says_how_long_ago_and_exactly_when_in_the_operators_zone() {
        let moment = clock().at("2026-11-24T11:57:30Z".parse().unwrap());
        assert_eq!(moment.relative, "2 min ago");
        assert_eq!(moment.exact, "2026-11-24 12:57:30 CET");
        assert_eq!(
            moment.to_string(),
            r#"<time datetime="2026-11-24T11:57:30Z" title="2026-11-24 12:57:30 CET">2 min ago</time>"#
        );
    }

    #[test]
    fn words_fit_the_distance() {
        let clock = clock();
        let ago = |seconds: i64| clock.at_ms(clock.now.as_millisecond() - seconds * 1000).relative;
        assert_eq!(
            [2, 42, 90, 3599, 7300, 90_000, 900_000, -300].map(ago),
            [
                "just now",
                "42 s ago",
                "1 min ago",
                "59 min ago",
                "2 h ago",
                "25 h ago",
                "10 d ago",
                "in 5 min"
            ]
        );
    }

    #[test]
    fn an_impossible_time_and_an_unknown_zone_are_shown_all_the_same() {
        let clock = Clock::new(clock().now, "Mars/Olympus");
        assert!(clock.at_ms(i64::MAX).relative.starts_with("in "));
        assert!(clock.at(clock.now).exact.ends_with("UTC"));
    }
}
