//! What agents call. The host is the key's, whatever path or body say.

pub(crate) mod body;
pub mod events;
mod known;
pub mod op_state;
pub mod poll;
pub mod report;
