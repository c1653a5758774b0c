//! Typed client of the Proxmox VE API.
//!
//! `transport` is one exchange and the meaning of its failure; `error` that meaning's names; `upid`, `lenient`
//! and `property` read PVE's text forms; the rest are the calls, one file for each part of the API. The client
//! decides nothing: it does not retry a change, does not judge absence, and adds no parameter of its own beyond
//! what a call's documentation says.

mod access;
mod disks;
mod error;
mod guests;
mod lenient;
mod node;
mod property;
mod storage;
mod tasks;
mod token;
mod transport;
mod upid;

pub use access::Permissions;
pub use disks::DiskEntry;
pub use error::{PveError, RefusedCause};
pub use guests::{
    ConfigChange, GuestAt, GuestConfig, GuestListEntry, GuestReading, GuestStatus, SnapshotEntry,
};
pub use node::{CpuInfo, NodeEntry, NodeStatus, Usage, Version};
pub use property::{
    InvalidProperty, PropertyKind, PropertyString, same_meaning, satisfies, size_bytes, size_text, tag_set,
};
pub use storage::{StorageDefinition, StorageStatus, TemplateDownload, Volume};
pub use tasks::{TaskEntry, TaskExit, TaskFilter, TaskSource, TaskStatus};
pub use token::{ApiToken, InvalidToken};
pub use transport::{Params, Pve, PveSetupError};
pub use upid::{InvalidUpid, Upid};

#[cfg(test)]
mod recorded_tests;
