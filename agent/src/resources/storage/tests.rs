//! What is planned for drives, pain by pain. A small model of the host takes the steps, so that each test can say where
//! they lead and not only what they are.

use std::collections::BTreeMap;

use felhom_shared::desired::{ContentType, DriveClass, Filesystem, StorageAction, StorageRole, StorageSpec};
use felhom_shared::drive::{Content, DriveReport, DurableId, Hardware};
use felhom_shared::id::{HostId, StorageId};
use felhom_shared::report::{Class, Failure, NoteKind, Outcome, Readiness};
use uuid::Uuid;

use super::mark::DriveMarks;
use super::observe::{SeenStorage, SeenStorages};
use super::plan::{StoragePlan, plan_storage};
use super::step::StorageStep;
use crate::host::block::{BlockDevice, Pool};
use crate::host::marker::Marker;
use crate::observe::Reading;
use crate::pve::StorageDefinition;
use crate::resources::storage::detect;

mod pools;

const UUID: &str = "b3d5f7a1-22c4-4e0e-8c61-5d1f9f3c7e20";
const AT: &str = "/mnt/felhom/photos";

fn spec() -> StorageSpec {
    StorageSpec {
        storage: StorageId::new("photos").unwrap(),
        durable_id: DurableId::of_contents(UUID, None).unwrap(),
        action: StorageAction::Adopt,
        role: StorageRole::Files,
        class: None,
        filesystem: None,
        content: [ContentType::Backup, ContentType::Iso].into(),
        label: Some("in the drawer".to_owned()),
    }
}

