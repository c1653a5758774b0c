//! Storages: their state, what lies on them, and fetching templates.

use std::collections::BTreeSet;

use felhom_shared::id::{FileName, NodeName, StorageId};
use felhom_shared::ordered;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::error::PveError;
use super::lenient;
use super::transport::{Params, Pve, path};
use super::upid::Upid;

/// A storage as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorageStatus {
    /// Its id.
    pub storage: String,
    /// `dir`, `zfspool`, `pbs`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// What may lie on it; PVE gives it in random order.
    #[serde(default, deserialize_with = "comma_set")]
    pub content: BTreeSet<String>,
    /// Its size; 0 while it is not active.
    #[serde(default, rename = "total", deserialize_with = "lenient::u64_or_zero")]
    pub total_bytes: u64,
    /// In use.
    #[serde(default, rename = "used", deserialize_with = "lenient::u64_or_zero")]
    pub used_bytes: u64,
    /// Left.
    #[serde(default, rename = "avail", deserialize_with = "lenient::u64_or_zero")]
    pub avail_bytes: u64,
    /// Whether it can be used right now.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub active: bool,
    /// Whether it is switched on.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub enabled: bool,
    /// Whether other nodes are said to see the same content.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub shared: bool,
}

/// A storage as PVE defines it for the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorageDefinition {
    /// Its id.
    pub storage: String,
    /// `dir`, `zfspool`, `pbs`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// Where a `dir` lies.
    #[serde(default)]
    pub path: String,
    /// Which pool or dataset a `zfspool` is.
    #[serde(default)]
    pub pool: String,
    /// What may lie on it; PVE gives it in random order.
    #[serde(default, deserialize_with = "comma_set")]
    pub content: BTreeSet<String>,
    /// Whether it is switched off.
    #[serde(default, deserialize_with = "truth")]
    pub disable: bool,
    /// Whether PVE refuses it where nothing is mounted.
    #[serde(default, deserialize_with = "truth")]
    pub is_mountpoint: bool,
    /// Whether PVE makes its folder where it is missing.
    #[serde(default = "yes", rename = "create-base-path", deserialize_with = "truth")]
    pub create_base_path: bool,
    /// Of all definitions together.
    #[serde(default)]
    pub digest: String,
}

fn yes() -> bool {
    true
}

/// A volume, template or backup on a storage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// `STORAGE:path`.
    pub volid: String,
    /// Its size.
    #[serde(default, rename = "size", deserialize_with = "lenient::u64_or_zero")]
    pub size_bytes: u64,
    /// The guest whose number it carries.
    #[serde(default, deserialize_with = "lenient::optional_u64")]
    pub vmid: Option<u64>,
    /// `images`, `rootdir`, `vztmpl`, `backup`, ….
    #[serde(default)]
    pub content: String,
    /// `raw`, `tar.zst`, `pbs-ct`, ….
    #[serde(default)]
    pub format: String,
    /// When it was made, in seconds since 1970.
    #[serde(default, deserialize_with = "lenient::optional_u64")]
    pub ctime: Option<u64>,
    /// A backup's notes.
    #[serde(default)]
    pub notes: Option<String>,
    /// Whether it must not be pruned.
    #[serde(default, deserialize_with = "lenient::boolean")]
    pub protected: bool,
    /// On PBS: the fingerprint of the key it is encrypted with, or `1`.
    #[serde(default)]
    pub encrypted: Option<String>,
}

/// A template or image to fetch, by what it must be.
#[derive(Debug, Clone)]
pub struct TemplateDownload<'a> {
    /// Where it comes from.
    pub url: &'a str,
    /// What it is to PVE: `vztmpl`, `import`, `iso`.
    pub content: &'a str,
    /// The name it gets on the storage.
    pub filename: &'a FileName,
    /// What its bytes must hash to.
    pub checksum: &'a str,
    /// `sha256`, `sha512`, ….
    pub algorithm: &'a str,
}

impl Pve {
    /// All storages of a node *that the token may see*: an empty list is not proof of absence.
    pub async fn storages(&self, node: &NodeName) -> Result<Vec<StorageStatus>, PveError> {
        self.get(&path(&["nodes", node.as_str(), "storage"]), &[]).await
    }

