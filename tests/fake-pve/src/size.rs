//! Disk sizes: what a request may write, and the largest exact unit PVE writes back.

/// One GiB.
pub(crate) const GIB: u64 = 1 << 30;

/// Bytes of `8`, `8G`, `1024M`, `0.5G` (a bare number counts `unit_default` bytes).
pub(crate) fn parse(text: &str, unit_default: u64) -> Option<u64> {
    let (number, unit) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 1 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        'G' => (&text[..text.len() - 1], GIB),
        'T' => (&text[..text.len() - 1], 1 << 40),
        _ => (text, unit_default),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let fraction: f64 = number.parse().ok()?;
    // Sizes stay far below 2^53, so the float is exact enough to round to a KiB.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a parsed size is finite and not negative"
    )]
    let bytes = (fraction * unit as f64) as u64;
    Some(bytes / 1024 * 1024)
}

/// `1G`, `1536M`, `0T`: the largest unit that divides exactly.
pub(crate) fn format(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes.is_multiple_of(1_u64 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::{GIB, format, parse};

    #[test]
    fn sizes_come_back_in_the_largest_exact_unit() {
        assert_eq!(format(parse("1024M", 1).unwrap()), "1G");
        assert_eq!(format(parse("1536M", 1).unwrap()), "1536M");
        assert_eq!(format(0), "0T");
        assert_eq!(format(513), "513");
    }

    #[test]
    fn a_bare_number_counts_the_callers_unit() {
        assert_eq!(parse("8", GIB), Some(8 * GIB));
        assert_eq!(parse("0.5", GIB), Some(GIB / 2));
        assert_eq!(parse("x", GIB), None);
        assert_eq!(parse("", GIB), None);
    }
}
