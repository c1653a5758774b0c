//! What a process has cost so far, as the kernel counts it. Linux only; says nothing of processes that are gone.

use std::fs;
use std::path::PathBuf;

/// A reading of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// CPU time of all its threads, nanoseconds.
    pub cpu_ns: u64,
    /// Bytes it caused to be written to disk.
    pub written_bytes: u64,
    /// Resident memory.
    pub rss_kib: u64,
    /// Resident memory with shared pages divided among those who share them.
    pub pss_kib: u64,
    /// Times its threads were put on a CPU anew.
    pub switches: u64,
}

impl Usage {
    /// Reads a running process. What the kernel does not tell is zero.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let rollup = text("smaps_rollup");
        let mut usage = Self {
            written_bytes: field(&text("io"), "write_bytes:"),
            rss_kib: field(&rollup, "Rss:"),
            pss_kib: field(&rollup, "Pss:"),
            ..Self::default()
        };
        // `schedstat` and `status` of the process itself tell of its first thread alone.
        let Ok(threads) = fs::read_dir(folder.join("task")) else { return usage };
        for thread in threads.flatten() {
            let text = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            usage.cpu_ns += first_number(&text("schedstat"));
            let status = text("status");
            usage.switches +=
                field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
        }
        usage
    }

    /// CPU time since an earlier reading, microseconds.
    #[must_use]
    pub fn cpu_us_since(&self, before: &Self) -> f64 {
        self.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e3
    }

    /// KiB written since an earlier reading.
    #[must_use]
    pub fn written_kib_since(&self, before: &Self) -> f64 {
        self.written_bytes.saturating_sub(before.written_bytes) as f64 / 1024.0
    }
}

fn field(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, first_number)
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_worked() {
        let usage = Usage::of(std::process::id());
        assert!(usage.rss_kib > 100, "{usage:?}");
        assert!(usage.pss_kib <= usage.rss_kib, "{usage:?}");
        assert!(usage.cpu_ns > 0, "{usage:?}");
    }
}
