//! The hours in which a guest may be restarted to let a pending change take effect.

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// A weekly window in a named time zone, e.g. Sunday 02:00 for 120 minutes in Europe/Budapest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days on which the window opens; empty means every day.
    #[serde(default)]
    pub days: Vec<Weekday>,
    /// When it opens, local time, `HH:MM`.
    pub start: civil::Time,
    /// How long it stays open, 1 to 1440 minutes.
    pub minutes: u16,
    /// IANA time zone name.
    #[serde(default = "budapest")]
    pub timezone: String,
}

/// A day of the week, as people write it in three letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

fn budapest() -> String {
    "Europe/Budapest".to_owned()
}

impl Window {
    /// Open at every time.
    #[must_use]
    pub fn always() -> Self {
        let (days, start) = (Vec::new(), civil::Time::midnight());
        Self { days, start, minutes: 1440, timezone: "UTC".to_owned() }
    }

    /// Whether the window is open at `now`. A window may cross midnight; a time zone the machine does not know
    /// keeps it shut, since restarting a guest at a wrong hour is worse than waiting.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let Ok(zone) = TimeZone::get(&self.timezone) else { return false };
        let local = now.to_zoned_datetime(zone.clone());
        [0, 1].into_iter().any(|days_back| {
            let Ok(day) = local.date().checked_sub(i64::from(days_back).days()) else { return false };
            if !(self.days.is_empty() || self.days.contains(&Weekday::of(day))) {
                return false;
            }
            let Ok(opens) = day.to_datetime(self.start).to_zoned_datetime(zone.clone()) else { return false };
            let opens = opens.timestamp();
            let Ok(closes) = opens.checked_add(i64::from(self.minutes).minutes()) else { return false };
            opens <= now && now < closes
        })
    }
}

impl Weekday {
    fn of(day: civil::Date) -> Self {
        match day.weekday() {
            civil::Weekday::Monday => Self::Mon,
            civil::Weekday::Tuesday => Self::Tue,
            civil::Weekday::Wednesday => Self::Wed,
            civil::Weekday::Thursday => Self::Thu,
            civil::Weekday::Friday => Self::Fri,
            civil::Weekday::Saturday => Self::Sat,
            civil::Weekday::Sunday => Self::Sun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[Weekday], start: &str, minutes: u16) -> Window {
        Window { days: days.to_vec(), start: start.parse().unwrap(), minutes, timezone: budapest() }
    }

    fn open(window: &Window, now: &str) -> bool {
        window.is_open(now.parse().unwrap())
    }

    #[test]
    fn a_window_opens_on_its_day_in_its_zone() {
        let sunday = window(&[Weekday::Sun], "02:00", 120);
        assert!(open(&sunday, "2026-11-22T01:00:00Z"), "02:00 in Budapest on a Sunday");
        assert!(!open(&sunday, "2026-11-22T03:00:00Z"), "04:00 is past the end");
        assert!(!open(&sunday, "2026-11-23T01:00:00Z"), "Monday");
    }

    #[test]
    fn a_window_crosses_midnight_into_the_next_day() {
        let saturday = window(&[Weekday::Sat], "23:30", 60);
        assert!(open(&saturday, "2026-11-21T22:45:00Z"), "23:45 on Saturday");
        assert!(open(&saturday, "2026-11-21T23:15:00Z"), "00:15 on Sunday");
        assert!(!open(&saturday, "2026-11-22T22:45:00Z"), "23:45 on Sunday");
    }

    #[test]
    fn no_days_means_every_day_and_an_unknown_zone_stays_shut() {
        let mut daily = window(&[], "03:00", 30);
        assert!(open(&daily, "2026-11-24T02:10:00Z"));
        daily.timezone = "Mars/Olympus".to_owned();
        assert!(!open(&daily, "2026-11-24T02:10:00Z"));
    }
}
