//! The time, as the store keeps it.

use jiff::Timestamp;

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}
