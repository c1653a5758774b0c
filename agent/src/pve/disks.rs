//! What PVE knows of drives that their files under `/sys` do not tell: health and wear, read with SMART.

use felhom_shared::id::NodeName;
use serde::Deserialize;

use super::error::PveError;
use super::lenient;
use super::transport::{Pve, path};

/// A drive in PVE's list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DiskEntry {
    /// `/dev/sda`.
    pub devpath: String,
    /// `PASSED`, `OK`, `FAILED`, `UNKNOWN`.
    #[serde(default)]
    pub health: String,
    /// What is left of a solid-state drive's life, per cent; PVE writes `N/A` where it does not know.
    #[serde(default, rename = "wearout", deserialize_with = "lenient::text")]
    pub life_left: String,
}

#[derive(Deserialize)]
struct Smart {
    #[serde(default)]
    health: String,
}

impl Pve {
    /// The node's drives. `skip_smart`: without asking them, since a drive behind a USB bridge can hang the whole call.
    pub async fn disks(&self, node: &NodeName, skip_smart: bool) -> Result<Vec<DiskEntry>, PveError> {
        let query: &[(&str, &str)] = if skip_smart { &[("skipsmart", "1")] } else { &[] };
        self.get(&path(&["nodes", node.as_str(), "disks", "list"]), query).await
    }

    /// What one drive says of its health, e.g. `/dev/sda`.
    pub async fn disk_health(&self, node: &NodeName, devpath: &str) -> Result<String, PveError> {
        let query = [("disk", devpath), ("healthonly", "1")];
        let smart: Smart = self.get(&path(&["nodes", node.as_str(), "disks", "smart"]), &query).await?;
        Ok(smart.health)
    }
}