/// A drive with one partition.
fn disk(name: &str, serial: &str, uuid: &str) -> BlockDevice {
    let words = |words: &[(&str, &str)]| {
        words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let part = BlockDevice {
        name: format!("{name}1"),
        size_bytes: 1 << 40,
        properties: words(&[("DEVTYPE", "partition"), ("ID_FS_UUID", uuid), ("ID_FS_TYPE", "ext4")]),
        ..BlockDevice::default()
    };
    BlockDevice {
        name: name.to_owned(),
        size_bytes: 1 << 40,
        rotational: Some(true),
        properties: words(&[("ID_SERIAL_SHORT", serial), ("ID_MODEL", "WDC_WD40EFRX"), ("ID_BUS", "ata")]),
        partitions: vec![part],
        ..BlockDevice::default()
    }
}

/// A host that does what it is told.
struct Host {
    devices: Vec<BlockDevice>,
    /// What is mounted for the storage: the device's name, or one that is gone.
    mounted: Option<String>,
    /// Markers by the file system they lie on.
    markers: BTreeMap<String, Reading<Marker>>,
    definition: Reading<StorageDefinition>,
    marks: DriveMarks,
    served: bool,
    fresh: u128,
    /// What the kernel says of the pool that is mounted.
    pool_state: &'static str,
}

impl Host {
    fn with(devices: Vec<BlockDevice>) -> Self {
        Self {
            devices,
            mounted: None,
            markers: BTreeMap::new(),
            definition: Reading::Absent,
            marks: DriveMarks::default(),
            served: true,
            fresh: 1,
            pool_state: "ONLINE",
        }
    }

    fn usual() -> Self {
        Self::with(vec![disk("sda", "WD-1", UUID)])
    }

    fn ready() -> Self {
        let mut host = Self::usual();
        let plan = host.converge(&spec());
        assert_eq!((plan.outcome, plan.readiness), (Outcome::Converged, Readiness::Ready), "{plan:?}");
        host
    }

    fn see(&self) -> SeenStorages {
        let mut devices = self.devices.clone();
        for part in devices.iter_mut().flat_map(|device| &mut device.partitions) {
            if self.mounted.as_ref() == Some(&part.name) {
                part.mounted_at.push(AT.to_owned());
            }
        }
        let uuid = |name: &String| {
            let part =
                devices.iter().flat_map(|device| &device.partitions).find(|part| part.name == *name)?;
            part.properties.get("ID_FS_UUID").cloned()
        };
        let marker = match &self.mounted {
            None => Reading::Absent,
            Some(name) => {
                uuid(name).and_then(|uuid| self.markers.get(&uuid).cloned()).unwrap_or(Reading::Absent)
            }
        };
        let marker = if self.is_suspended() { Reading::Unreadable(waits()) } else { marker };
        let state = self.pool_state.to_owned();
        let pool = Pool { name: "tank".to_owned(), guid: None, state };
        let (mounted, pool) = (self.mounted.is_some(), self.mounted.is_some().then_some(pool));
        let seen = SeenStorage { mounted, pool, marker, definition: self.definition.clone() };
        SeenStorages {
            host_id: HostId(Uuid::from_u128(9)),
            drives: Reading::Present(detect(&devices)),
            storages: BTreeMap::from([(spec().storage, seen)]),
            heads: BTreeMap::new(),
            marks: self.marks.clone(),
            served: self.served,
            fresh: Uuid::from_u128(self.fresh),
        }
    }

    fn plan(&self, spec: &StorageSpec) -> StoragePlan {
        plan_storage(spec, &self.see(), None)
    }

    fn apply(&mut self, step: &StorageStep) {
        assert_eq!(step.class(), Class::Routine, "{step}");
        match step {
            StorageStep::MountDrive(mount) => {
                let uuid = mount.id.contents().expect("it is known by what is on it");
                let parts = self.devices.iter().flat_map(|device| &device.partitions);
                let part = parts.clone().find(|part| part.properties["ID_FS_UUID"] == uuid);
                self.mounted = Some(part.expect("only what is there is mounted").name.clone());
                self.pool_state = "ONLINE";
            }
            StorageStep::UnmountDrive(_) => {
                assert!(!self.is_suspended(), "it would wait for ever");
                self.mounted = None;
            }
            StorageStep::FormatDrive(_)
            | StorageStep::AssignStorage(_)
            | StorageStep::DetachStorage(_)
            | StorageStep::ReplaceDrive(_) => {
                unreachable!("it is guarded")
            }
            StorageStep::MarkDrive(mark) => {
                let carrier = mark.id.contents().expect("it is known by what is on it").to_owned();
                let before = self.markers.insert(carrier, Reading::Present(mark.marker.clone()));
                assert!(before.is_none(), "no marker is written over");
            }
            StorageStep::DefineStorage(params) => {
                let word = |key: &str| params.get(key).cloned().unwrap_or_default();
                self.definition = Reading::Present(StorageDefinition {
                    storage: word("storage"),
                    kind: word("type"),
                    path: word("path"),
                    pool: word("pool"),
                    content: params["content"].split(',').map(str::to_owned).collect(),
                    disable: false,
                    is_mountpoint: word("is_mountpoint") == "1",
                    create_base_path: word("create-base-path") != "0",
                    digest: "1".to_owned(),
                });
            }
            StorageStep::ChangeStorage(change) => {
                let Reading::Present(definition) = &mut self.definition else { panic!("{step} on nothing") };
                if let Some(content) = change.set.get("content") {
                    definition.content = content.split(',').map(str::to_owned).collect();
                }
                definition.disable = change.set.contains_key("disable")
                    || (definition.disable && !change.delete.iter().any(|key| key == "disable"));
                definition.is_mountpoint |= change.set.contains_key("is_mountpoint");
                definition.create_base_path &= !change.set.contains_key("create-base-path");
            }
        }
    }

    /// Plans and does until nothing is left to do.
    fn converge(&mut self, spec: &StorageSpec) -> StoragePlan {
        for _ in 0..6 {
            let plan = self.plan(spec);
            self.marks.learn(plan.proven.clone().map(|mark| (plan.storage.clone(), mark)).into_iter());
            if plan.steps.is_empty() {
                return plan;
            }
            plan.steps.iter().for_each(|step| self.apply(step));
        }
        panic!("no end: {:?}", self.plan(spec));
    }

    fn is_suspended(&self) -> bool {
        self.pool_state == "SUSPENDED"
    }

    fn is_used(&self) -> bool {
        self.definition.present().is_some_and(|definition| !definition.disable)
    }
}

fn waits() -> Failure {
    Failure { code: "pool_suspended".to_owned(), text: "it waits for its drives".to_owned() }
}

fn words(plan: &StoragePlan) -> Vec<&str> {
    plan.steps.iter().map(StorageStep::word).collect()
}

#[track_caller]
fn refused(plan: &StoragePlan, code: &str) {
    let codes: Vec<&str> = plan.notes.iter().map(|note| note.code.as_str()).collect();
    assert_eq!((codes, plan.outcome), (vec![code], Outcome::Refused), "{:?}", plan.notes);
    assert!(plan.notes[0].kind == NoteKind::Refused);
}

#[test]
fn a_drive_is_mounted_marked_and_defined_and_then_left_alone() {
    let mut host = Host::usual();
    for word in ["mount_drive", "mark_drive", "define_storage"] {
        let plan = host.plan(&spec());
        assert_eq!(words(&plan), [word]);
        host.apply(&plan.steps[0]);
    }
    let plan = host.plan(&spec());
    assert_eq!((words(&plan), plan.readiness, plan.outcome), (vec![], Readiness::Ready, Outcome::Converged));
    assert!(
        host.definition.present().is_some_and(|it| it.is_mountpoint && !it.create_base_path && it.path == AT)
    );
}

#[test]
fn content_is_added_and_settings_that_protect_are_put_back() {
    let mut host = Host::ready();
    let Reading::Present(definition) = &mut host.definition else { panic!() };
    (definition.is_mountpoint, definition.create_base_path, definition.disable) = (false, true, true);
    let mut more = spec();
    more.content.insert(ContentType::Vztmpl);
    assert_eq!(host.converge(&more).readiness, Readiness::Ready);
    let definition = host.definition.present().unwrap();
    assert!(definition.is_mountpoint && !definition.create_base_path && !definition.disable);
    assert!(definition.content.contains("vztmpl"));
}

/// Pain: an unplugged backup disk, and a backup that fills the root disk and reports success.
#[test]
fn unplugged_backup_disk_is_switched_off_and_comes_back_without_a_person() {
    let mut host = Host::ready();
    let drive = host.devices.remove(0);
    let gone = host.converge(&spec());
    assert_eq!((gone.readiness, gone.outcome), (Readiness::Unplugged, Outcome::Waiting));
    assert!(gone.notes[0].text.contains("in the drawer") && !host.is_used() && host.mounted.is_none());
    // In another port, under another name.
    host.devices.push(BlockDevice { ..drive });
    host.devices[0].name = "sdq".to_owned();
    host.devices[0].partitions[0].name = "sdq1".to_owned();
    let back = host.converge(&spec());
    assert_eq!((back.readiness, back.name.as_deref()), (Readiness::Ready, Some("sdq1")));
    assert!(host.is_used());
}

/// A drive that was pulled leaves a mount that answers nobody; the drive comes back beside it.
#[test]
fn the_mount_of_a_pulled_drive_makes_room_for_the_drive() {
    let mut host = Host::ready();
    host.mounted = Some("sdz1".to_owned());
    let plan = host.plan(&spec());
    assert_eq!(words(&plan), ["change_storage", "unmount_drive"]);
    assert_eq!(host.converge(&spec()).readiness, Readiness::Ready);
}

/// A bridge that hides every number: what is on the drive still says which it is.
#[test]
fn a_drive_without_numbers_is_adopted_by_what_is_on_it() {
    let mut host = Host::with(vec![disk("sda", "000000000000", UUID)]);
    assert_eq!(host.see().drives.present().unwrap()[0].problems[0].code, "drive_without_identity");
    assert_eq!(host.converge(&spec()).readiness, Readiness::Ready);
}

/// Pain: two USB boxes that give one serial number, a drive copied with dd.
#[test]
fn identity_collision_takes_the_drive_from_both() {
    let mut host = Host::ready();
    host.devices.push(disk("sdb", "WD-2", UUID));
    let plan = host.converge(&spec());
    refused(&plan, "drive_identity_shared");
    assert!(
        plan.notes[0].text.contains("sda1") && plan.notes[0].text.contains("sdb1"),
        "{}",
        plan.notes[0].text
    );
    assert!(!host.is_used());
    host.devices.pop();
    assert_eq!(host.converge(&spec()).readiness, Readiness::Ready);
}

/// A copy that is plugged in alone says everything that the original said; made before the marker, it has none.
#[test]
fn wrong_disk_a_copy_without_the_marker_is_not_taken_for_the_original() {
    let mut host = Host::ready();
    host.markers.clear();
    refused(&host.converge(&spec()), "marker_gone");
    assert!(!host.is_used() && host.markers.is_empty());
}

#[test]
fn wrong_disk_a_drive_with_another_marker_is_not_taken() {
    for (change, code) in [
        ((|marker: &mut Marker| marker.drive_id = Uuid::from_u128(77)) as fn(&mut Marker), "marker_differs"),
        (|marker| marker.host_id = HostId(Uuid::from_u128(77)), "drive_of_another_host"),
        (|marker| marker.storage = StorageId::new("other").unwrap(), "drive_of_another_storage"),
        (|marker| marker.version = 2, "marker_unknown"),
    ] {
        let mut host = Host::ready();
        let Some(Reading::Present(marker)) = host.markers.get_mut(UUID) else { panic!() };
        change(marker);
        refused(&host.converge(&spec()), code);
        assert!(!host.is_used(), "{code}");
    }
}

/// A new box that got the old one's name takes the old one's drives.
#[test]
fn a_drive_that_carries_our_marker_is_taken_back() {
    let mut host = Host::ready();
    host.marks = DriveMarks::default();
    (host.definition, host.mounted) = (Reading::Absent, None);
    assert_eq!(host.converge(&spec()).readiness, Readiness::Ready);
}

/// Pain: an old line in /etc/fstab mounts the drive somewhere else at every boot.
#[test]
fn stale_fstab_is_named_and_not_fought() {
    let mut host = Host::ready();
    host.mounted = None;
    host.devices[0].partitions[0].mounted_at = vec!["/srv/old".to_owned()];
    let plan = host.converge(&spec());
    refused(&plan, "drive_mounted_elsewhere");
    assert!(plan.notes[0].text.contains("/srv/old") && plan.notes[0].text.contains("fstab"));
    assert!(!host.is_used());
}

#[test]
fn what_is_not_fit_is_refused_with_its_reason() {
    type Change = fn(&mut Host, &mut StorageSpec);
    let cases: [(Change, &str); 8] = [
        (|host, _| host.devices[0].partitions[0].mounted_at.push("/".to_owned()), "drive_of_the_system"),
        (|host, _| host.devices[0].partitions[0].held_by.push("vg-data".to_owned()), "drive_held"),
        (|host, _| host.devices[0].read_only = true, "drive_read_only"),
        (|_, spec| spec.class = Some(DriveClass::Nvme), "drive_class_differs"),
        (|_, spec| spec.filesystem = Some(Filesystem::Xfs), "filesystem_differs"),
        (
            |host, _| {
                let part = &mut host.devices[0].partitions[0];
                part.properties.insert("ID_FS_TYPE".to_owned(), "ntfs".to_owned());
            },
            "filesystem_unsupported",
        ),
        (|host, _| host.served = false, "host_helper_missing"),
        (
            |host, _| {
                let mut definition = Host::ready().definition.present().cloned().unwrap();
                definition.path = "/srv/photos".to_owned();
                host.definition = Reading::Present(definition);
            },
            "storage_taken",
        ),
    ];
    for (change, code) in cases {
        let (mut host, mut spec) = (Host::usual(), spec());
        change(&mut host, &mut spec);
        refused(&host.converge(&spec), code);
        assert!(host.mounted.is_none() && host.markers.is_empty(), "{code}");
    }
}

#[test]
fn a_whole_drive_means_the_only_file_system_on_it() {
    let hardware = Hardware { wwn: None, serial: Some("WD-1"), model: "WDC WD40EFRX", size_bytes: 1 << 40 };
    let whole = StorageSpec { durable_id: DurableId::of_hardware(&hardware).unwrap(), ..spec() };
    let mut host = Host::usual();
    assert_eq!(host.converge(&whole).readiness, Readiness::Ready);
    let mut second = host.devices[0].partitions[0].clone();
    second.name = "sda2".to_owned();
    second.properties.insert("ID_FS_UUID".to_owned(), "00000000-0000-4000-8000-000000000001".to_owned());
    host.devices[0].partitions.push(second);
    refused(&host.converge(&whole), "drive_ambiguous");
}

#[test]
fn unreadable_is_not_absent_for_drives_marker_and_definition() {
    let failure = Failure { code: "x".to_owned(), text: "y".to_owned() };
    let host = Host::ready();
    let mut drives = host.see();
    drives.drives = Reading::Unreadable(failure.clone());
    let mut definition = host.see();
    definition.storages.get_mut(&spec().storage).unwrap().definition = Reading::Unreadable(failure.clone());
    for seen in [drives, definition] {
        let plan = plan_storage(&spec(), &seen, None);
        assert_eq!((plan.outcome, words(&plan)), (Outcome::Unreadable, vec![]), "nothing is concluded");
    }
    // A marker that cannot be read is a drive that does not answer: nothing more is written to it.
    let mut host = host;
    host.markers.insert(UUID.to_owned(), Reading::Unreadable(failure));
    let plan = host.converge(&spec());
    assert_eq!((plan.outcome, host.is_used()), (Outcome::Unreadable, false));
}

#[test]
fn another_role_less_content_and_leaving_wait_for_a_signature() {
    let held = |change: fn(&mut StorageSpec), code: &str| {
        let (mut host, mut spec) = (Host::ready(), spec());
        change(&mut spec);
        let plan = host.converge(&spec);
        assert_eq!((plan.outcome, plan.notes[0].code.as_str()), (Outcome::Held, code));
        assert!(host.is_used() && host.mounted.is_some(), "it stays as it is");
    };
    held(|spec| spec.role = StorageRole::Guests, "assign_needs_signature");
    held(|spec| spec.content = [ContentType::Backup].into(), "assign_needs_signature");
    held(|spec| spec.action = StorageAction::Ignore, "detach_needs_signature");
}

fn reported(content: Content) -> DriveReport {
    DriveReport { name: "sda".to_owned(), contents: vec![content], ..DriveReport::default() }
}

#[test]
fn an_ignored_drive_is_left_alone() {
    let mut host = Host::usual();
    let ignored = StorageSpec { action: StorageAction::Ignore, ..spec() };
    let plan = host.converge(&ignored);
    assert_eq!((plan.outcome, host.mounted.is_none()), (Outcome::Converged, true));
    // Nothing of it is looked at.
    let mut seen = host.see();
    seen.drives = Reading::Present(vec![reported(Content::default())]);
    assert_eq!(plan_storage(&ignored, &seen, None).outcome, Outcome::Converged);
}

/// A hub that somebody else has taken over points the backup storage at another drive: it stays where it is.
#[test]
fn another_drive_behind_a_storage_waits_for_a_signature_and_another_name_of_the_same_does_not() {
    const OTHER: &str = "00000000-0000-4000-8000-000000000002";
    let mut host = Host::ready();
    host.devices.push(disk("sdb", "WD-2", OTHER));
    let elsewhere = StorageSpec { durable_id: DurableId::of_contents(OTHER, None).unwrap(), ..spec() };
    let plan = host.converge(&elsewhere);
    assert_eq!((plan.outcome, plan.notes[0].code.as_str()), (Outcome::Held, "replace_needs_signature"));
    assert_eq!(
        (host.mounted.as_deref(), plan.readiness),
        (Some("sda1"), Readiness::Ready),
        "it goes on as it was"
    );
    assert!(host.is_used() && plan.pending.is_some());
    // The whole drive in place of the file system on it is the same drive.
    let hardware = Hardware { wwn: None, serial: Some("WD-1"), model: "WDC WD40EFRX", size_bytes: 1 << 40 };
    let renamed = StorageSpec { durable_id: DurableId::of_hardware(&hardware).unwrap(), ..spec() };
    assert_eq!(host.converge(&renamed).readiness, Readiness::Ready);
    // With the old drive gone nothing is put in its place either.
    host.devices.remove(0);
    host.mounted = None;
    let plan = host.converge(&elsewhere);
    assert_eq!((plan.outcome, host.is_used(), host.mounted.is_none()), (Outcome::Held, false, true));
}
