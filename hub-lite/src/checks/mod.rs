//! What the hub notices by itself. Each check decides in a pure function and tells transitions only.

pub mod staleness;
