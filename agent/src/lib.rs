//! felhom-agent: fetches what a Proxmox host should be, makes it so, and reports.
//!
//! The inside follows the data and nothing flows back:
//!
//! ```text
//! hub::poll → accept → observe → plan → execute → report → hub::report
//!             (pure)             (pure)  journal   (pure)
//! ```
//!
//! The agent opens every connection itself, keeps the last good document when the next one is bad, and never
//! runs a guarded step without a grant.

pub mod accept;
pub mod adopt;
pub mod backoff;
pub mod class;
pub mod cli;
pub mod config;
pub mod cycle;
pub mod daemon;
pub mod execute;
pub mod host;
pub mod hub;
pub mod item;
pub mod metrics;
pub mod node;
pub mod observe;
pub mod ops;
pub mod plan;
mod pulse;
pub mod pve;
pub mod report;
pub mod resources;
pub mod state;
pub mod step;
pub mod tls;
pub mod trial;
