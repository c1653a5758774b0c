//! The hub as files: everything that exists nowhere else, in a folder that is whole or is none.
//!
//! A backup is written under another name and renamed when its last byte is on disk, so what is cut short is never taken
//! for a backup. Restoring looks at every hash before it touches anything, and deletes nothing: what it replaces is moved
//! aside. What an older hub must not do to newer boxes is not decided here but by every hub, always (conflict).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::copy::{copy_into, schema_of_whole};
use crate::store::{FILE_NAME, StoreError};

const MANIFEST: &str = "manifest.json";
/// What a backup's folder begins with; the time follows, so that the names sort by age.
const PREFIX: &str = "felhom-hub-";
/// What a running hub makes anew, or what is only there while it runs.
const NOT_KEPT: [&str; 2] = ["hub.lock", "address"];
/// A restore under way. As long as one lies in a data folder, what is beside it may be half of a hub.
const RESTORING: &str = "restoring-";

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this file's form: 1.
    pub version: u32,
    /// When the copy was made.
    pub made_at: Timestamp,
    /// By which hub.
    pub hub_version: String,
    /// The database's schema.
    pub schema: u32,
    /// SHA-256 of every file.
    pub files: BTreeMap<String, String>,
}

/// Why there is no backup, or none was restored.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum BackupError {
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("the database cannot be copied or its copy cannot be used")]
    Store(#[from] StoreError),
    #[error("{0} is no backup of a hub: it has no {MANIFEST} that can be read ({1})")]
    NoBackup(PathBuf, String),
    #[error("{path} is not what was backed up ({why}); nothing was changed. Take another backup")]
    Damaged { path: PathBuf, why: String },
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path: path.clone(), source }
}

/// Makes a backup of the hub in `data` below `folder`, and returns where it is. The hub may run.
pub fn make(data: &Path, folder: &Path) -> Result<(PathBuf, Manifest), BackupError> {
    make_folder(folder)?;
    let made_at = Timestamp::now();
    let name = format!("{PREFIX}{}", made_at.strftime("%Y%m%dT%H%M%S.%3fZ"));
    let (partial, whole) = (folder.join(format!(".{name}.partial")), folder.join(name));
    fs::DirBuilder::new().mode(0o700).create(&partial).map_err(at(&partial))?;
    let made = fill(data, &partial, made_at);
    if made.is_err() {
        // Half of a backup is worth nothing, and its rest is on a disk that may be full.
        let _ = fs::remove_dir_all(&partial);
    }
    let manifest = made?;
    fs::rename(&partial, &whole).map_err(at(&whole))?;
    sync_folder(folder)?;
    Ok((whole, manifest))
}

fn fill(data: &Path, partial: &Path, made_at: Timestamp) -> Result<Manifest, BackupError> {
    let database = partial.join(FILE_NAME);
    // SQLite makes the file; the folder is the owner's alone.
    copy_into(data, &database)?;
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).map_err(at(&database))?;
    let schema = schema_of_whole(&database)?;
    File::open(&database).and_then(|file| file.sync_all()).map_err(at(&database))?;
    for name in kept(data)? {
        copy(&data.join(&name), &partial.join(&name))?;
    }
    let mut files = BTreeMap::new();
    for name in names(partial)? {
        files.insert(name.clone(), hash(&partial.join(&name))?);
    }
    let hub_version = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { version: 1, made_at, hub_version, schema, files };
    let text = serde_json::to_vec_pretty(&manifest).expect("plain data with string keys");
    write(&partial.join(MANIFEST), &text)?;
    sync_folder(partial)?;
    Ok(manifest)
}

/// Removes the oldest whole backups below `folder` until `keep` are left, and returns what went.
pub fn thin_out(folder: &Path, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let mut whole: Vec<String> = fs::read_dir(folder)
        .map_err(at(folder))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && folder.join(name).join(MANIFEST).is_file())
        .collect();
    whole.sort();
    let gone: Vec<PathBuf> =
        whole.iter().take(whole.len().saturating_sub(keep)).map(|name| folder.join(name)).collect();
    for path in &gone {
        fs::remove_dir_all(path).map_err(at(path))?;
    }
    Ok(gone)
}

/// Puts a backup in the place of what is in `data`, where no hub runs, and returns where the replaced files are.
pub fn restore(backup: &Path, data: &Path) -> Result<(PathBuf, Manifest), BackupError> {
    let manifest = read_manifest(backup)?;
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
    let (fresh, aside) = (data.join(format!("{RESTORING}{stamp}")), data.join(format!("replaced-{stamp}")));
    make_folder(data)?;
    make_folder(&fresh)?;
    let copied = take_over(backup, &fresh, &manifest);
    if copied.is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    copied?;
    make_folder(&aside)?;
    // A write-ahead log belongs to its database: left behind, it would be played into the other one.
    for name in names(data)?.into_iter().filter(|name| !NOT_KEPT.contains(&name.as_str())) {
        fs::rename(data.join(&name), aside.join(&name)).map_err(at(&data.join(&name)))?;
    }
    for name in manifest.files.keys() {
        fs::rename(fresh.join(name), data.join(name)).map_err(at(&data.join(name)))?;
    }
    while let Some(rest) = cut_short(data) {
        fs::remove_dir_all(&rest).map_err(at(&rest))?;
    }
    sync_folder(data)?;
    Ok((aside, manifest))
}

/// What a restore that was cut short has left in a data folder. A hub that starts beside it would begin an empty database.
#[must_use]
pub fn cut_short(data: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(data).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.into_iter().find(|name| name.starts_with(RESTORING)).map(|name| data.join(name))
}

/// Copies what the manifest names, each file as it was backed up.
fn take_over(backup: &Path, fresh: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    for (name, expected) in &manifest.files {
        let path = backup.join(name);
        let damaged = |why: &str| BackupError::Damaged { path: path.clone(), why: why.to_owned() };
        if Path::new(name).file_name().is_none_or(|plain| plain != name.as_str()) {
            return Err(damaged("its name leads elsewhere"));
        }
        copy(&path, &fresh.join(name))?;
        if hash(&fresh.join(name))? != *expected {
            return Err(damaged("its SHA-256 is another one"));
        }
    }
    let database = fresh.join(FILE_NAME);
    if !manifest.files.contains_key(FILE_NAME) {
        return Err(BackupError::Damaged { path: backup.to_owned(), why: format!("{FILE_NAME} is missing") });
    }
    schema_of_whole(&database)?;
    sync_folder(fresh)
}

fn read_manifest(backup: &Path) -> Result<Manifest, BackupError> {
    let none = |why: String| BackupError::NoBackup(backup.to_owned(), why);
    let text = fs::read(backup.join(MANIFEST)).map_err(|error| none(error.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| none(error.to_string()))?;
    if manifest.version != 1 {
        return Err(none(format!("its form is {}, this hub knows 1; take a newer hub", manifest.version)));
    }
    Ok(manifest)
}

/// Files of the data folder that are backed up beside the database.
fn kept(data: &Path) -> Result<Vec<String>, BackupError> {
    let of_database = |name: &str| name.starts_with(FILE_NAME);
    let all = names(data)?.into_iter();
    Ok(all.filter(|name| !of_database(name) && !NOT_KEPT.contains(&name.as_str())).collect())
}

/// Plain files of a folder.
fn names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let plain = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    Ok(plain.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(at(from))?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(at(to))?;
    io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(at(to))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())).map_err(at(path))
}

fn hash(path: &Path) -> Result<String, BackupError> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(at(path))? {
            0 => return Ok(HEXLOWER.encode(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(at(folder))
}