    /// Definitions of the storages *that the token may see*.
    pub async fn storage_definitions(&self) -> Result<Vec<StorageDefinition>, PveError> {
        self.get("/storage", &[]).await
    }

    /// Makes a storage of what is there. PVE activates it on this node, and takes it back where that fails.
    pub async fn define_storage(&self, params: &Params) -> Result<(), PveError> {
        self.post::<IgnoredAny>("/storage", params).await.map(drop)
    }

    /// Changes a definition that still has this digest.
    pub async fn change_storage(
        &self,
        storage: &StorageId,
        set: &Params,
        delete: &[String],
        digest: &str,
    ) -> Result<(), PveError> {
        let mut params = set.clone();
        if !delete.is_empty() {
            params.insert("delete".to_owned(), delete.join(","));
        }
        params.insert("digest".to_owned(), digest.to_owned());
        self.put::<IgnoredAny>(&path(&["storage", storage.as_str()]), &params).await.map(drop)
    }

    /// PVE forgets a storage. What lies on it stays.
    pub async fn forget_storage(&self, storage: &StorageId) -> Result<(), PveError> {
        self.delete::<IgnoredAny>(&path(&["storage", storage.as_str()]), &[]).await.map(drop)
    }

    /// What lies on a storage; `content` narrows it to `vztmpl`, `backup`, ….
    pub async fn storage_content(
        &self,
        node: &NodeName,
        storage: &StorageId,
        content: Option<&str>,
    ) -> Result<Vec<Volume>, PveError> {
        let query: Vec<_> = content.map(|content| ("content", content)).into_iter().collect();
        self.get(&path(&["nodes", node.as_str(), "storage", storage.as_str(), "content"]), &query).await
    }

    /// Fetches a template. The task succeeds at once when the file is there with that checksum, and fails
    /// without overwriting when it is there with another.
    pub async fn download_template(
        &self,
        node: &NodeName,
        storage: &StorageId,
        template: &TemplateDownload<'_>,
    ) -> Result<Upid, PveError> {
        let params = [
            ("content", template.content),
            ("url", template.url),
            ("filename", template.filename.as_str()),
            ("checksum", template.checksum),
            ("checksum-algorithm", template.algorithm),
        ];
        let params: Params = ordered::map(params.into_iter().map(|(key, value)| (key.into(), value.into())));
        let path = path(&["nodes", node.as_str(), "storage", storage.as_str(), "download-url"]);
        self.post(&path, &params).await
    }
}

/// `is_mountpoint` may also be a path. One odd storage must not hide all others.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = lenient::text(deserializer)?;
    Ok(!["", "0", "no", "off", "false"].contains(&text.as_str()))
}

fn comma_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(ordered::set(words.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_storages_are_read_and_content_is_a_set() {
        let storages: Vec<StorageStatus> = serde_json::from_str(
            r#"[{"used":0,"shared":0,"active":0,"type":"dir","enabled":0,"content":"backup,rootdir,vztmpl,images",
                 "storage":"d1","total":0,"avail":0},
                {"enabled":1,"type":"dir","active":1,"shared":0,"used":31550976000,"avail":66021773312,
                 "total":270553174016,"used_fraction":0.116616543549159,"content":"images,backup","storage":"local"}]"#,
        )
        .unwrap();
        assert!(!storages[0].active && !storages[0].enabled);
        assert_eq!(storages[1].content, BTreeSet::from(["backup".to_owned(), "images".to_owned()]));
        assert_eq!(storages[1].avail_bytes, 66_021_773_312);
    }

    #[test]
    fn recorded_backup_is_read() {
        let volume: Volume = serde_json::from_str(
            r#"{"content":"backup","volid":"bk:backup/vzdump-lxc-101-2026_11_24-10_59_30.tar.zst","size":34126152,
                "format":"tar.zst","vmid":101,"subtype":"lxc","notes":"ct101 nightly","ctime":1795517970}"#,
        )
        .unwrap();
        assert_eq!((volume.vmid, volume.size_bytes, volume.protected), (Some(101), 34_126_152, false));
    }
}
