//! A container or virtual machine: its configuration file in all its sections, and
//! whether it runs. It knows nothing of volumes beyond their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::call::Refusal;

/// Which of PVE's two guest kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Lxc,
    /// A virtual machine.
    Qemu,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Qemu => "qemu",
        }
    }

    pub(crate) fn config_dir(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Qemu => "qemu-server",
        }
    }

    /// What PVE calls it in sentences.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Lxc => "CT",
            Self::Qemu => "VM",
        }
    }

    /// First part of its task types: `vzstart`, `qmstart`.
    pub(crate) fn task_prefix(self) -> &'static str {
        match self {
            Self::Lxc => "vz",
            Self::Qemu => "qm",
        }
    }

    pub(crate) fn name_key(self) -> &'static str {
        match self {
            Self::Lxc => "hostname",
            Self::Qemu => "name",
        }
    }

    /// The file whose lock a worker holds.
    pub(crate) fn lock_file(self, vmid: u32) -> String {
        match self {
            Self::Lxc => format!("/run/lock/lxc/pve-config-{vmid}.lock"),
            Self::Qemu => format!("/var/lock/qemu-server/lock-{vmid}.conf"),
        }
    }
}

/// One section of the configuration.
pub type Config = BTreeMap<String, String>;

/// A snapshot section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestSnapshot {
    /// The configuration it keeps.
    pub config: Config,
    /// Epoch seconds.
    pub snaptime: u64,
}

/// A started guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Process id on the node.
    pub pid: u32,
    /// Epoch seconds.
    pub since: u64,
}

/// One guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guest {
    /// Its number.
    pub vmid: u32,
    /// Container or machine.
    pub kind: Kind,
    /// The configuration in force.
    pub config: Config,
    /// Values that wait for the next start.
    pub pending: Config,
    /// Keys that go away at the next start.
    pub pending_delete: BTreeSet<String>,
    /// Snapshots by name.
    pub snapshots: BTreeMap<String, GuestSnapshot>,
    /// `Some` while it runs.
    pub running: Option<Running>,
    /// Version of the systemd inside, 0 for none: PVE warns about young ones.
    pub systemd: u32,
}

impl Guest {
    pub(crate) fn new(vmid: u32, kind: Kind, config: Config) -> Self {
        Self {
            vmid,
            kind,
            config,
            pending: Config::new(),
            pending_delete: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            running: None,
            systemd: 0,
        }
    }

    /// Host name of a container, name of a machine.
    #[must_use]
    pub fn name(&self) -> String {
        let fallback = || format!("{}{}", self.kind.label(), self.vmid);
        self.config.get(self.kind.name_key()).cloned().unwrap_or_else(fallback)
    }

    /// The persistent `lock:` key.
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        self.config.get("lock").map(String::as_str)
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock().is_some()
    }

    pub(crate) fn is_template(&self) -> bool {
        self.config.get("template").is_some_and(|v| v == "1")
    }

    pub(crate) fn check_lock(&self) -> Result<(), String> {
        match self.lock() {
            Some(lock) => Err(format!("{} is locked ({lock})", self.kind.label())),
            None => Ok(()),
        }
    }

    /// The two kinds word a stale digest differently; a malformed one is just stale.
    pub(crate) fn check_digest(&self, given: Option<&str>) -> Result<(), Refusal> {
        match (given, self.kind) {
            (Some(digest), _) if digest == self.digest() => Ok(()),
            (None, _) => Ok(()),
            (_, Kind::Lxc) => {
                Err(Refusal::die("detected modified configuration - file changed by other user? Try again."))
            }
            (_, Kind::Qemu) => Err(Refusal::die("checksum mismatch (file change by other user?)")),
        }
    }

    /// SHA-1 of the configuration file: any write to any section changes it.
    #[must_use]
    pub fn digest(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha1::digest(self.file().as_bytes()))
    }

    /// The file as `/etc/pve` would show it.
    #[must_use]
    pub fn file(&self) -> String {
        let mut file = section(&self.config);
        if !self.pending.is_empty() || !self.pending_delete.is_empty() {
            file.push_str("\n[pve:pending]\n");
            file.push_str(&section(&self.pending));
            let delete = self.pending_delete.iter().cloned().collect::<Vec<_>>().join(",");
            if !delete.is_empty() {
                let _ = writeln!(file, "delete: {delete}");
            }
        }
        for (name, snapshot) in &self.snapshots {
            let _ =
                write!(file, "\n[{name}]\n{}snaptime: {}\n", section(&snapshot.config), snapshot.snaptime);
        }
        file
    }

    /// The configuration as it will be after the next start.
    pub(crate) fn merged(&self) -> Config {
        let mut merged = self.config.clone();
        merged.retain(|key, _| !self.pending_delete.contains(key));
        merged.extend(self.pending.clone());
        merged
    }

    pub(crate) fn power_on(&mut self, pid: u32, since: u64) {
        self.running = Some(Running { pid, since });
    }
}

/// Whether `key` names a disk of a guest of this kind.
pub(crate) fn is_disk_key(kind: Kind, key: &str) -> bool {
    let indexed = |stem: &str| {
        key.strip_prefix(stem).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    match kind {
        Kind::Lxc => key == "rootfs" || indexed("mp"),
        Kind::Qemu => ["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate"].into_iter().any(indexed),
    }
}

/// Whether `key` is a network device.
pub(crate) fn is_net_key(key: &str) -> bool {
    key.strip_prefix("net").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn section(config: &Config) -> String {
    let mut text = String::new();
    if let Some(description) = config.get("description") {
        for line in description.lines() {
            let _ = writeln!(text, "#{line}");
        }
    }
    for (key, value) in config.iter().filter(|(key, _)| *key != "description") {
        let _ = writeln!(text, "{key}: {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Config, Guest, Kind};

    fn guest() -> Guest {
        Guest::new(100, Kind::Lxc, Config::from([("memory".to_owned(), "512".to_owned())]))
    }

    #[test]
    fn a_write_to_any_section_changes_the_digest() {
        let mut guest = guest();
        let mut seen = vec![guest.digest()];
        guest.pending.insert("features".to_owned(), "nesting=1".to_owned());
        seen.push(guest.digest());
        guest.pending_delete.insert("tags".to_owned());
        seen.push(guest.digest());
        guest.config.insert("lock".to_owned(), "backup".to_owned());
        seen.push(guest.digest());
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len());
    }

    #[test]
    fn a_stale_digest_is_worded_by_kind() {
        let mut guest = guest();
        assert!(guest.check_digest(Some(&guest.digest())).is_ok());
        assert!(guest.check_digest(Some("xyz")).unwrap_err().message.starts_with("detected modified"));
        guest.kind = Kind::Qemu;
        assert!(guest.check_digest(Some("xyz")).unwrap_err().message.starts_with("checksum mismatch"));
    }

    #[test]
    fn merged_shows_pending_values_and_hides_pending_deletes() {
        let mut guest = guest();
        guest.pending.insert("memory".to_owned(), "1024".to_owned());
        guest.config.insert("tags".to_owned(), "a".to_owned());
        guest.pending_delete.insert("tags".to_owned());
        assert_eq!(guest.merged(), Config::from([("memory".to_owned(), "1024".to_owned())]));
    }
}
