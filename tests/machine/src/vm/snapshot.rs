//! A booted machine put to sleep, once, so that a test does not wait for a boot.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Vm;
use super::disk::Overlay;
use crate::machine::Ground;
use crate::store::{Store, make};

pub(super) struct Snapshot {
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
}

/// The snapshot; the first caller makes it while others wait.
pub(super) fn snapshot(store: &Store) -> Snapshot {
    let folder = store.snapshot();
    make(&folder);
    let lock = File::create(folder.join("lock")).expect("the folder is there");
    lock.lock().expect("a lock on a file of ours");
    let made = Snapshot { root: folder.join("root.base.qcow2"), state: folder.join("state") };
    let done = folder.join("made");
    if !done.exists() {
        take(store, &folder, &made);
        fs::write(&done, "").expect("the folder is there");
    }
    made
}

fn take(store: &Store, folder: &Path, made: &Snapshot) {
    let disks = vec![Overlay::over(&store.root_image(), "raw", &folder.join("root.qcow2"))];
    let vm = Vm::with_disks(store, folder, disks);
    vm.greet(vm.start(None));
    // What still starts in the background would wake up in every test.
    let state = vm.run("systemctl is-system-running --wait; sync", b"");
    assert_eq!(state.out.trim(), "running", "it does not come up well");
    vm.take_power().qemu.put_to_sleep(&made.state);
    vm.disks.iter().for_each(Overlay::settle);
}
