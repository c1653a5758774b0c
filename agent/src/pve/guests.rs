//! Guests: lists, configuration, creation, power, destruction.

use std::collections::{BTreeMap, BTreeSet};

use felhom_shared::desired::GuestKind;
use felhom_shared::id::{NodeName, Vmid};
use felhom_shared::ordered;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::PveError;
use super::lenient;
use super::property::tag_set;
use super::transport::{Params, Pve, path};
use super::upid::Upid;

/// A guest's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestAt<'a> {
    /// The node it lives on.
    pub node: &'a NodeName,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Its number.
    pub vmid: Vmid,
}

impl GuestAt<'_> {
    fn path(self, rest: &[&str]) -> String {
        let vmid = self.vmid.to_string();
        let mut parts = vec!["nodes", self.node.as_str(), self.kind.as_str(), &vmid];
        parts.extend(rest);
        path(&parts)
    }
}

/// Whether a guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestStatus {
    /// It runs (for a virtual machine: its process exists, it may be paused).
    Running,
    /// It does not run.
    Stopped,
    /// PVE used another word, or cannot tell.
    Unknown(String),
}

/// A guest as lists and `status/current` show it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GuestListEntry {
    /// Its number.
    #[serde(deserialize_with = "vmid")]
    pub vmid: Vmid,
    /// Host name or name; PVE makes one up (`CT105`) while there is none.
    #[serde(default)]
    pub name: String,
    /// Whether it runs.
    #[serde(deserialize_with = "guest_status")]
    pub status: GuestStatus,
    /// The persistent lock in its configuration.
    #[serde(default)]
    pub lock: Option<String>,
    /// Its tags.
    #[serde(default, deserialize_with = "tags")]
    pub tags: BTreeSet<String>,
    /// CPUs it may use.
    #[serde(default, deserialize_with = "lenient::optional_f64")]
    pub cpus: Option<f64>,
    /// Share of its CPUs in use, 0 to 1.
    #[serde(default, rename = "cpu", deserialize_with = "lenient::optional_f64")]
    pub cpu_share: Option<f64>,
    /// Memory it may use.
    #[serde(default, rename = "maxmem", deserialize_with = "lenient::u64_or_zero")]
    pub maxmem_bytes: u64,
    /// Size of its root disk.
    #[serde(default, rename = "maxdisk", deserialize_with = "lenient::u64_or_zero")]
    pub maxdisk_bytes: u64,
    /// Swap it may use.
    #[serde(default, rename = "maxswap", deserialize_with = "lenient::u64_or_zero")]
    pub maxswap_bytes: u64,
    /// Memory in use.
    #[serde(default, rename = "mem", deserialize_with = "lenient::u64_or_zero")]
    pub mem_bytes: u64,
    /// Root disk in use; always 0 for a virtual machine.
    #[serde(default, rename = "disk", deserialize_with = "lenient::u64_or_zero")]
    pub disk_bytes: u64,
    /// Seconds since its start.
    #[serde(default, rename = "uptime", deserialize_with = "lenient::u64_or_zero")]
    pub uptime_s: u64,
    /// Whether it is a template, which cannot run.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub template: bool,
    /// A virtual machine's state in QEMU's words (`running`, `paused`, …); only in `status/current`.
    #[serde(default)]
    pub qmpstatus: Option<String>,
}

/// A guest's configuration, values in PVE's text form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestConfig {
    /// The configuration file's digest.
    pub digest: String,
    /// Values by key.
    pub values: BTreeMap<String, String>,
}

/// A guest's configuration with what waits for its next start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestReading {
    /// The configuration file's digest.
    pub digest: String,
    /// Values in force.
    pub current: BTreeMap<String, String>,
    /// Values that will be in force after a restart.
    pub pending: BTreeMap<String, String>,
    /// Keys that will be gone after a restart.
    pub pending_delete: BTreeSet<String>,
}

/// A snapshot of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SnapshotEntry {
    /// Its name.
    pub name: String,
    /// When it was taken, seconds since 1970.
    #[serde(default, rename = "snaptime", deserialize_with = "lenient::u64_or_zero")]
    pub snaptime_s: u64,
}

/// What to change in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigChange {
    /// Keys to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove. Removing `unusedN` destroys the volume.
    pub delete: Vec<String>,
    /// The digest of the configuration this was computed from; PVE refuses if it has changed since.
    pub digest: Option<String>,
}

impl ConfigChange {
    fn params(&self) -> Params {
        let mut params = self.set.clone();
        if !self.delete.is_empty() {
            params.insert("delete".to_owned(), self.delete.join(","));
        }
        if let Some(digest) = &self.digest {
            params.insert("digest".to_owned(), digest.clone());
        }
        params
    }
}

impl Pve {
    /// All guests of a kind on a node *that the token may see*: an empty list is not proof of absence.
    pub async fn guests(&self, node: &NodeName, kind: GuestKind) -> Result<Vec<GuestListEntry>, PveError> {
        self.get(&path(&["nodes", node.as_str(), kind.as_str()]), &[]).await
    }

