//! The double's `zpool` and `zfs`, as far as the clerk calls them, on the files of the double's host: the kernel's words below
//! `proc/spl/kstat/zfs`, its table of mounts, and datasets as folders. A pool whose drives are gone waits until it is told
//! that they are back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::drives::{Drive, link};

const KERNEL: &str = "proc/spl/kstat/zfs";

/// Runs one of the two.
pub(crate) fn run(root: &Path, drives: &mut [Drive], words: &[&str]) -> io::Result<()> {
    match words {
        ["zpool", "import", rest @ .., guid] if rest.contains(&"-d") => import(root, drives, guid),
        ["zpool", "reopen", "-n", _] => Ok(()),
        ["zpool", "clear", name] => Ok(settle(root, drives, name)?),
        ["zpool", "export", name] => export(root, name),
        ["zpool", "create", rest @ .., name, device] if rest.contains(&"canmount=off") => {
            create(root, drives, name, device)
        }
        ["zfs", "list", .., dataset] => fs::metadata(folder(root, dataset)?).map(drop),
        ["zfs", "create", .., dataset] => fs::create_dir_all(folder(root, dataset)?),
        ["zfs", "set", "canmount=on", _] => Ok(()),
        _ => Err(failed(format!("the double has no {}", words.join(" ")))),
    }
}

/// Pools that are imported, with the paths where datasets of theirs are mounted.
pub(crate) fn imported(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(KERNEL)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The drives are others than before.
pub(crate) fn drives_changed(root: &Path, drives: &[Drive]) -> io::Result<()> {
    for name in imported(root) {
        if members(drives, &guid_of(root, &name)?) == 0 {
            fs::write(root.join(KERNEL).join(&name).join("state"), "SUSPENDED\n")?;
        }
    }
    Ok(())
}

/// Mounts a dataset, as systemd would.
pub(crate) fn mount(root: &Path, dataset: &str, at: &str) -> io::Result<()> {
    link(root, &folder(root, dataset)?, at)?;
    let table = root.join("proc/self/mountinfo");
    let mounts = fs::read_to_string(&table)?;
    fs::write(&table, format!("{mounts}91 1 0:91 / {at} rw - zfs {dataset} rw\n"))
}

/// Datasets and where they are mounted.
pub(crate) fn mounted(root: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let pair = |line: &str| {
        let (before, after) = line.split_once(" - zfs ")?;
        Some((after.split(' ').next()?.to_owned(), before.split(' ').nth(4)?.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn import(root: &Path, drives: &[Drive], guid: &str) -> io::Result<()> {
    let found = drives.iter().flat_map(|drive| &drive.parts);
    let member = found.into_iter().find(|part| part.is_member() && part.uuid == guid);
    let member = member.ok_or_else(|| failed(format!("cannot import '{guid}': no such pool available")))?;
    let kernel = root.join(KERNEL).join(&member.label);
    if kernel.exists() {
        return Err(failed(format!(
            "cannot import '{}': a pool with that name already exists",
            member.label
        )));
    }
    fs::create_dir_all(&kernel)?;
    fs::write(kernel.join("guid"), format!("{guid}\n"))?;
    fs::write(kernel.join("state"), "ONLINE\n")
}

fn settle(root: &Path, drives: &[Drive], name: &str) -> io::Result<()> {
    let is_there = members(drives, &guid_of(root, name)?) > 0;
    fs::write(root.join(KERNEL).join(name).join("state"), if is_there { "ONLINE\n" } else { "SUSPENDED\n" })
}

fn export(root: &Path, name: &str) -> io::Result<()> {
    if mounted(root).iter().any(|(dataset, _)| dataset.split('/').next() == Some(name)) {
        return Err(failed(format!("cannot export '{name}': pool is busy")));
    }
    fs::remove_dir_all(root.join(KERNEL).join(name))
}

fn create(root: &Path, drives: &mut [Drive], name: &str, device: &str) -> io::Result<()> {
    let parts = drives.iter_mut().flat_map(|drive| &mut drive.parts);
    let part = parts.into_iter().find(|part| !part.partition.is_empty() && device.ends_with(&part.partition));
    let part = part.ok_or_else(|| failed(format!("cannot open '{device}': no such device")))?;
    // ZFS draws a number of its own.
    let guid = part.partition.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    (part.format, part.uuid, part.label) = ("zfs_member".to_owned(), guid.to_string(), name.to_owned());
    import(root, drives, &guid.to_string())
}

fn guid_of(root: &Path, name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(root.join(KERNEL).join(name).join("guid"))?.trim().to_owned())
}

fn members(drives: &[Drive], guid: &str) -> usize {
    drives.iter().flat_map(|drive| &drive.parts).filter(|part| part.is_member() && part.uuid == guid).count()
}

/// A dataset's files stay with the pool, whatever it is called and wherever its drives are.
fn folder(root: &Path, dataset: &str) -> io::Result<PathBuf> {
    let (pool, rest) = dataset.split_once('/').unwrap_or((dataset, ""));
    Ok(root.join("pools").join(guid_of(root, pool)?).join(rest))
}

fn failed(text: String) -> io::Error {
    io::Error::other(text)
}
