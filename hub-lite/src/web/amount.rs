//! Numbers with their units, as a person reads them.

/// Bytes in binary units, with as many digits as help.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$} {}", units[unit])
}

/// MiB as GiB where that is a whole number.
pub(super) fn mebibytes(mebibytes: u32) -> String {
    if mebibytes >= 1024 && mebibytes.is_multiple_of(1024) {
        format!("{} GiB", mebibytes / 1024)
    } else {
        format!("{mebibytes} MiB")
    }
}

/// Seconds in the two largest units.
pub(super) fn seconds(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (size, unit) in units {
        if rest >= size {
            parts.push(format!("{} {unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// Milliseconds, as seconds from one second on.
pub(super) fn milliseconds(milliseconds: u64) -> String {
    if milliseconds < 1000 {
        format!("{milliseconds} ms")
    } else {
        #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
        let value = milliseconds as f64 / 1000.0;
        format!("{value:.1} s")
    }
}

/// A share of a whole in percent, 0 to 100; nothing of nothing is 0.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let share = part as f64 / whole as f64;
    (share * 100.0).clamp(0.0, 100.0)
}

/// `1 guest`, `2 guests`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_carry_their_unit() {
        let shown = [0, 1023, 1024, 1536, 107_374_182_400, 5_497_558_138_880].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "100 GiB", "5.0 TiB"]);
        assert_eq!([512, 1024, 1536, 8192].map(mebibytes), ["512 MiB", "1 GiB", "1536 MiB", "8 GiB"]);
        let shown = [0, 59, 60, 3661, 90_061, 86_400].map(seconds);
        assert_eq!(shown, ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h", "1 d"]);
        assert_eq!([12, 1500].map(milliseconds), ["12 ms", "1.5 s"]);
    }

    #[test]
    fn a_share_of_nothing_is_no_share_and_no_more_than_all() {
        assert!(percent(1, 0).abs() < f64::EPSILON);
        assert!((percent(3, 2) - 100.0).abs() < f64::EPSILON);
        assert_eq!((count(1, "guest"), count(0, "guest")), ("1 guest".to_owned(), "0 guests".to_owned()));
    }
}