    /// What is in force and what waits for a restart.
    pub async fn guest_pending(&self, guest: GuestAt<'_>) -> Result<GuestReading, PveError> {
        let path = guest.path(&["pending"]);
        let entries: Vec<PendingEntry> = self.get(&path, &[]).await?;
        read_pending(entries).ok_or_else(|| no_digest(&path))
    }

    /// The configuration: what is in force (`current`), or with what waits for a restart already merged in.
    pub async fn guest_config(&self, guest: GuestAt<'_>, current: bool) -> Result<GuestConfig, PveError> {
        let path = guest.path(&["config"]);
        let query: &[(&str, &str)] = if current { &[("current", "1")] } else { &[] };
        let raw: BTreeMap<String, Value> = self.get(&path, query).await?;
        let mut values = ordered::map(raw.iter().map(|(key, value)| (key.clone(), lenient::text_of(value))));
        let digest = values.remove("digest").ok_or_else(|| no_digest(&path))?;
        Ok(GuestConfig { digest, values })
    }

    /// One guest's state now.
    pub async fn guest_status(&self, guest: GuestAt<'_>) -> Result<GuestListEntry, PveError> {
        self.get(&guest.path(&["status", "current"]), &[]).await
    }

    /// Creates a container. Every failure but a wrong parameter may arrive only in the task.
    pub async fn create_lxc(&self, node: &NodeName, params: &Params) -> Result<Upid, PveError> {
        self.post(&path(&["nodes", node.as_str(), "lxc"]), params).await
    }

    /// Creates a virtual machine. A failed restore (`archive`) is not cleaned up by PVE.
    pub async fn create_qemu(&self, node: &NodeName, params: &Params) -> Result<Upid, PveError> {
        self.post(&path(&["nodes", node.as_str(), "qemu"]), params).await
    }

    /// Clones a guest; `params` names at least `newid`.
    pub async fn clone_guest(&self, source: GuestAt<'_>, params: &Params) -> Result<Upid, PveError> {
        self.post(&source.path(&["clone"]), params).await
    }

    /// Changes a configuration. Done when it returns for a container, a task for a virtual machine.
    ///
    /// After an error read again: PVE may have applied part of the change before it refused.
    pub async fn set_config(
        &self,
        guest: GuestAt<'_>,
        change: &ConfigChange,
    ) -> Result<Option<Upid>, PveError> {
        let path = guest.path(&["config"]);
        match guest.kind {
            GuestKind::Lxc => self.put::<Option<Upid>>(&path, &change.params()).await,
            GuestKind::Qemu => self.post::<Option<Upid>>(&path, &change.params()).await,
        }
    }

    /// Grows a disk to `size` (`16G`). Send the whole size: an increment would grow it again when repeated.
    pub async fn resize(&self, guest: GuestAt<'_>, disk: &str, size: &str) -> Result<Option<Upid>, PveError> {
        let params = params(&[("disk", disk), ("size", size)]);
        self.put(&guest.path(&["resize"]), &params).await
    }

    /// Starts a guest.
    pub async fn start(&self, guest: GuestAt<'_>) -> Result<Upid, PveError> {
        self.power(guest, "start", &Params::new()).await
    }

    /// Asks a guest to shut down. With `force_stop` it is stopped when the time is over, else the task fails.
    pub async fn shutdown(
        &self,
        guest: GuestAt<'_>,
        timeout_s: u32,
        force_stop: bool,
    ) -> Result<Upid, PveError> {
        let force_stop = if force_stop { "1" } else { "0" };
        let params = params(&[("timeout", &timeout_s.to_string()), ("forceStop", force_stop)]);
        self.power(guest, "shutdown", &params).await
    }

    /// Stops a guest at once, as pulling the plug does.
    pub async fn stop(&self, guest: GuestAt<'_>) -> Result<Upid, PveError> {
        self.power(guest, "stop", &Params::new()).await
    }

    /// Restarts a guest. A container that does not shut down in time is killed.
    pub async fn reboot(&self, guest: GuestAt<'_>, timeout_s: u32) -> Result<Upid, PveError> {
        self.power(guest, "reboot", &params(&[("timeout", &timeout_s.to_string())])).await
    }

    /// Destroys a stopped guest with the disks its configuration names, and takes it out of PVE's jobs.
    ///
    /// Disks that only carry the VMID in their name are left alone: VMIDs are reused, and so are not owners.
    pub async fn destroy(&self, guest: GuestAt<'_>) -> Result<Upid, PveError> {
        self.delete(&guest.path(&[]), &[("purge", "1"), ("destroy-unreferenced-disks", "0")]).await
    }

    /// A guest's snapshots; the current state is not one of them.
    pub async fn snapshots(&self, guest: GuestAt<'_>) -> Result<Vec<SnapshotEntry>, PveError> {
        let mut entries: Vec<SnapshotEntry> = self.get(&guest.path(&["snapshot"]), &[]).await?;
        entries.retain(|entry| entry.name != "current");
        Ok(entries)
    }

