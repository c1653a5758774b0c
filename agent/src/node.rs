//! The numbers of the box that always move: load, memory, storages. Shown, never a reason to act.

use std::collections::BTreeMap;

use felhom_shared::id::NodeName;
use felhom_shared::report::{CycleCost, Metrics, StorageUse};
use sysinfo::{MemoryRefreshKind, System};

use crate::pve::Pve;

/// Reads the numbers. What cannot be read is zero, and a storage list that does not answer stays empty.
pub async fn metrics(pve: &Pve, node: Option<&NodeName>, cycle: CycleCost) -> Metrics {
    let (memory_used_bytes, memory_total_bytes) = memory();
    let storages = match node {
        Some(node) => storages(pve, node).await,
        None => BTreeMap::new(),
    };
    Metrics {
        load1: System::load_average().map_or(0.0, |load| load.one),
        cpus: std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(0)),
        memory_used_bytes,
        memory_total_bytes,
        uptime_s: System::uptime().unwrap_or(0),
        storages,
        cycle,
    }
}

fn memory() -> (u64, u64) {
    let Ok(mut system) = System::new() else { return (0, 0) };
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    (system.used_memory(), system.total_memory())
}

async fn storages(pve: &Pve, node: &NodeName) -> BTreeMap<String, StorageUse> {
    let Ok(storages) = pve.storages(node).await else { return BTreeMap::new() };
    let uses = storages.into_iter().filter(|storage| storage.enabled).map(|storage| {
        let usage = StorageUse {
            used_bytes: storage.used_bytes,
            total_bytes: storage.total_bytes,
            active: storage.active,
        };
        (storage.storage, usage)
    });
    uses.collect()
}
