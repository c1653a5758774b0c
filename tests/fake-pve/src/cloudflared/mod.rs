//! A double of cloudflared and of what it connects to.
//!
//! It takes the flags that a unit gives it and refuses others; the token by file, argument or environment, in the real one's
//! order of precedence; it ends with the real one's words and code where the token is none, and goes on trying where the edge
//! refuses it. What it cannot do is carry traffic.

mod edge;
mod token;
mod tunnel;

pub use edge::Edge;
pub use token::TunnelToken;
pub use tunnel::{Run, run};