    /// Returns a guest to a snapshot; what was written since is lost. A running guest is stopped by PVE.
    pub async fn rollback(&self, guest: GuestAt<'_>, snapshot: &str) -> Result<Upid, PveError> {
        self.post(&guest.path(&["snapshot", snapshot, "rollback"]), &Params::new()).await
    }

    /// Overwrites a stopped guest with a backup.
    pub async fn restore_over(&self, guest: GuestAt<'_>, volid: &str) -> Result<Upid, PveError> {
        let vmid = guest.vmid.to_string();
        let mut restore = params(&[("vmid", &vmid), ("force", "1")]);
        match guest.kind {
            GuestKind::Lxc => {
                restore.extend(params(&[("ostemplate", volid), ("restore", "1")]));
                self.create_lxc(guest.node, &restore).await
            }
            GuestKind::Qemu => {
                restore.extend(params(&[("archive", volid)]));
                self.create_qemu(guest.node, &restore).await
            }
        }
    }

    async fn power(&self, guest: GuestAt<'_>, verb: &str, params: &Params) -> Result<Upid, PveError> {
        self.post(&guest.path(&["status", verb]), params).await
    }
}

#[derive(Debug, Deserialize)]
struct PendingEntry {
    key: String,
    value: Option<Value>,
    pending: Option<Value>,
    /// 1: at the next restart; 2: at once and by force.
    #[serde(default, deserialize_with = "lenient::u64_or_zero")]
    delete: u64,
}

/// `None` when there is no digest among the entries, where PVE puts it.
fn read_pending(entries: Vec<PendingEntry>) -> Option<GuestReading> {
    let mut reading = GuestReading::default();
    for PendingEntry { key, value, pending, delete } in entries {
        if let Some(pending) = pending {
            reading.pending.insert(key.clone(), lenient::text_of(&pending));
        }
        if delete > 0 {
            reading.pending_delete.insert(key.clone());
        }
        if let Some(value) = value {
            reading.current.insert(key, lenient::text_of(&value));
        }
    }
    reading.digest = reading.current.remove("digest")?;
    Some(reading)
}

fn no_digest(path: &str) -> PveError {
    PveError::Malformed { what: format!("GET {path}: there is no digest in it") }
}

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn vmid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vmid, D::Error> {
    lenient::text(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn guest_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GuestStatus, D::Error> {
    Ok(match String::deserialize(deserializer)?.as_str() {
        "running" => GuestStatus::Running,
        "stopped" => GuestStatus::Stopped,
        other => GuestStatus::Unknown(other.to_owned()),
    })
}

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| tag_set(text.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_and_pending_values_are_found_among_the_entries() {
        let entries = serde_json::from_str(
            r#"[{"key":"digest","value":"287724b0"},{"key":"cores","value":1},{"key":"swap","value":0,"delete":1},
                {"key":"features","pending":"nesting=1"},{"key":"memory","value":"256","pending":512}]"#,
        )
        .unwrap();
        let reading = read_pending(entries).unwrap();
        assert_eq!(reading.digest, "287724b0");
        assert_eq!(reading.current["cores"], "1");
        assert_eq!(reading.pending["features"], "nesting=1");
        assert_eq!((&*reading.current["memory"], &*reading.pending["memory"]), ("256", "512"));
        assert!(reading.pending_delete.contains("swap"));
        assert!(!reading.current.contains_key("digest"));
    }

    #[test]
    fn a_reading_without_digest_is_not_a_reading() {
        let entries = serde_json::from_str(r#"[{"key":"cores","value":1}]"#).unwrap();
        assert_eq!(read_pending(entries), None);
    }

    #[test]
    fn recorded_list_entry_is_read() {
        let entry: GuestListEntry = serde_json::from_str(
            r#"{"netout":0,"name":"CT105","diskread":0,"cpus":1,"swap":0,"maxmem":536870912,"maxdisk":4294967296,
                "vmid":105,"mem":0,"lock":"create","type":"lxc","status":"stopped","cpu":0,"maxswap":0,"uptime":0,
                "tags":"alpha;felhom;zeta","pressurecpusome":"0.00"}"#,
        )
        .unwrap();
        assert_eq!((entry.vmid.get(), entry.lock.as_deref()), (105, Some("create")));
        assert_eq!(entry.status, GuestStatus::Stopped);
        assert!(entry.tags.contains("felhom"));
    }

    #[test]
    fn a_change_carries_deletions_and_digest_beside_its_values() {
        let change = ConfigChange {
            set: BTreeMap::from([("cores".to_owned(), "2".to_owned())]),
            delete: vec!["description".to_owned(), "tags".to_owned()],
            digest: Some("abc".to_owned()),
        };
        let params = change.params();
        assert_eq!(
            (&*params["cores"], &*params["delete"], &*params["digest"]),
            ("2", "description,tags", "abc")
        );
        assert!(ConfigChange::default().params().is_empty());
    }
}
