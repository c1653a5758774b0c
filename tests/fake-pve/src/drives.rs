//! The drives of the double's host: as PVE lists them, and as the host's own files tell of them (`sys`, `run/udev/data`,
//! `proc`), so that an agent beside a double sees one host and not the machine it was started on.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::verb::uuid_of;

const SECTOR_BYTES: u64 = 512;

/// A drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// `sda`.
    pub name: String,
    /// As udev writes it, with `_` for blanks.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// `ata`, `nvme`, `usb`.
    pub bus: String,
    /// Its size.
    pub size_bytes: u64,
    /// SMART's word.
    pub health: String,
    /// Its world-wide name.
    pub wwn: Option<String>,
    /// The kernel lets nobody write to it.
    pub read_only: bool,
    /// Its partitions.
    pub parts: Vec<Part>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its size.
    pub size_bytes: u64,
    /// `ext4`.
    pub format: String,
    /// Of the file system.
    pub uuid: String,
    /// Of the file system.
    pub label: String,
    /// Where it is mounted.
    pub mounted_at: Option<String>,
    /// What was made of it: a volume group, a RAID.
    pub held_by: Option<String>,
    /// Its own UUID, in the partition table.
    pub partition: String,
}

impl Part {
    pub(crate) fn is_member(&self) -> bool {
        self.format == "zfs_member"
    }
}

impl Drive {
    /// A host's usual two: the one it runs from and one for data that nobody has mounted.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let part = |size_bytes, uuid: &str, label: &str, mounted_at: Option<&str>| Part {
            size_bytes,
            format: "ext4".to_owned(),
            uuid: uuid.to_owned(),
            label: label.to_owned(),
            mounted_at: mounted_at.map(str::to_owned),
            held_by: None,
            partition: String::new(),
        };
        let system = Self {
            name: "nvme0n1".to_owned(),
            model: "Samsung_SSD_980_500GB".to_owned(),
            serial: "S64DNX0R417083".to_owned(),
            bus: "nvme".to_owned(),
            size_bytes: 500_107_862_016,
            health: "PASSED".to_owned(),
            wwn: None,
            read_only: false,
            parts: vec![part(500_000_000_000, "6f1c0d3e-8f0b-4c55-9d2e-0c7a51f0a911", "root", Some("/"))],
        };
        let data = Self {
            name: "sda".to_owned(),
            model: "WDC_WD40EFRX-68N32N0".to_owned(),
            serial: "WD-WCC7K4LJ5TXR".to_owned(),
            bus: "ata".to_owned(),
            size_bytes: 4_000_787_030_016,
            health: "PASSED".to_owned(),
            wwn: None,
            read_only: false,
            parts: vec![part(4_000_000_000_000, "b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20", "photos", None)],
        };
        vec![system, data]
    }

    /// A drive that came later: USB, with one ext4 file system whose UUID follows from the serial number.
    #[must_use]
    pub fn spare(serial: &str) -> Self {
        let letter = serial.bytes().fold(0, u8::wrapping_add) % 24;
        let part = Part {
            size_bytes: 1_990_000_000_000,
            format: "ext4".to_owned(),
            uuid: uuid_of(serial),
            label: "spare".to_owned(),
            mounted_at: None,
            held_by: None,
            partition: String::new(),
        };
        Self {
            name: format!("sd{}", char::from(b'b' + letter)),
            model: "Elements_25A3".to_owned(),
            serial: serial.to_owned(),
            bus: "usb".to_owned(),
            size_bytes: 2_000_398_934_016,
            health: "UNKNOWN".to_owned(),
            wwn: None,
            read_only: false,
            parts: vec![part],
        }
    }

    pub(crate) fn listed(&self) -> Value {
        json!({
            "devpath": format!("/dev/{}", self.name), "size": self.size_bytes, "model": self.model.replace('_', " "),
            "serial": self.serial, "vendor": "unknown", "wwn": "unknown", "health": self.health,
            "type": match self.bus.as_str() { "nvme" => "nvme", "usb" => "usb", _ => "hdd" },
            "wearout": if self.bus == "nvme" { json!(97) } else { json!("N/A") },
            "rpm": if self.bus == "ata" { 5400 } else { 0 }, "gpt": i32::from(!self.parts.is_empty()),
            "used": if self.parts.is_empty() { Value::Null } else { json!("partitions") },
            "mounted": i32::from(self.parts.iter().any(|part| part.mounted_at.is_some())),
            "osdid": -1, "osdid-list": Value::Null,
        })
    }
}

