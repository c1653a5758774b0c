//! What differs between a guest's spec and its configuration, by meaning. Pure.
//!
//! Only keys the document decides are compared, and only what differs is sent: an existing card keeps its MAC
//! and an existing volume its name. Values waiting for a restart count as set, else they would be sent for ever.

use std::collections::BTreeMap;

use felhom_shared::desired::{Disk, GuestKind, GuestSpec, Mount, MountSource};
use felhom_shared::id::StorageId;
use felhom_shared::report::{Note, NoteKind};

use super::key::clone_mark;
use super::params::{mount_value, network_options, new_volume, plain_keys};
use crate::pve::{GuestReading, PropertyKind, PropertyString, same_meaning};
use crate::step::{GrowDisk, SetConfig, Step};

const GIB: u64 = 1 << 30;
/// The code of a container that is privileged where the document says that it is not, or the other way round.
pub(super) const PRIVILEGED_DIFFERS: &str = "unprivileged_cannot_change";

/// What to do and what cannot be done.
pub(super) struct Difference {
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<Note>,
}

/// Compares one guest.
pub(super) fn difference(spec: &GuestSpec, config: &GuestReading) -> Difference {
    let mut found = Finder {
        spec,
        config,
        set: BTreeMap::new(),
        delete: vec![],
        allocates_on: vec![],
        grow: vec![],
        notes: vec![],
    };
    found.plain_keys();
    found.networks();
    found.disks();
    found.mounts();
    found.fixed();
    found.into_difference()
}

struct Finder<'a> {
    spec: &'a GuestSpec,
    config: &'a GuestReading,
    set: BTreeMap<String, String>,
    delete: Vec<String>,
    allocates_on: Vec<StorageId>,
    grow: Vec<Step>,
    notes: Vec<Note>,
}

