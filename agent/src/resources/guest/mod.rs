//! Guests: containers and virtual machines.
//!
//! A guest is ours where VMID and mark agree. Any other guest on the node is reported and never touched; a
//! key of a guest that the document does not name is left as it is.

pub mod apply;
mod diff;
mod key;
pub mod observe;
mod params;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod unfinished;
pub mod uplink;

pub use key::{clone_mark, is_ours};
