//! The block devices of this box, as the kernel and udev tell of them. Reads files below `/sys`, `/run/udev` and `/proc`,
//! opens no device, concludes nothing.
//!
//! udev has read every device's first blocks and asked it for its names already; doing the same again would need the right
//! to open drives, which the agent does not have.

mod mounts;
mod pools;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use felhom_shared::drive::{Content, ZFS_MEMBER};
use felhom_shared::ordered;

use mounts::Mounts;
pub use pools::Pool;

/// Devices that are made of others, of memory or of nothing: no drives.
const NO_DRIVES: [&str; 13] =
    ["dm-", "drbd", "fd", "loop", "md", "nbd", "pmem", "ram", "rbd", "sr", "zd", "zram", "bcache"];
const SECTOR_BYTES: u64 = 512;

/// A drive or a partition as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockDevice {
    /// `sda`, `sda1`.
    pub name: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Whether the kernel refuses writes.
    pub read_only: bool,
    /// Whether it turns; `None` where the kernel does not say.
    pub rotational: Option<bool>,
    /// udev's properties, `ID_SERIAL_SHORT` and the like.
    pub properties: BTreeMap<String, String>,
    /// What the kernel itself says where udev says nothing: `serial`, `wwid`, `model`.
    pub kernel_words: BTreeMap<&'static str, String>,
    /// Where it, or what lies upon it, is mounted.
    pub mounted_at: Vec<String>,
    /// What holds it open.
    pub held_by: Vec<String>,
    /// Its partitions; a partition has none.
    pub partitions: Vec<BlockDevice>,
}

impl BlockDevice {
    /// A ZFS pool shows neither as a holder nor by a device's number; its name is the label of its members.
    fn join_pool(&mut self, uses: &PoolUses<'_>) {
        let is_member = self.properties.get("ID_FS_TYPE").is_some_and(|format| format == ZFS_MEMBER);
        let Some(label) = self.properties.get("ID_FS_LABEL").filter(|_| is_member) else { return };
        let guid = self.properties.get("ID_FS_UUID").map_or("", String::as_str);
        let points = uses.mounts.of_pool(label);
        let imported = match uses.pools.iter().find(|pool| pool.name == *label) {
            Some(pool) => pool.is(guid),
            None => !points.is_empty(),
        };
        if imported {
            self.held_by.push(held_by_pool(label));
            self.mounted_at.extend(points);
        }
    }
}

/// What holds a member of a pool that is imported.
#[must_use]
pub fn held_by_pool(name: &str) -> String {
    format!("pool {name}")
}

/// What holds a part, besides the very pool that it is a member of: a pool that is imported holds its members.
#[must_use]
pub fn other_holder(content: &Content) -> Option<&String> {
    let own = content.label.as_deref().filter(|_| content.pool_id().is_some()).map(held_by_pool);
    content.held_by.iter().find(|holder| own.as_ref() != Some(holder))
}

/// Pools, and what of them is mounted.
struct PoolUses<'a> {
    mounts: &'a Mounts,
    pools: &'a [Pool],
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct BlockDevices {
    root: PathBuf,
    loops: bool,
}