/// Writes the host's files anew below `root`.
pub(crate) fn write_host(root: &Path, drives: &[Drive]) -> io::Result<()> {
    for part in ["sys/block", "run/udev/data"] {
        match fs::remove_dir_all(root.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(root.join(part))?,
        }
    }
    fs::create_dir_all(root.join("proc/self"))?;
    fs::create_dir_all(root.join("dev"))?;
    let mut mounts = String::new();
    for (major, drive) in (200..).zip(drives) {
        let at = root.join("sys/block").join(&drive.name);
        write_device(root, &at, &format!("{major}:0"), drive.size_bytes, &drive_record(drive))?;
        fs::write(at.join("ro"), if drive.read_only { "1\n" } else { "0\n" })?;
        // Its first bytes, which another partition table changes.
        let table: Vec<_> =
            drive.parts.iter().map(|part| (part.size_bytes, &part.format, &part.uuid, &part.label)).collect();
        fs::write(root.join("dev").join(&drive.name), format!("{} {table:?}\n", drive.serial))?;
        fs::create_dir_all(at.join("queue"))?;
        fs::write(at.join("queue/rotational"), if drive.bus == "ata" { "1\n" } else { "0\n" })?;
        for (number, part) in (1..).zip(&drive.parts) {
            let between = if drive.name.ends_with(|letter: char| letter.is_ascii_digit()) { "p" } else { "" };
            let at = at.join(format!("{}{between}{number}", drive.name));
            let device = format!("{major}:{number}");
            write_device(root, &at, &device, part.size_bytes, &part_record(drive, part, number))?;
            fs::write(at.join("partition"), format!("{number}\n"))?;
            if let Some(holder) = &part.held_by {
                fs::create_dir_all(at.join("holders").join(holder))?;
            }
            if let Some(point) = &part.mounted_at {
                let _ = writeln!(
                    mounts,
                    "{number} 1 {device} / {point} rw - {} /dev/{} rw",
                    part.format, drive.name
                );
            }
        }
    }
    fs::write(root.join("proc/self/mountinfo"), mounts)
}

/// Mounts a file system where a path of the host says, as systemd would: the drive's files are seen there from now on, and
/// the kernel's table names it. The files stay with the file system, wherever its drive is plugged in.
pub(crate) fn mount(root: &Path, uuid: &str, at: &str) -> io::Result<()> {
    let record = format!("E:ID_FS_UUID={uuid}\n");
    let mut number = None;
    for entry in fs::read_dir(root.join("run/udev/data"))? {
        let entry = entry?;
        if fs::read_to_string(entry.path())?.contains(&record) {
            number = entry.file_name().to_string_lossy().strip_prefix('b').map(str::to_owned);
        }
    }
    let gone = || io::Error::new(io::ErrorKind::NotFound, format!("no drive with the file system {uuid}"));
    let number = number.ok_or_else(gone)?;
    let files = root.join("files").join(uuid);
    fs::create_dir_all(&files)?;
    link(root, &files, at)?;
    let table = root.join("proc/self/mountinfo");
    let mounts = fs::read_to_string(&table)?;
    fs::write(&table, format!("{mounts}90 1 {number} / {at} rw - ext4 /dev/disk/by-uuid/{uuid} rw\n"))
}

/// From now on these files are seen where a path of the host says.
pub(crate) fn link(root: &Path, files: &Path, at: &str) -> io::Result<()> {
    let point = root.join(at.trim_start_matches('/'));
    unlink(&point)?;
    fs::create_dir_all(point.parent().unwrap_or(root))?;
    std::os::unix::fs::symlink(files, &point)
}

/// File systems and where they are mounted, of those that `mount` has mounted.
pub(crate) fn mounted(root: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let pair = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let uuid = after.split(' ').nth(1)?.strip_prefix("/dev/disk/by-uuid/")?;
        Some((uuid.to_owned(), before.split(' ').nth(4)?.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// Takes it away again.
pub(crate) fn unmount(root: &Path, at: &str) -> io::Result<()> {
    let table = root.join("proc/self/mountinfo");
    let is_there = |line: &&str| line.split(' ').nth(4) == Some(at);
    let text = fs::read_to_string(&table)?;
    let left: String = text.lines().filter(|line| !is_there(line)).map(|line| format!("{line}\n")).collect();
    fs::write(&table, left)?;
    let point = root.join(at.trim_start_matches('/'));
    unlink(&point)?;
    fs::create_dir_all(point)
}

/// A mount point is an empty folder until something is mounted there.
fn unlink(point: &Path) -> io::Result<()> {
    match fs::symlink_metadata(point) {
        Ok(found) if found.is_symlink() => fs::remove_file(point),
        Ok(_) => fs::remove_dir(point),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_device(root: &Path, at: &Path, number: &str, size_bytes: u64, record: &str) -> io::Result<()> {
    fs::create_dir_all(at.join("holders"))?;
    fs::write(at.join("dev"), format!("{number}\n"))?;
    fs::write(at.join("size"), format!("{}\n", size_bytes / SECTOR_BYTES))?;
    fs::write(at.join("ro"), "0\n")?;
    fs::write(root.join("run/udev/data").join(format!("b{number}")), record)
}

fn drive_record(drive: &Drive) -> String {
    let wwn = drive.wwn.as_ref().map(|wwn| format!("E:ID_WWN={wwn}\n")).unwrap_or_default();
    format!(
        "E:DEVTYPE=disk\nE:ID_MODEL={}\nE:ID_SERIAL_SHORT={}\nE:ID_BUS={}\n{wwn}",
        drive.model, drive.serial, drive.bus
    )
}

fn part_record(drive: &Drive, part: &Part, number: u32) -> String {
    // Each member of a pool has a number of its own.
    let own = if part.is_member() {
        format!("{number}{}", drive.serial.to_ascii_lowercase())
    } else {
        String::new()
    };
    let said = [
        ("ID_FS_TYPE", &part.format),
        ("ID_FS_UUID", &part.uuid),
        ("ID_FS_UUID_SUB", &own),
        ("ID_FS_LABEL", &part.label),
        ("ID_PART_ENTRY_UUID", &part.partition),
    ];
    let said = said.into_iter().filter(|(_, value)| !value.is_empty());
    let said: String = said.map(|(key, value)| format!("E:{key}={value}\n")).collect();
    format!("E:DEVTYPE=partition\n{said}E:ID_PART_ENTRY_NUMBER={number}\n")
}
