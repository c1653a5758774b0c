//! Reading PVE's JSON: booleans arrive as `0`/`1`, some numbers as strings, and what is absent is the default.
//!
//! Lenient about *form* only. A value of the wrong meaning (`"abc"` for a number) is an error, never a zero.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value as PVE's own text form: booleans as `1` and `0`, numbers in decimal, strings as they are.
///
/// Lists (raw `lxc.*` keys come so) are kept as JSON text: comparable, though never written back.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => if *flag { "1" } else { "0" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// PVE's spellings of a boolean, in any case.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["1", "on", "yes", "true"]) {
        Some(true)
    } else if is(["0", "off", "no", "false"]) {
        Some(false)
    } else {
        None
    }
}

/// A string from a string, number or boolean.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Value::deserialize(deserializer).map(|value| text_of(&value))
}

/// A boolean from `0`, `1`, `"0"`, `"1"`, `true` or `false`; null is false.
pub(super) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(false);
    }
    parse_bool(&text_of(&value)).ok_or_else(|| D::Error::custom(format!("{value} is not a boolean")))
}

/// A whole number from a number or a string of digits; null and the empty string are absent.
pub(super) fn optional_u64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = text_of(&value);
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => whole(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("{value} is not a whole, non-negative number"))),
    }
}

/// As [`optional_u64`], with absence as zero.
pub(super) fn u64_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    optional_u64(deserializer).map(Option::unwrap_or_default)
}

/// A number from a number or a string; null and the empty string are absent.
pub(super) fn optional_f64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match text_of(&value).as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| D::Error::custom(format!("{value} is not a number"))),
    }
}

/// Perl may have turned a large byte count into a float on its way (`1.5e+12`, `8589934592.0`).
fn whole(text: &str) -> Option<u64> {
    const EXACT_UP_TO: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    (number.fract() == 0.0 && (0.0..=EXACT_UP_TO).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Mixed {
        #[serde(default, deserialize_with = "super::boolean")]
        active: bool,
        #[serde(default, deserialize_with = "super::optional_u64")]
        size: Option<u64>,
        #[serde(default, deserialize_with = "super::text")]
        version: String,
    }

    fn read(json: &str) -> Result<Mixed, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_spelling_of_a_boolean_is_read() {
        for yes in ["1", "\"1\"", "true", "\"on\"", "\"Yes\""] {
            assert!(read(&format!("{{\"active\":{yes}}}")).unwrap().active, "{yes}");
        }
        for no in ["0", "\"0\"", "false", "null", "\"off\""] {
            assert!(!read(&format!("{{\"active\":{no}}}")).unwrap().active, "{no}");
        }
        assert!(read("{\"active\":2}").is_err());
    }

    #[test]
    fn numbers_are_read_from_strings_and_nonsense_is_not_zero() {
        assert_eq!(read("{\"size\":\"100\"}").unwrap().size, Some(100));
        assert_eq!(read("{\"size\":1.5e3}").unwrap().size, Some(1500));
        assert_eq!(read("{\"size\":null}").unwrap().size, None);
        assert_eq!(read("{}").unwrap().size, None);
        for wrong in ["-1", "\"abc\"", "0.5"] {
            assert!(read(&format!("{{\"size\":{wrong}}}")).is_err(), "{wrong}");
        }
        assert_eq!(read("{\"version\":9}").unwrap().version, "9");
    }
}
