//! The systemd mount unit of a storage's drive. Pure text.
//!
//! A mount made by a sandboxed service never reaches the host; systemd's does. Nothing waits for a drive that is not there:
//! the unit is wanted and not required, and its device is given up after some seconds.

use felhom_shared::desired::Filesystem;
use felhom_shared::id::StorageId;

use super::pool::dataset;

/// Longer than a drive takes to spin up, shorter than anybody wants to wait for guests at boot.
const DEVICE_TIMEOUT_S: u32 = 20;

/// A file and what is to stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitFile {
    /// Below `/etc/systemd/system`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// `mnt-felhom-backup\x2dusb.mount`
#[must_use]
pub(super) fn name(storage: &StorageId) -> String {
    format!("mnt-felhom-{}.mount", escaped(storage.as_str()))
}

/// The unit that systemd makes by itself for what is mounted somewhere.
#[must_use]
pub(super) fn of_path(path: &str) -> String {
    match path.trim_matches('/') {
        "" => "-.mount".to_owned(),
        path => format!("{}.mount", escaped(path)),
    }
}

/// The unit of a file system, and the patience with its device.
#[must_use]
pub(super) fn files(storage: &StorageId, filesystem: Filesystem, uuid: &str) -> Vec<UnitFile> {
    let device = escaped(&format!("dev/disk/by-uuid/{uuid}"));
    let patience = format!("# Made by felhom-agent.\n[Unit]\nJobRunningTimeoutSec={DEVICE_TIMEOUT_S}\n");
    let source = format!("/dev/disk/by-uuid/{uuid}");
    vec![
        UnitFile { path: name(storage), text: unit(storage, "", &source, filesystem) },
        UnitFile { path: format!("{device}.device.d/felhom.conf"), text: patience },
    ]
}

/// The unit of our dataset in a pool. A pool that nobody has imported yet is none to wait for: the agent has it imported.
#[must_use]
pub(super) fn pool_file(storage: &StorageId, pool: &str) -> Vec<UnitFile> {
    let imported = format!("After=zfs-import.target\nConditionPathExists=/proc/spl/kstat/zfs/{pool}/state\n");
    vec![UnitFile { path: name(storage), text: unit(storage, &imported, &dataset(pool), Filesystem::Zfs) }]
}

fn unit(storage: &StorageId, conditions: &str, source: &str, filesystem: Filesystem) -> String {
    format!(
        "# Made by felhom-agent, which writes it anew when the storage gets another drive.\n\
         [Unit]\n\
         Description=felhom: drive of the storage {storage}\n\
         Before=pve-guests.service\n\
         {conditions}\
         \n\
         [Mount]\n\
         What={source}\n\
         Where=/mnt/felhom/{storage}\n\
         Type={}\n\
         Options=defaults,nofail\n\
         # A drive that was pulled keeps its files open for ever; its mount must go all the same.\n\
         LazyUnmount=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        filesystem.word()
    )
}

/// systemd's spelling of a path: `/` becomes `-`, and what is neither letter, digit, `_`, `.` nor `:` its number.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' => text.push('-'),
            b'_' | b'.' | b':' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_as_systemd_spells_them() {
        let storage = StorageId::new("backup-usb_1.a").unwrap();
        assert_eq!(name(&storage), r"mnt-felhom-backup\x2dusb_1.a.mount");
        let [unit, patience] =
            files(&storage, Filesystem::Xfs, "b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20").try_into().unwrap();
        assert!(unit.text.contains("What=/dev/disk/by-uuid/b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20\n"));
        assert!(unit.text.contains("Where=/mnt/felhom/backup-usb_1.a\nType=xfs\n"));
        assert_eq!(
            patience.path,
            r"dev-disk-by\x2duuid-b3d5f7a1\x2d22c4\x2d4e0e\x2d8c61\x2d5d1f9f3c7e20.device.d/felhom.conf"
        );
        assert_eq!(of_path("/tank/subvol-101-disk-0"), r"tank-subvol\x2d101\x2ddisk\x2d0.mount");
        assert_eq!(of_path("/"), "-.mount");
    }

    #[test]
    fn a_pool_is_mounted_by_its_name_and_only_while_it_is_imported() {
        let [unit] = pool_file(&StorageId::new("vms").unwrap(), "tank").try_into().unwrap();
        assert!(unit.text.contains("What=tank/felhom\nWhere=/mnt/felhom/vms\nType=zfs\n"), "{}", unit.text);
        assert!(
            unit.text.contains("\nConditionPathExists=/proc/spl/kstat/zfs/tank/state\n\n[Mount]"),
            "{}",
            unit.text
        );
    }
}
