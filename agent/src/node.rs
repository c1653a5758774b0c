//! The numbers of the box that always move: load, memory, storages. Shown, never a reason to act.
//!
//! Read in every cycle, so read cheaply: two looks at the kernel, and PVE is asked for its storages only when
//! the last answer is old or something was changed since.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use felhom_shared::id::NodeName;
use felhom_shared::ordered;
use felhom_shared::report::{CycleCost, Metrics, StorageUse};
use sysinfo::{MemoryRefreshKind, System};

use crate::pve::Pve;

/// Below the hub's usual interval of a minute, so that an ordinary report never carries old numbers.
const STORAGES_AGE_MAX: Duration = Duration::from_secs(50);

/// What reads the numbers, remembering those that move slowly.
#[derive(Debug)]
pub struct Gauges {
    cpus: u32,
    system: Option<System>,
    storages: BTreeMap<String, StorageUse>,
    storages_read_at: Option<Instant>,
}

impl Gauges {
    /// Gauges of this box, nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        let cpus =
            std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(0));
        Self { cpus, system: System::new().ok(), storages: BTreeMap::new(), storages_read_at: None }
    }

    /// Reads the numbers. What cannot be read is zero, and a storage list that does not answer is empty.
    pub async fn read(&mut self, pve: &Pve, node: Option<&NodeName>, cycle: CycleCost) -> Metrics {
        let old = self.storages_read_at.is_none_or(|read_at| read_at.elapsed() > STORAGES_AGE_MAX);
        if let Some(node) = node
            && (old || cycle.changing_requests > 0)
        {
            self.read_storages(pve, node).await;
        }
        let (memory_used_bytes, memory_total_bytes) = self.memory();
        Metrics {
            load1: System::load_average().map_or(0.0, |load| load.one),
            cpus: self.cpus,
            memory_used_bytes,
            memory_total_bytes,
            uptime_s: System::uptime().unwrap_or(0),
            storages: self.storages.clone(),
            cycle,
            tunnel_connections: None,
        }
    }

    /// Bytes in use and in all.
    fn memory(&mut self) -> (u64, u64) {
        let Some(system) = &mut self.system else { return (0, 0) };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        (system.used_memory(), system.total_memory())
    }

    async fn read_storages(&mut self, pve: &Pve, node: &NodeName) {
        let answer = pve.storages(node).await;
        self.storages_read_at = answer.is_ok().then(Instant::now);
        let uses = answer.unwrap_or_default().into_iter().filter(|storage| storage.enabled).map(|storage| {
            let usage = StorageUse {
                used_bytes: storage.used_bytes,
                total_bytes: storage.total_bytes,
                active: storage.active,
            };
            (storage.storage, usage)
        });
        self.storages = ordered::map(uses);
    }
}

impl Default for Gauges {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_box_has_processors_and_memory() {
        let mut gauges = Gauges::new();
        let (used, total) = gauges.memory();
        assert!(gauges.cpus > 0 && used > 0 && used < total, "{used} of {total}");
    }
}
