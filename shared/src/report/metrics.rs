//! The numbers that always move. They are never a reason to store a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What always moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// One-minute load average.
    pub load1: f64,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Storages by id.
    #[serde(default)]
    pub storages: BTreeMap<String, StorageUse>,
    /// The last cycle's cost.
    #[serde(default)]
    pub cycle: CycleCost,
    /// The tunnel's connections to Cloudflare; none where no tunnel was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_connections: Option<u32>,
}

/// How full a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageUse {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Whether PVE could reach it.
    pub active: bool,
}

/// What a cycle cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CycleCost {
    /// From beginning to end, milliseconds.
    pub duration_ms: u64,
    /// Requests to PVE.
    pub requests: u64,
    /// Of these, requests that change something.
    pub changing_requests: u64,
}
