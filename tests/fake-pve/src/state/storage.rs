//! Storages and the volumes on them. Allocation never reuses a name, and a storage that
//! is offline refuses instead of pretending.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::guest::{Config, Kind};
use super::{World, now};
use crate::call::Refusal;

/// A storage definition and the little the double knows of the disk behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Storage {
    /// `dir`, `lvmthin`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The other keys of its section.
    pub options: Config,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Whether the disk or server behind it answers.
    pub online: bool,
}

impl Storage {
    pub(crate) fn new(kind: &str, content: &str, total_bytes: u64) -> Self {
        let options = Config::from([("content".to_owned(), content.to_owned())]);
        Self { kind: kind.to_owned(), options, total_bytes, online: true }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn holds(&self, content: &str) -> bool {
        self.options.get("content").is_some_and(|c| c.split(',').any(|c| c == content))
    }

    pub(crate) fn enabled(&self) -> bool {
        self.options.get("disable").is_none_or(|v| v != "1")
    }

    pub(crate) fn path(&self) -> &str {
        self.options.get("path").map_or("/var/lib/vz", String::as_str)
    }

    /// Whether a volume of this guest kind can be snapshotted there.
    pub(crate) fn snapshots(&self, volume: &str) -> bool {
        matches!(self.kind.as_str(), "lvmthin" | "zfspool" | "btrfs" | "rbd" | "cephfs")
            || volume.ends_with(".qcow2")
    }

    fn is_files(&self) -> bool {
        matches!(self.kind.as_str(), "dir" | "nfs" | "cifs" | "cephfs" | "btrfs")
    }
}

/// What a volume is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A container's filesystem.
    Rootdir,
    /// A machine's disk.
    Images,
    /// A container template.
    Vztmpl,
    /// An installation disk.
    Iso,
    /// A vzdump archive.
    Backup,
    /// A disk image to import.
    Import,
    /// Hook scripts and cloud-init files.
    Snippets,
}

impl Content {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rootdir => "rootdir",
            Self::Images => "images",
            Self::Vztmpl => "vztmpl",
            Self::Iso => "iso",
            Self::Backup => "backup",
            Self::Import => "import",
            Self::Snippets => "snippets",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Rootdir, Self::Images, Self::Vztmpl, Self::Iso, Self::Backup, Self::Import, Self::Snippets]
            .into_iter()
            .find(|c| c.name() == name)
    }

    /// Belongs to a guest and goes with it.
    #[must_use]
    pub fn is_guest(self) -> bool {
        matches!(self, Self::Rootdir | Self::Images)
    }
}

/// One volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// What it is for.
    pub content: Content,
    /// Bytes.
    pub size: u64,
    /// `raw`, `qcow2`, `subvol`, `tzst`, …
    pub format: String,
    /// Epoch seconds.
    pub ctime: u64,
    /// Whose it is.
    pub vmid: Option<u32>,
    /// Backups only.
    pub notes: Option<String>,
    /// Backups only: not to be removed.
    pub protected: bool,
    /// Files fetched with a checksum remember it.
    pub checksums: BTreeMap<String, String>,
    /// A backup carries the configuration it was made from.
    pub backup_of: Option<(Kind, Config)>,
}

impl Volume {
    pub(crate) fn new(content: Content, size: u64, format: &str) -> Self {
        Self {
            content,
            size,
            format: format.to_owned(),
            ctime: now(),
            vmid: None,
            notes: None,
            protected: false,
            checksums: BTreeMap::new(),
            backup_of: None,
        }
    }
}

impl World {
    /// The storage, enabled and answering; otherwise PVE's words.
    pub(crate) fn usable_storage(&self, id: &str) -> Result<&Storage, String> {
        let storage = self.storages.get(id).ok_or(format!("storage '{id}' does not exist"))?;
        if !storage.enabled() {
            return Err(format!("storage '{id}' is disabled"));
        }
        if !self.answers(storage) {
            return Err(format!(
                "unable to activate storage '{id}' - directory is expected to be a mount point but is not mounted: '{}'",
                storage.path()
            ));
        }
        Ok(storage)
    }

