//! What the hub notices by itself.

pub mod conflict;
pub mod ledger;
pub mod staleness;
pub mod undelivered;
