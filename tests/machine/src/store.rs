//! What `cargo xtask machine` has prepared, and a folder for each machine that runs.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the prepared root lies.
const STORE: &str = "FELHOM_MACHINE";

/// The prepared files of one Debian release.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(crate) fn open() -> Self {
        let folder = std::env::var_os(STORE)
            .unwrap_or_else(|| panic!("{STORE} names no prepared root: run `cargo xtask machine`"));
        Self { folder: folder.into() }
    }

    /// The root's files, never written to.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// A tree with the packages under test and the double, laid over the root.
    pub(crate) fn payload(&self) -> PathBuf {
        self.folder.join("payload")
    }

    /// The root as a disk.
    pub(crate) fn root_image(&self) -> PathBuf {
        self.folder.join("root.ext4")
    }

    /// The payload as a disk.
    pub(crate) fn payload_image(&self) -> PathBuf {
        self.folder.join("payload.ext4")
    }

    /// The file in the root's `/boot` that begins so: kernel or first RAM disk.
    pub(crate) fn boot_file(&self, begins: &str) -> PathBuf {
        let boot = self.root().join("boot");
        let files = fs::read_dir(&boot).unwrap_or_else(|error| panic!("{}: {error}", boot.display()));
        let found = files.flatten().find(|file| file.file_name().to_string_lossy().starts_with(begins));
        found.unwrap_or_else(|| panic!("no {begins}* in {}", boot.display())).path()
    }

    /// A booted VM put to sleep, made by the first test that wants one.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.folder.join("snapshot")
    }

    /// An empty folder for a machine of this name.
    pub(crate) fn run_folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join("run").join(name);
        if folder.exists() {
            // A test that was killed could not unmount its root.
            let root = folder.join("root");
            let _ = std::process::Command::new("umount").arg("--lazy").arg(root).output();
            fs::remove_dir_all(&folder)
                .unwrap_or_else(|error| panic!("{} of an earlier run: {error}", folder.display()));
        }
        make(&folder);
        folder
    }
}

pub(crate) fn make(folder: &Path) {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}
