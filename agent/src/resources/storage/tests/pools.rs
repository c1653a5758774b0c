//! Pools of ZFS: taken as a whole, for guests, and never waited for.

use super::*;

const GUID: &str = "12451870623840514532";

fn spec() -> StorageSpec {
    StorageSpec {
        durable_id: DurableId::of_pool(GUID).unwrap(),
        role: StorageRole::Guests,
        content: [ContentType::Images, ContentType::Rootdir].into(),
        ..super::spec()
    }
}

/// A drive as ZFS leaves it: its member, and 8 MiB that it keeps for itself.
fn member(name: &str, own: &str, pool: &str) -> BlockDevice {
    let mut device = disk(name, &format!("WD-{own}"), GUID);
    let words = [("ID_FS_TYPE", "zfs_member"), ("ID_FS_UUID_SUB", own), ("ID_FS_LABEL", pool)];
    device.partitions[0].properties.extend(words.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let tail = BlockDevice { name: format!("{name}9"), size_bytes: 8 << 20, ..BlockDevice::default() };
    device.partitions.push(tail);
    device
}

/// As the kernel shows it where the pool is imported.
fn imported(mut device: BlockDevice, pool: &str) -> BlockDevice {
    device.partitions[0].held_by.push(format!("pool {pool}"));
    device.partitions[0].mounted_at.extend([format!("/{pool}"), format!("/{pool}/subvol-101-disk-0")]);
    device
}

fn ready() -> Host {
    let mut host = Host::with(vec![imported(member("sda", "77", "tank"), "tank")]);
    let plan = host.converge(&spec());
    assert_eq!((plan.outcome, plan.readiness), (Outcome::Converged, Readiness::Ready), "{plan:?}");
    host
}

#[test]
fn a_pool_becomes_a_zfspool_wherever_its_guests_volumes_are_mounted() {
    let host = ready();
    let definition = host.definition.present().unwrap();
    assert_eq!((definition.kind.as_str(), definition.pool.as_str()), ("zfspool", "tank"));
    assert_eq!(host.marks.taken(&spec().storage).unwrap().pool.as_deref(), Some("tank"));
    assert!(words(&host.plan(&spec())).is_empty(), "what protects a folder is not asked of a pool");
}

#[test]
fn a_pool_may_be_named_by_a_drive_that_holds_nothing_else() {
    let mut host = Host::with(vec![member("sda", "77", "tank")]);
    let by_drive = StorageSpec {
        durable_id: host.see().drives.present().unwrap()[0].durable_id.clone().unwrap(),
        ..spec()
    };
    assert_eq!(host.converge(&by_drive).readiness, Readiness::Ready);
}

/// A mirror goes on without one of its drives, and so does its storage.
#[test]
fn a_mirror_is_in_use_while_one_of_its_drives_is_there() {
    let mut host = ready();
    host.devices.push(imported(member("sdb", "78", "tank"), "tank"));
    assert_eq!(host.converge(&spec()).readiness, Readiness::Ready);
    host.mounted = Some("sdb1".to_owned());
    host.devices.remove(0);
    host.pool_state = "DEGRADED";
    let plan = host.plan(&spec());
    assert_eq!((words(&plan), plan.readiness, plan.outcome), (vec![], Readiness::Ready, Outcome::Waiting));
    assert_eq!(plan.notes[0].code, "pool_degraded");
}

/// Reading from a pool without drives, or unmounting it, lasts for as long as they are away.
#[test]
fn a_pool_whose_drives_were_pulled_is_left_alone_and_told_when_they_are_back() {
    let mut host = ready();
    let drive = host.devices.remove(0);
    host.pool_state = "SUSPENDED";
    let gone = host.converge(&spec());
    assert_eq!((gone.readiness, gone.outcome), (Readiness::Unplugged, Outcome::Waiting));
    assert!(!host.is_used() && host.mounted.is_some());
    host.devices.push(drive);
    assert_eq!(words(&host.plan(&spec())), ["mount_drive"]);
    assert_eq!(host.converge(&spec()).readiness, Readiness::Ready);
    assert!(host.is_used());
    // Not every kernel notices: it is made to look again before it is used again.
    let drive = host.devices.remove(0);
    host.converge(&spec());
    host.devices.push(drive);
    assert_eq!(words(&host.plan(&spec())), ["mount_drive", "change_storage"]);
}

#[test]
fn wrong_disk_a_copy_of_a_member_takes_the_whole_pool() {
    let mut host = ready();
    host.devices.push(member("sdb", "78", "tank"));
    host.devices.push(member("sdc", "78", "tank"));
    let plan = host.converge(&spec());
    assert_eq!(plan.outcome, Outcome::Refused);
    assert_eq!(plan.notes[0].code, "drive_unclear", "{:?}", plan.notes);
    assert!(!host.is_used());
}

#[test]
fn a_pool_that_is_not_fit_is_refused_with_its_reason() {
    type Change = fn(&mut Host, &mut StorageSpec);
    let cases: [(Change, &str); 5] = [
        (|_, spec| spec.role = StorageRole::Files, "pool_holds_guests_only"),
        (
            |_, spec| spec.content = [ContentType::Backup, ContentType::Images].into(),
            "pool_holds_guests_only",
        ),
        (|host, _| host.devices = vec![member("sda", "77", "-f")], "pool_name_unfit"),
        (|host, _| host.devices[0].partitions[0].held_by.push("md0".to_owned()), "drive_held"),
        (|host, _| host.devices[0].partitions[0].held_by.push("pool other".to_owned()), "drive_held"),
    ];
    for (change, code) in cases {
        let (mut host, mut spec) = (Host::with(vec![member("sda", "77", "tank")]), spec());
        change(&mut host, &mut spec);
        refused(&host.converge(&spec), code);
        assert!(host.mounted.is_none() && host.markers.is_empty(), "{code}");
    }
}

/// A definition that a person has made over the same pool is taken over; one over another pool is not.
#[test]
fn a_definition_is_ours_if_its_pool_is() {
    for (pool, readiness) in [("tank", Readiness::Ready), ("other", Readiness::Attached)] {
        let mut host = Host::with(vec![member("sda", "77", "tank")]);
        let mut made = ready().definition.present().unwrap().clone();
        pool.clone_into(&mut made.pool);
        host.definition = Reading::Present(made);
        let plan = host.converge(&spec());
        assert_eq!(plan.readiness, readiness, "{pool}: {:?}", plan.notes);
        assert!(host.is_used(), "{pool}: a person's storage stays as it is");
    }
}
