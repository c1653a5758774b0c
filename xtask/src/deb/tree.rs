//! A package's tree of files, and how it becomes a package: fixed modes, root's, times of the last commit.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::make_folder;
use crate::Failed;
use crate::process::{must, output};

/// A tree that is being laid out.
pub(super) struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// An empty tree in place of whatever was there.
    pub(super) fn begin(root: &Path) -> Result<Self, Failed> {
        if root.exists() {
            fs::remove_dir_all(root).map_err(|source| Failed::File { path: root.to_owned(), source })?;
        }
        make_folder(root)?;
        Ok(Self { root: root.to_owned(), files: Vec::new() })
    }

    /// A file that is installed. `path` begins below the root, without a slash.
    pub(super) fn put(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), Failed> {
        self.write(path, mode, bytes)?;
        self.files.push(path.to_owned());
        Ok(())
    }

    /// The same, compressed as Debian wants man pages and changelogs.
    pub(super) fn put_gz(&mut self, path: &str, bytes: &[u8]) -> Result<(), Failed> {
        let packed = gzip(bytes)?;
        self.put(&format!("{path}.gz"), 0o644, &packed)
    }

    /// A file for dpkg itself.
    pub(super) fn control(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), Failed> {
        self.write(&format!("DEBIAN/{name}"), mode, bytes)
    }

    /// KiB on the installing machine.
    pub(super) fn installed_kib(&self) -> Result<u64, Failed> {
        let mut kib = 0;
        for path in &self.files {
            let path = self.root.join(path);
            kib += fs::metadata(&path).map_err(|source| Failed::File { path, source })?.len().div_ceil(1024);
        }
        Ok(kib)
    }

    /// Packs the tree into `deb`.
    pub(super) fn pack(mut self, epoch_s: i64, deb: &Path) -> Result<(), Failed> {
        self.files.sort();
        let sums = output(Command::new("env").arg("-C").arg(&self.root).arg("md5sum").args(&self.files))?;
        self.control("md5sums", 0o644, sums.as_bytes())?;
        open_folders(&self.root)?;
        // One thread: where xz cuts its blocks must not depend on the machine.
        let mut pack = Command::new("dpkg-deb");
        pack.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]);
        pack.arg(&self.root).arg(deb).env("SOURCE_DATE_EPOCH", epoch_s.to_string()).stdout(Stdio::null());
        must(&mut pack)
    }

    fn write(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), Failed> {
        let path = self.root.join(path);
        make_folder(path.parent().expect("every file lies in the tree"))?;
        let written = fs::write(&path, bytes)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        written.map_err(|source| Failed::File { path, source })
    }
}

/// Whatever umask the builder has, folders may be entered.
fn open_folders(folder: &Path) -> Result<(), Failed> {
    let failed = |source| Failed::File { path: folder.to_owned(), source };
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            open_folders(&path)?;
        }
    }
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Failed> {
    let failed = |source| Failed::Start { what: "gzip".to_owned(), source };
    let mut child = Command::new("gzip")
        .args(["-9", "--no-name"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take().expect("it was asked for");
    // Pages are far smaller than what a pipe and gzip take in before they must be read.
    input.write_all(bytes).map_err(failed)?;
    drop(input);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failed::Status { what: "gzip".to_owned(), status: output.status })
    }
}
