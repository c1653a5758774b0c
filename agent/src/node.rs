//! The numbers of the box that always move: load, memory, storages. Shown, never a reason to act.
//!
//! Read in every cycle, so read cheaply: two looks at the kernel, and PVE is asked for its storages only when
//! the last answer is old or something was changed since.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use felhom_shared::id::NodeName;
use felhom_shared::report::{CycleCost, Metrics, StorageUse};
use nix::sys::sysinfo::sysinfo;
use nix::unistd::{SysconfVar, sysconf};

use crate::pve::Pve;

/// Below the hub's usual interval of a minute, so that an ordinary report never carries old numbers.
const STORAGES_AGE_MAX: Duration = Duration::from_secs(50);

/// What reads the numbers, remembering those that move slowly.
#[derive(Debug)]
pub struct Gauges {
    cpus: u32,
    storages: BTreeMap<String, StorageUse>,
    storages_read_at: Option<Instant>,
}

impl Gauges {
    /// Gauges of this box, nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self { cpus: cpus(), storages: BTreeMap::new(), storages_read_at: None }
    }

    /// Reads the numbers. What cannot be read is zero, and a storage list that does not answer is empty.
    pub async fn read(&mut self, pve: &Pve, node: Option<&NodeName>, cycle: CycleCost) -> Metrics {
        let old = self.storages_read_at.is_none_or(|read_at| read_at.elapsed() > STORAGES_AGE_MAX);
        if let Some(node) = node
            && (old || cycle.changing_requests > 0)
        {
            self.read_storages(pve, node).await;
        }
        let kernel = sysinfo().ok();
        let (memory_used_bytes, memory_total_bytes) = memory();
        Metrics {
            load1: kernel.as_ref().map_or(0.0, |kernel| kernel.load_average().0),
            cpus: self.cpus,
            memory_used_bytes,
            memory_total_bytes,
            uptime_s: kernel.map_or(0, |kernel| kernel.uptime().as_secs()),
            storages: self.storages.clone(),
            cycle,
        }
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
        self.storages = uses.collect();
    }
}

impl Default for Gauges {
    fn default() -> Self {
        Self::new()
    }
}

/// The box's processors, not those that a quota leaves to this process.
fn cpus() -> u32 {
    sysconf(SysconfVar::_NPROCESSORS_ONLN)
        .ok()
        .flatten()
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0)
}

/// Bytes in use and in all. What the kernel could give back at once does not count as used.
fn memory() -> (u64, u64) {
    // Both numbers stand in the first three lines.
    let mut text = [0; 256];
    let read = File::open("/proc/meminfo").and_then(|mut file| file.read(&mut text));
    parse_meminfo(&String::from_utf8_lossy(&text[..read.unwrap_or(0)])).unwrap_or((0, 0))
}

fn parse_meminfo(text: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    let (total, available) = (bytes("MemTotal:")?, bytes("MemAvailable:")?);
    Some((total.saturating_sub(available), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_can_be_given_back_is_not_used() {
        let text =
            "MemTotal:       24684092 kB\nMemFree:          500000 kB\nMemAvailable:   20684092 kB\nBuf";
        assert_eq!(parse_meminfo(text), Some((4_000_000 * 1024, 24_684_092 * 1024)));
        assert_eq!(parse_meminfo("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn this_box_has_processors_and_memory() {
        let (used, total) = memory();
        assert!(cpus() > 0 && used > 0 && used < total, "{used} of {total}");
    }
}
