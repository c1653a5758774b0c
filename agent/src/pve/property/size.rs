//! Sizes as PVE writes them. Whole bytes only: nothing is rounded to please a comparison.

/// A size with PVE's units, which are powers of 1024: `8G`, `1.5T`, `512`. `None` if it is none or too large.
#[must_use]
pub fn size_bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    // Nine digits after the point tell bytes of a gigabyte apart; more would only overflow.
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = whole.parse::<u64>().ok().map(u128::from)? * scale + fraction.parse::<u128>().ok()?;
    u64::try_from((scaled << shift) / scale).ok()
}

/// A size in the largest unit that expresses it exactly, as PVE writes it.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    [(40, "T"), (30, "G"), (20, "M"), (10, "K")]
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}
