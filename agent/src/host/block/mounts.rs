//! What is mounted and swapped on, by device. From the kernel's own tables, which name a device by its number.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(super) struct Mounts {
    /// By `major:minor`.
    by_number: BTreeMap<String, Vec<String>>,
    /// By the last part of the source, where the number is no device's: btrfs.
    by_source: BTreeMap<String, Vec<String>>,
    /// By ZFS pool.
    by_pool: BTreeMap<String, Vec<String>>,
    swaps: Vec<String>,
    /// Of all of these and of every other kind.
    points: Vec<PathBuf>,
}

impl Mounts {
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(root.join("proc/self/mountinfo"))?;
        let mut mounts = Self {
            by_number: BTreeMap::new(),
            by_source: BTreeMap::new(),
            by_pool: BTreeMap::new(),
            swaps: swaps(&fs::read_to_string(root.join("proc/swaps")).unwrap_or_default()),
            points: Vec::new(),
        };
        for line in text.lines() {
            // A line that says less than it must says nothing.
            let _ = mounts.line(line);
        }
        Ok(mounts)
    }

    /// `36 35 98:0 /root /mnt/point rw,noatime master:1 - ext3 /dev/root rw`
    fn line(&mut self, line: &str) -> Option<()> {
        let (before, after) = line.split_once(" - ")?;
        let mut words = before.split(' ').skip(2);
        let (number, _, point) = (words.next()?, words.next()?, unescaped(words.next()?));
        self.points.push(PathBuf::from(&point));
        let (format, rest) = after.split_once(' ')?;
        let source = unescaped(rest.split(' ').next()?);
        let (map, key) = match (format, source.strip_prefix("/dev/")) {
            ("zfs", _) => (&mut self.by_pool, source.split('/').next()?),
            ("btrfs", Some(device)) => (&mut self.by_source, device.rsplit('/').next()?),
            _ => (&mut self.by_number, number),
        };
        map.entry(key.to_owned()).or_default().push(point);
        Some(())
    }

    pub(super) fn of(&self, number: &str, name: &str) -> Vec<String> {
        let points = [self.by_number.get(number), self.by_source.get(name)];
        points.into_iter().flatten().flatten().cloned().collect()
    }

    pub(super) fn is_mount_point(&self, at: &Path) -> bool {
        self.points.iter().any(|point| point == at)
    }

    pub(super) fn of_pool(&self, pool: &str) -> Vec<String> {
        self.by_pool.get(pool).cloned().unwrap_or_default()
    }

    pub(super) fn pool_at(&self, at: &Path) -> Option<String> {
        let is_there = |points: &&Vec<String>| points.iter().any(|point| Path::new(point) == at);
        self.by_pool.iter().find(|(_, points)| is_there(points)).map(|(pool, _)| pool.clone())
    }

    pub(super) fn is_swap(&self, name: &str) -> bool {
        self.swaps.iter().any(|swap| swap == name)
    }
}

/// The last parts of the devices' paths.
fn swaps(text: &str) -> Vec<String> {
    let paths = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    paths.filter_map(|path| Some(path.strip_prefix("/dev/")?.rsplit('/').next()?.to_owned())).collect()
}

/// The kernel writes blanks in paths as `\040`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_number_source_and_pool() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(
            root.path().join("proc/self/mountinfo"),
            "22 27 0:21 / /proc rw - proc proc rw\n\
             30 27 8:1 / /mnt/a\\040b rw shared:1 master:2 - ext4 /dev/sda1 rw\n\
             31 27 0:44 /@ /srv rw - btrfs /dev/sdb rw,subvol=/@\n\
             32 27 0:45 / / rw - zfs rpool/ROOT/pve-1 rw\n\
             33 27 8:1 /sub /bind rw - ext4 /dev/sda1 rw\n",
        )
        .unwrap();
        let mounts = Mounts::read(root.path()).unwrap();
        assert_eq!(mounts.of("8:1", "sda1"), ["/mnt/a b", "/bind"]);
        assert_eq!(mounts.of("8:16", "sdb"), ["/srv"]);
        assert_eq!(mounts.of_pool("rpool"), ["/"]);
        assert_eq!(mounts.pool_at(Path::new("/")).as_deref(), Some("rpool"));
        assert_eq!(mounts.pool_at(Path::new("/srv")), None);
        assert!(mounts.is_mount_point(Path::new("/mnt/a b")) && !mounts.is_mount_point(Path::new("/mnt")));
        assert!(mounts.of_pool("rpool2").is_empty() && mounts.of("8:2", "sda2").is_empty());
    }

    #[test]
    fn swaps_are_known_by_the_devices_name() {
        let table = "Filename\t\t\tType\n/dev/sda3       partition\t8\n/swapfile file 4\n/dev/mapper/pve-swap partition 1\n";
        assert_eq!(swaps(table), ["sda3", "pve-swap"]);
    }
}
