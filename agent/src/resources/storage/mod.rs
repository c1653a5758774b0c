//! Storage: the box says what is attached, the operator says what it is for, the agent brings the two together.
//!
//! So far the first third: what is attached, and what it is known by.

mod attached;
mod detect;

pub use attached::Attached;
pub use detect::detect;
