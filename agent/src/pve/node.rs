//! The node itself: version, name, load.

use felhom_shared::id::NodeName;
use serde::{Deserialize, Deserializer};

use super::error::PveError;
use super::lenient;
use super::transport::{Pve, path};

/// PVE's version. pveproxy answers it by itself: no proof that changes would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// `9.2.11`.
    #[serde(deserialize_with = "lenient::text")]
    pub version: String,
    /// `9.2`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub release: String,
    /// The build.
    #[serde(default)]
    pub repoid: String,
}

impl Version {
    /// `9` of `9.2.11`: decides which parameters PVE knows.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        self.version.split('.').next()?.parse().ok()
    }
}

/// A node in the list of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub node: NodeName,
    /// `online`, `offline` or `unknown`; the last too when the token may not see more.
    #[serde(default)]
    pub status: String,
}

/// Total and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Usage {
    /// All of it.
    #[serde(default, rename = "total", deserialize_with = "lenient::u64_or_zero")]
    pub total_bytes: u64,
    /// The part in use.
    #[serde(default, rename = "used", deserialize_with = "lenient::u64_or_zero")]
    pub used_bytes: u64,
}

/// How a node is doing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NodeStatus {
    /// `pve-manager/9.2.11/14a22df35955d97d`.
    #[serde(default)]
    pub pveversion: String,
    /// The kernel.
    #[serde(default)]
    pub kversion: String,
    /// Seconds since its start.
    #[serde(default, rename = "uptime", deserialize_with = "lenient::u64_or_zero")]
    pub uptime_s: u64,
    /// Load over 1, 5 and 15 minutes.
    #[serde(default, rename = "loadavg", deserialize_with = "load")]
    pub load: Vec<f64>,
    /// Share of its CPUs in use, 0 to 1.
    #[serde(default, rename = "cpu", deserialize_with = "lenient::optional_f64")]
    pub cpu_share: Option<f64>,
    /// Its processors.
    #[serde(default)]
    pub cpuinfo: CpuInfo,
    /// Its memory.
    #[serde(default)]
    pub memory: Usage,
    /// Its swap.
    #[serde(default)]
    pub swap: Usage,
    /// Its root file system.
    #[serde(default)]
    pub rootfs: Usage,
}

/// A node's processors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct CpuInfo {
    /// Threads that can run at once.
    #[serde(default, deserialize_with = "lenient::u64_or_zero")]
    pub cpus: u64,
    /// Their name.
    #[serde(default)]
    pub model: String,
}

impl Pve {
    /// PVE's version.
    pub async fn version(&self) -> Result<Version, PveError> {
        self.get("/version", &[]).await
    }

    /// The nodes of the cluster; one on a standalone host.
    pub async fn nodes(&self) -> Result<Vec<NodeEntry>, PveError> {
        self.get("/nodes", &[]).await
    }

    /// How a node is doing.
    pub async fn node_status(&self, node: &NodeName) -> Result<NodeStatus, PveError> {
        self.get(&path(&["nodes", node.as_str(), "status"]), &[]).await
    }
}

/// PVE sends the three numbers as strings.
fn load<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<serde_json::Value>::deserialize(deserializer)?;
    values.iter().map(|value| lenient::text_of(value).parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_status_is_read() {
        let status: NodeStatus = serde_json::from_str(
            r#"{"swap":{"total":0,"used":0,"free":0},"wait":0,"rootfs":{"free":232049295360,"used":38503878656,
                "total":270553174016,"avail":59068870656},"loadavg":["0.82","2.41","2.80"],"uptime":9274,
                "cpu":0,"cpuinfo":{"cpus":2,"mhz":"2596.134","model":"AMD EPYC","hvm":""},"ksm":{"shared":0},
                "pveversion":"pve-manager/9.2.11/14a22df35955d97d"}"#,
        )
        .unwrap();
        assert_eq!(status.load, [0.82, 2.41, 2.80]);
        assert_eq!((status.cpuinfo.cpus, status.rootfs.used_bytes), (2, 38_503_878_656));
    }

    #[test]
    fn major_version_is_the_number_before_the_dot() {
        let version: Version = serde_json::from_str(r#"{"version":"9.2.11","release":"9.2"}"#).unwrap();
        assert_eq!(version.major(), Some(9));
    }
}
