//! The Cloudflare tunnel: cloudflared under the agent's care, in a unit of its own, its token never in sight.
//!
//! The program is the box's own package's; the token comes beside the document. Every change is tried, and taken back where
//! the tunnel does not connect. A cloudflared that somebody else runs is told of and never touched, and so is everything that
//! is configured with Cloudflare: which name leads where is not the box's business.

pub mod apply;
pub mod attempt;
mod cloudflared;
mod foreign;
pub mod observe;
pub mod plan;
mod secrets;
pub mod step;
mod watch;

pub use secrets::Secrets;
pub use watch::{METRICS, Watch};

#[cfg(test)]
mod tests;