    /// Whether the disk or server behind it is there.
    pub(crate) fn answers(&self, storage: &Storage) -> bool {
        let must_be_mounted = storage.options.get("is_mountpoint").is_some_and(|value| value == "1");
        let pool = storage.options.get("pool").filter(|_| storage.kind == "zfspool");
        storage.online
            && (!must_be_mounted || self.mounted(storage.path()))
            && pool.is_none_or(|pool| self.activate_pool(pool).is_ok())
    }

    /// As `usable_storage`, and it takes disks of this kind of guest.
    pub(crate) fn disk_storage(&self, id: &str, kind: Kind) -> Result<(), Refusal> {
        let storage = self.usable_storage(id).map_err(Refusal::die)?;
        match kind {
            Kind::Lxc if !storage.holds("rootdir") => Err(Refusal::param(
                "storage",
                format!("storage '{id}' does not support container directories"),
            )),
            Kind::Qemu if !storage.holds("images") => {
                Err(Refusal::die(format!("storage '{id}' does not support content-type 'images'")))
            }
            _ => Ok(()),
        }
    }

    /// A new volume for `vmid`, under a name no volume has.
    pub(crate) fn allocate(&mut self, id: &str, vmid: u32, size: u64, kind: Kind) -> Result<String, String> {
        let storage = self.usable_storage(id)?;
        let (format, prefix) = match (kind, storage.kind.as_str()) {
            (Kind::Lxc, "btrfs" | "zfspool") => ("subvol", "subvol"),
            _ => ("raw", "vm"),
        };
        let files = storage.is_files();
        let name = |n: u32| match files {
            true => format!("{id}:{vmid}/{prefix}-{vmid}-disk-{n}.{format}"),
            false => format!("{id}:{prefix}-{vmid}-disk-{n}"),
        };
        let volid = (0..).map(name).find(|v| !self.volumes.contains_key(v)).expect("numbers do not run out");
        let content = if kind == Kind::Lxc { Content::Rootdir } else { Content::Images };
        let volume = Volume { vmid: Some(vmid), ..Volume::new(content, size, format) };
        self.volumes.insert(volid.clone(), volume);
        Ok(volid)
    }

    /// Where the volume's file or device is, for log lines.
    pub(crate) fn volume_path(&self, volid: &str) -> String {
        let (id, name) = volid.split_once(':').unwrap_or(("local", volid));
        let root = self.storages.get(id).map_or("/var/lib/vz", Storage::path);
        match name.split_once('/') {
            Some(("vztmpl", file)) => format!("{root}/template/cache/{file}"),
            Some(("iso", file)) => format!("{root}/template/iso/{file}"),
            Some(("backup", file)) => format!("{root}/dump/{file}"),
            Some(("import", file)) => format!("{root}/import/{file}"),
            Some(_) => format!("{root}/images/{name}"),
            None => format!(
                "/dev/{}/{name}",
                self.storages.get(id).and_then(|s| s.options.get("vgname")).map_or("pve", String::as_str)
            ),
        }
    }

    pub(crate) fn used_bytes(&self, id: &str) -> u64 {
        let prefix = format!("{id}:");
        let of_storage = self.volumes.iter().filter(|(volid, _)| volid.starts_with(&prefix));
        // Thin and sparse: guests have written an eighth of what they were promised.
        of_storage.map(|(_, v)| if v.content.is_guest() { v.size / 8 } else { v.size }).sum()
    }

    /// One digest for the whole of storage.cfg.
    pub(crate) fn storage_digest(&self) -> String {
        let mut text = String::new();
        for (id, storage) in self.storages.iter().filter(|(id, _)| *id != "local" || self.storages.len() > 1)
        {
            text.push_str(&format!("{}: {id}\n{:?}\n", storage.kind, storage.options));
        }
        data_encoding::HEXLOWER.encode(&Sha1::digest(text.as_bytes()))
    }
}
