//! What agents call. The host is the key's, whatever path or body say.

mod body;
pub mod events;
pub mod poll;
pub mod report;
