//! A stateful double of one Proxmox VE node that speaks the real HTTPS API.
//!
//! It exists so that an agent can be tested against what a node does and not against
//! what we wish it did: tasks take time and fail late, locks are held, digests go stale,
//! property strings come back in another order, and the connection breaks after the
//! change was made. It refuses to be lenient: a request the official schema refuses is
//! refused here, and a call that is not modelled is 501.
//!
//! ```no_run
//! use fake_pve::{FakePve, Fault, Options};
//! let pve = FakePve::start(Options::default())?;
//! pve.control().add_fault(Fault::on("POST", "/nodes/*/lxc").close_after());
//! let request = (pve.base_url(), pve.cert_path(), pve.token());
//! # Ok::<(), fake_pve::StartError>(())
//! ```

mod api;
mod auth;
mod call;
mod cert;
pub mod cloudflared;
mod control;
mod control_http;
mod drives;
mod engine;
mod faults;
mod files;
mod json;
mod options;
mod permission;
mod pools;
mod propstring;
mod request;
mod requests;
mod rng;
mod schema;
mod server;
mod size;
mod state;
mod transport;
mod upid;
mod verb;
mod worker;

pub use auth::Token;
pub use control::Control;
pub use drives::{Drive, Part};
pub use faults::{Action, ActiveFault, Fault, FaultBuilder, TaskFault, When};
pub use options::Options;
pub use requests::{Counters, LoggedRequest};
pub use schema::{SchemaSource, distil};
pub use server::FakePve;
pub use state::guest::{Config, Guest, GuestSnapshot, Kind, Running};
pub use state::storage::{Content, Storage, Volume};
pub use state::task::Task;
pub use state::{Download, Node, Snapshot};
pub use verb::Verb;

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a double does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file could not be read or written.
    #[error("cannot use file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No temporary directory.
    #[error("cannot make a temporary directory")]
    Temporary(#[source] std::io::Error),
    /// An address could not be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The double has no business on a network.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[source] rcgen::Error),
    /// The certificate or key file is not one.
    #[error("cannot read the certificate {0} or its key")]
    BrokenCertificate(PathBuf),
    /// The certificate does not serve.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// No threads.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// The state file is damaged or from another version.
    #[error("cannot read the state in {path}")]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The state belongs to another token.
    #[error("the stored state has no token {0}")]
    OtherToken(String),
}

/// Why the control refuses.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No guest has this VMID.
    #[error("no guest {0}")]
    NoGuest(u32),
    /// No storage has this id.
    #[error("no storage {0}")]
    NoStorage(String),
    /// In the node's own words.
    #[error("refused: {0}")]
    Refused(String),
    /// The host's files could not be changed.
    #[error("the host does not do it")]
    Host(#[source] std::io::Error),
    /// The certificate could not be renewed.
    #[error("cannot renew the certificate")]
    Certificate(#[source] StartError),
}

/// Notes a double's addresses and token in its directory, for the program.
///
/// # Errors
/// Where they cannot be written.
pub fn write_addresses(fake: &FakePve) -> Result<(), StartError> {
    server::write_addresses(fake)
}
