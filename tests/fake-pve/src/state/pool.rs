//! ZFS pools as PVE's storage plugin has them: imported by name where nobody has done it yet, then mounted. On a machine
//! with pools of its own the real tools are run, as the plugin runs them.

use std::process::Command;

use super::World;

impl World {
    /// What PVE does before it uses a `zfspool`.
    pub(crate) fn activate_pool(&self, dataset: &str) -> Result<(), String> {
        let pool = dataset.split('/').next().unwrap_or(dataset);
        if self.node.pools.contains(pool) {
            return Ok(());
        }
        if !self.node.real_mounts {
            return Err(format!("zfs error: cannot import '{pool}': no such pool available\n"));
        }
        let is_mounted = |table: String| table.lines().any(|line| line.starts_with(&format!("{dataset} ")));
        if std::fs::read_to_string("/proc/mounts").is_ok_and(is_mounted) {
            return Ok(());
        }
        if run("zpool", &["list", "-o", "name", "-H", pool]).is_err() {
            run("zpool", &["import", "-d", "/dev/disk/by-id/", "-o", "cachefile=none", pool])?;
        }
        run("zfs", &["mount", "-a"])
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let ended = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("zfs error: {}", String::from_utf8_lossy(&ended.stderr)))
}
