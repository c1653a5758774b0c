//! The systemd mount unit of a storage's drive. Pure text.
//!
//! A mount made by a sandboxed service never reaches the host; systemd's does. Nothing waits for a drive that is not there:
//! the unit is wanted and not required, and its device is given up after some seconds.

use felhom_shared::id::StorageId;

use super::command::MountDrive;

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

/// The unit, and the patience with its device.
#[must_use]
pub(super) fn files(mount: &MountDrive) -> [UnitFile; 2] {
    let MountDrive { storage, uuid, filesystem } = mount;
    let unit = format!(
        "# Made by felhom-agent, which writes it anew when the storage gets another drive.\n\
         [Unit]\n\
         Description=felhom: drive of the storage {storage}\n\
         Before=pve-guests.service\n\
         \n\
         [Mount]\n\
         What=/dev/disk/by-uuid/{uuid}\n\
         Where=/mnt/felhom/{storage}\n\
         Type={}\n\
         Options=defaults,nofail\n\
         # A drive that was pulled keeps its files open for ever; its mount must go all the same.\n\
         LazyUnmount=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        filesystem.word()
    );
    let device = escaped(&format!("dev/disk/by-uuid/{uuid}"));
    let patience = format!("# Made by felhom-agent.\n[Unit]\nJobRunningTimeoutSec={DEVICE_TIMEOUT_S}\n");
    [
        UnitFile { path: name(storage), text: unit },
        UnitFile { path: format!("{device}.device.d/felhom.conf"), text: patience },
    ]
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
    use felhom_shared::desired::Filesystem;

    use super::*;

    #[test]
    fn names_are_spelt_as_systemd_spells_them() {
        let storage = StorageId::new("backup-usb_1.a").unwrap();
        assert_eq!(name(&storage), r"mnt-felhom-backup\x2dusb_1.a.mount");
        let uuid = "b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20".parse().unwrap();
        let [unit, patience] = files(&MountDrive { storage, uuid, filesystem: Filesystem::Xfs });
        assert!(unit.text.contains("What=/dev/disk/by-uuid/b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20\n"));
        assert!(unit.text.contains("Where=/mnt/felhom/backup-usb_1.a\nType=xfs\n"));
        assert_eq!(
            patience.path,
            r"dev-disk-by\x2duuid-b3d5f7a1\x2d22c4\x2d4e0e\x2d8c61\x2d5d1f9f3c7e20.device.d/felhom.conf"
        );
    }
}
