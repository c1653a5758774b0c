//! Storage: the box says what is attached, the operator says what it is for, the agent brings the two together.
//!
//! A drive is known by what is written on it and by its maker's words, never by where it is plugged in. Once taken, it
//! carries a marker, and is used only while that marker is read through the mount.

pub mod apply;
mod attached;
mod detect;
mod heads;
pub mod live;
mod mark;
pub mod observe;
pub mod plan;
mod plan_assign;
pub mod plan_format;
mod plan_mounted;
mod resolve;
pub mod step;
#[cfg(test)]
mod tests;

pub use attached::Attached;
pub use detect::detect;
pub use heads::Heads;
pub use mark::{DriveMark, DriveMarks};