impl BlockDevices {
    /// Those below `root`, which is `/` but in tests and on a double.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), loops: false }
    }

    /// The same with loop devices, which are drives to those who test with them.
    #[must_use]
    pub fn with_loops(mut self) -> Self {
        self.loops = true;
        self
    }

    /// Reads every drive with its partitions, in the order of their names.
    pub fn read(&self) -> io::Result<Vec<BlockDevice>> {
        let (mounts, pools) = (Mounts::read(&self.root)?, self.pools());
        let uses = PoolUses { mounts: &mounts, pools: &pools };
        let mut drives = Vec::new();
        for entry in fs::read_dir(self.root.join("sys/block"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if self.is_drive(&name) {
                // Gone since the folder was listed: not there.
                drives.extend(self.device(&self.root.join("sys/block").join(&name), &name, &uses));
            }
        }
        drives.retain(|drive| drive.size_bytes > 0);
        drives.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(drives)
    }

    /// Whether anything is mounted exactly here.
    pub fn is_mount_point(&self, at: &Path) -> io::Result<bool> {
        Ok(Mounts::read(&self.root)?.is_mount_point(at))
    }

    /// The pools that are imported.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        pools::read(&self.root)
    }

    /// What is mounted exactly here: nothing, something, or a pool.
    pub fn mounted_at(&self, at: &Path) -> io::Result<Mounted> {
        let mounts = Mounts::read(&self.root)?;
        Ok(match mounts.pool_at(at) {
            Some(name) => {
                Mounted::Pool(self.pools().into_iter().find(|pool| pool.name == name).unwrap_or(Pool {
                    name,
                    guid: None,
                    state: String::new(),
                }))
            }
            None if mounts.is_mount_point(at) => Mounted::Other,
            None => Mounted::Nothing,
        })
    }

    /// Whether a device of this name counts as a drive.
    #[must_use]
    pub fn is_drive(&self, name: &str) -> bool {
        (self.loops && name.starts_with("loop")) || !NO_DRIVES.iter().any(|word| is_named(name, word))
    }

    fn device(&self, folder: &Path, name: &str, pool_uses: &PoolUses<'_>) -> Option<BlockDevice> {
        let mounts = pool_uses.mounts;
        let word = |file: &str| Some(fs::read_to_string(folder.join(file)).ok()?.trim().to_owned());
        let number = word("dev")?;
        let held_by = mounts.is_swap(name).then(|| "swap".to_owned()).into_iter().collect();
        let mut uses = Uses { mounted_at: mounts.of(&number, name), held_by };
        self.holders(folder, mounts, &mut uses, 0);
        let uses = uses.settled();
        let kernel_words = [
            ("serial", "device/serial"),
            ("serial", "serial"),
            ("wwid", "wwid"),
            ("wwid", "device/wwid"),
            ("model", "device/model"),
        ]
        .into_iter()
        .filter_map(|(key, file)| Some((key, word(file).filter(|word| !word.is_empty())?)));
        let mut device = BlockDevice {
            name: name.to_owned(),
            size_bytes: word("size")?.parse::<u64>().ok()?.saturating_mul(SECTOR_BYTES),
            read_only: word("ro").as_deref() == Some("1"),
            rotational: word("queue/rotational").map(|word| word == "1"),
            properties: properties(&self.root.join("run/udev/data").join(format!("b{number}"))),
            kernel_words: kernel_words.collect(),
            mounted_at: uses.mounted_at,
            held_by: uses.held_by,
            partitions: Vec::new(),
        };
        device.join_pool(pool_uses);
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let part = entry.file_name().to_string_lossy().into_owned();
            if entry.path().join("partition").exists() {
                device.partitions.extend(self.device(&entry.path(), &part, pool_uses));
            }
        }
        device
            .partitions
            .sort_unstable_by(|one, other| (one.name.len(), &one.name).cmp(&(other.name.len(), &other.name)));
        Some(device)
    }

    /// What was made of a device, and of that: LVM on LUKS on RAID.
    fn holders(&self, folder: &Path, mounts: &Mounts, uses: &mut Uses, depth: u8) {
        /// Deeper than anybody stacks them.
        const DEPTH_MAX: u8 = 8;
        let Ok(entries) = fs::read_dir(folder.join("holders")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let holder = self.root.join("sys/block").join(&name);
            let word = |file: &str| Some(fs::read_to_string(holder.join(file)).ok()?.trim().to_owned());
            let known_as = word("dm/name").unwrap_or_else(|| name.clone());
            uses.mounted_at.extend(mounts.of(&word("dev").unwrap_or_default(), &known_as));
            uses.held_by
                .extend((mounts.is_swap(&name) || mounts.is_swap(&known_as)).then(|| "swap".to_owned()));
            uses.held_by.push(known_as);
            if depth < DEPTH_MAX {
                self.holders(&holder, mounts, uses, depth + 1);
            }
        }
    }
}

/// What a mount point has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// It is an empty folder.
    Nothing,
    /// A part of a ZFS pool.
    Pool(Pool),
    /// Any other file system.
    Other,
}

/// Who uses a device.
#[derive(Default)]
struct Uses {
    mounted_at: Vec<String>,
    held_by: Vec<String>,
}

impl Uses {
    fn settled(mut self) -> Self {
        for words in [&mut self.mounted_at, &mut self.held_by] {
            words.sort_unstable();
            words.dedup();
        }
        self
    }
}

fn is_named(name: &str, word: &str) -> bool {
    let rest = name.strip_prefix(word);
    rest.is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_digit()))
}

/// udev's record of a device. None is no failure: udev may not run, or not have come to it yet.
fn properties(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('='));
    ordered::map(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())))
}
