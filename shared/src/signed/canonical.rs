//! One text for one value: compact JSON and a newline, or refused.
//!
//! Parsing is strict by type (unknown and repeated fields are errors), and what was parsed must encode to the
//! bytes that were signed. Escapes, white space, number forms, field order, arrays in place of objects: whatever
//! a lenient reader could see differently does not survive the comparison.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rejection::Rejection;

/// The payload of a value. The newline is what every text editor puts at the end of a line.
pub(super) fn encode<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string(value).expect("payloads are structs of texts, numbers and lists");
    text.push('\n');
    text
}

/// Reads a payload; `not_this` is the rejection for what does not parse at all.
pub(super) fn decode<T>(
    payload: &[u8],
    not_this: impl FnOnce(serde_json::Error) -> Rejection,
) -> Result<T, Rejection>
where
    T: Serialize + DeserializeOwned,
{
    let value: T = serde_json::from_slice(payload).map_err(not_this)?;
    if encode(&value).as_bytes() == payload { Ok(value) } else { Err(Rejection::NotCanonical) }
}