impl Finder<'_> {
    /// The value that is in force or will be after a restart.
    fn value(&self, key: &str) -> Option<&str> {
        if self.config.pending_delete.contains(key) {
            return None;
        }
        self.config.pending.get(key).or_else(|| self.config.current.get(key)).map(String::as_str)
    }

    fn kind(&self, key: &str) -> PropertyKind {
        PropertyKind::of(self.spec.kind, key)
    }

    fn plain_keys(&mut self) {
        for (key, wanted) in plain_keys(self.spec) {
            if key == "features" {
                continue;
            }
            // PVE leaves out what is its default: `onboot=0` is stored as nothing.
            let has = self.value(&key).unwrap_or(if key == "onboot" { "0" } else { "" });
            if !same_meaning(has, &wanted, self.kind(&key)) {
                self.set.insert(key, wanted);
            }
        }
        let described = self.value("description").unwrap_or_default().trim();
        if self.spec.description.is_none() && described == clone_mark(self.spec.guest_id) {
            self.delete.push("description".to_owned());
        }
        if let Some(features) = self.spec.features {
            let has = PropertyString::of_kind(
                PropertyKind::LxcFeatures,
                self.value("features").unwrap_or_default(),
            );
            if let Ok(mut merged) = has
                && merged.boolean("nesting").unwrap_or(false) != features.nesting
            {
                merged.set("nesting", u8::from(features.nesting).to_string());
                self.set.insert("features".to_owned(), merged.to_string());
            }
        }
    }

    fn networks(&mut self) {
        let spec = self.spec;
        for (slot, network) in &spec.networks {
            let kind = self.kind(slot);
            let has = self.value(slot).unwrap_or_default().to_owned();
            let Ok(mut merged) = PropertyString::of_kind(kind, &has) else { continue };
            for (key, value) in network_options(spec.kind, slot, network) {
                match value {
                    Some(value) => merged.set(key, value),
                    None => merged.remove(key),
                }
            }
            if spec.kind == GuestKind::Qemu && merged.get("model").is_none() {
                merged.set("model", "virtio");
            }
            if let Some(mac) = &network.mac {
                merged.set(if spec.kind == GuestKind::Lxc { "hwaddr" } else { "macaddr" }, mac.clone());
            }
            let wanted = merged.to_string();
            if !same_meaning(&has, &wanted, kind) {
                self.set.insert(slot.clone(), wanted);
            }
        }
    }

    fn disks(&mut self) {
        let spec = self.spec;
        for (slot, disk) in &spec.disks {
            match self.volume(slot) {
                Some(volume) => self.compare_volume(slot, disk, &volume),
                None if spec.kind == GuestKind::Qemu => self.allocate(slot, disk, new_volume(disk)),
                None => self.refuse("rootfs_missing", format!("{slot} is not in the guest's configuration")),
            }
        }
    }

    fn mounts(&mut self) {
        let spec = self.spec;
        for (slot, mount) in &spec.mounts {
            let MountSource::Volume(disk) = &mount.source else { continue };
            match self.volume(slot) {
                Some(volume) => {
                    self.compare_volume(slot, disk, &volume);
                    self.compare_mount(slot, mount, &volume);
                }
                None => {
                    if let Some(value) = mount_value(mount, None) {
                        self.allocate(slot, disk, value);
                    }
                }
            }
        }
    }

    /// An existing volume's properties; the volid under PVE's default key.
    fn volume(&self, slot: &str) -> Option<PropertyString> {
        PropertyString::of_kind(self.kind(slot), self.value(slot)?).ok()
    }

    fn allocate(&mut self, slot: &str, disk: &Disk, value: String) {
        self.set.insert(slot.to_owned(), value);
        self.allocates_on.push(disk.storage.clone());
    }

    fn compare_volume(&mut self, slot: &str, disk: &Disk, volume: &PropertyString) {
        let volid = volid(volume).unwrap_or_default();
        let storage = volid.split(':').next().unwrap_or_default();
        if storage != disk.storage.as_str() {
            let text = format!(
                "{slot} lies on {storage}, the document says {}; moving it is not done here",
                disk.storage
            );
            return self.refuse("storage_differs", text);
        }
        let Some(has) = volume.size_bytes() else { return };
        let wanted = u64::from(disk.size_gib) * GIB;
        if has < wanted {
            let (slot, size_gib, storage) = (slot.to_owned(), disk.size_gib, disk.storage.clone());
            self.grow.push(Step::GrowDisk(GrowDisk { slot, size_gib, storage }));
        } else if has > wanted {
            let text = format!(
                "{slot} has {} GiB, the document says {}; a disk never shrinks. Write its real size into the document",
                has.div_ceil(GIB),
                disk.size_gib
            );
            self.refuse("disk_cannot_shrink", text);
        }
    }

    fn compare_mount(&mut self, slot: &str, mount: &Mount, volume: &PropertyString) {
        let backed_up = volume.boolean("backup").unwrap_or(false);
        if backed_up && !mount.backup {
            let text =
                format!("{slot} is in the guest's backups: leaving it out of them waits for a signature");
            self.note(NoteKind::Held, "backup_off_needs_signature", text);
        }
        // Raised at once, never lowered.
        let backup = backed_up || mount.backup;
        let same = volume.get("mp") == Some(mount.path.as_str())
            && backed_up == backup
            && volume.boolean("ro").unwrap_or(false) == mount.read_only;
        if same {
            return;
        }
        let mut merged = volume.clone();
        merged.set("mp", mount.path.clone());
        merged.set("backup", u8::from(backup).to_string());
        merged.remove("ro");
        if mount.read_only {
            merged.set("ro", "1");
        }
        self.set.insert(slot.to_owned(), merged.to_string());
    }

    /// What cannot change once a guest exists.
    fn fixed(&mut self) {
        if self.spec.kind != GuestKind::Lxc {
            return;
        }
        let has = self.config.current.get("unprivileged").is_some_and(|value| value == "1");
        if has != self.spec.unprivileged {
            let text = "a container cannot change between privileged and unprivileged; that takes a backup and a restore";
            self.refuse(PRIVILEGED_DIFFERS, text.to_owned());
        }
    }

    fn refuse(&mut self, code: &str, text: String) {
        self.note(NoteKind::Refused, code, text);
    }

    fn note(&mut self, kind: NoteKind, code: &str, text: String) {
        self.notes.push(Note { kind, code: code.to_owned(), text });
    }

    fn into_difference(self) -> Difference {
        let Self { set, delete, mut allocates_on, grow, notes, config, .. } = self;
        let mut steps = Vec::new();
        if !set.is_empty() || !delete.is_empty() {
            allocates_on.sort_unstable();
            allocates_on.dedup();
            let digest = config.digest.clone();
            steps.push(Step::SetConfig(SetConfig { set, delete, digest, allocates_on }));
        }
        steps.extend(grow);
        Difference { steps, notes }
    }
}

/// The volume a property string names.
fn volid(volume: &PropertyString) -> Option<&str> {
    volume.get("volume").or_else(|| volume.get("file"))
}
