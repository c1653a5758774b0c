//! The kinds of things the agent reconciles, one folder each. This list is the only one.

pub mod guest;
pub mod storage;
pub mod tunnel;
