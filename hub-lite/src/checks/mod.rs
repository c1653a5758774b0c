//! What the hub notices by itself.

pub mod conflict;
pub mod staleness;
