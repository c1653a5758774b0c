//! felhom-hub: stores intent and reports, notices silence, shows both to the operator.
//!
//! It answers connections and opens none (`outbound_only` is the box's side of the same sentence): there is no
//! client in this crate. It holds no signing key and nothing it stores can command destruction.

pub mod api;
pub mod auth;
pub mod backup;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod diff;
pub mod error;
pub mod live;
pub mod metrics;
pub mod password;
pub mod poke;
pub mod publish;
pub mod pulse;
pub mod router;
mod seal;
pub mod secrets;
pub mod serve;
pub mod signed;
pub mod state;
pub mod store;
pub mod tls;
pub mod web;
