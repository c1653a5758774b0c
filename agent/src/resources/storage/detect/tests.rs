use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn device(name: &str, properties: &[(&str, &str)]) -> BlockDevice {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    BlockDevice {
        name: name.to_owned(),
        size_bytes: 1 << 40,
        properties: properties.collect(),
        ..BlockDevice::default()
    }
}

fn disk(name: &str, serial: &str) -> BlockDevice {
    device(name, &[("ID_SERIAL_SHORT", serial), ("ID_MODEL", "WDC_WD40EFRX"), ("ID_BUS", "ata")])
}

fn codes(drive: &DriveReport) -> Vec<&str> {
    drive.problems.iter().map(|problem| problem.code.as_str()).collect()
}

#[test]
fn a_drive_keeps_its_identity_under_another_name_and_beside_others() {
    let alone = detect(&[disk("sda", "WD-1")]);
    let moved = detect(&[disk("sda", "WD-2"), disk("sdb", "WD-1")]);
    assert_eq!(alone[0].durable_id, moved[1].durable_id);
    assert_ne!(moved[0].durable_id, moved[1].durable_id);
    assert_eq!(alone[0].model.as_deref(), Some("WDC WD40EFRX"));
}

#[test]
fn placeholders_are_no_identity() {
    for serial in ["unknown", "UNKNOWN", "", "000000000000", "0123456789ABCDEF", "123456789"] {
        let drives = detect(&[disk("sda", serial)]);
        assert_eq!(drives[0].durable_id, None, "{serial:?}");
        assert_eq!(codes(&drives[0]), ["drive_without_identity"], "{serial:?}");
        assert_eq!(drives[0].serial, None, "{serial:?}");
    }
}

/// A bridge that gives its own serial number to every drive in it.
#[test]
fn two_drives_that_share_an_identity_are_refused_by_name() {
    let drives = detect(&[disk("sda", "BRIDGE77"), disk("sdb", "BRIDGE77"), disk("sdc", "WD-1")]);
    for (drive, other) in [(&drives[0], "sdb"), (&drives[1], "sda")] {
        assert_eq!((drive.durable_id.as_ref(), codes(drive)), (None, vec!["drive_identity_shared"]));
        assert!(drive.problems[0].text.contains(other), "{}", drive.problems[0].text);
    }
    assert!(drives[2].durable_id.is_some() && drives[2].problems.is_empty());
}

/// `dd` from one drive to another: other hardware, the same UUIDs.
#[test]
fn a_cloned_drive_takes_the_file_systems_identity_from_both() {
    let part = |name: &str| {
        device(
            name,
            &[
                ("DEVTYPE", "partition"),
                ("ID_PART_ENTRY_UUID", "aa0d1f7e-01"),
                ("ID_FS_UUID", "5c1a9a0e-2d0f"),
                ("ID_FS_TYPE", "ext4"),
            ],
        )
    };
    let on = |name: &str, serial: &str| BlockDevice {
        partitions: vec![part(&format!("{name}1"))],
        ..disk(name, serial)
    };
    let alone = detect(&[on("sda", "WD-1")]);
    assert_eq!(alone[0].contents[0].known_by.len(), 2);
    let both = detect(&[on("sda", "WD-1"), on("sdb", "WD-2")]);
    for drive in &both {
        assert!(drive.durable_id.is_some(), "the hardware still differs");
        assert!(drive.contents[0].known_by.is_empty());
        assert_eq!(codes(drive), ["drive_identity_shared", "drive_identity_shared"]);
    }
}

/// Two members of one btrfs or pool carry the same UUID on purpose, and one of their own.
#[test]
fn members_of_one_pool_are_told_apart() {
    let member = |name: &str, own: &str| BlockDevice {
        properties: BTreeMap::from([
            ("ID_FS_TYPE".to_owned(), "zfs_member".to_owned()),
            ("ID_FS_UUID".to_owned(), "1234567890123456789".to_owned()),
            ("ID_FS_UUID_SUB".to_owned(), own.to_owned()),
            ("ID_SERIAL_SHORT".to_owned(), format!("S-{own}")),
        ]),
        ..device(name, &[])
    };
    let drives = detect(&[member("sda", "77"), member("sdb", "78")]);
    assert!(drives.iter().all(|drive| drive.problems.is_empty()));
    let known = |drive: &DriveReport| -> Vec<String> {
        drive.contents[0].known_by.iter().map(ToString::to_string).collect()
    };
    // And by what they carry together the pool is known, while one of them is there.
    assert_eq!(known(&drives[0]), ["contents:1234567890123456789", "contents:1234567890123456789/77"]);
    // A copy of one is told from none of them.
    let drives = detect(&[member("sda", "77"), member("sdb", "78"), member("sdc", "77")]);
    assert!(
        drives[1].problems.is_empty() && !drives[0].problems.is_empty() && !drives[2].problems.is_empty()
    );
}

#[test]
fn what_the_box_runs_from_is_said() {
    let root = BlockDevice {
        mounted_at: vec!["/".to_owned()],
        held_by: vec!["pve-root".to_owned()],
        ..device("sda3", &[])
    };
    let swap = BlockDevice { held_by: vec!["swap".to_owned()], ..device("sdb1", &[]) };
    let data = BlockDevice { mounted_at: vec!["/mnt/data".to_owned()], ..device("sdc1", &[]) };
    let with = |name: &str, part| BlockDevice { partitions: vec![part], ..disk(name, name) };
    let drives = detect(&[with("sda", root), with("sdb", swap), with("sdc", data)]);
    assert_eq!(drives.iter().map(|drive| drive.system).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn without_udev_the_kernels_own_words_serve() {
    let words = BTreeMap::from([("serial", "FELHOM-1".to_owned()), ("model", "QEMU NVMe Ctrl".to_owned())]);
    let bare = BlockDevice { kernel_words: words, ..device("nvme0n1", &[]) };
    let told = device("nvme0n1", &[("ID_SERIAL_SHORT", "FELHOM-1"), ("ID_MODEL", "QEMU NVMe Ctrl")]);
    let (bare, told) = (detect(&[bare]), detect(&[told]));
    assert_eq!(bare[0].durable_id, told[0].durable_id);
    assert_eq!(bare[0].kind, "nvme");
}

proptest! {
    /// Whatever drives say of themselves, no identity is given twice, and the order they are found in changes nothing.
    #[test]
    fn no_identity_is_given_twice(serials in proptest::collection::vec("[A-B]{1,2}|unknown|0000", 0..8)) {
        let devices: Vec<_> = serials.iter().enumerate().map(|(at, serial)| disk(&format!("sd{at}"), serial)).collect();
        let drives = detect(&devices);
        let mut given: Vec<_> = drives.iter().filter_map(|drive| drive.durable_id.clone()).collect();
        let all = given.len();
        given.sort();
        given.dedup();
        prop_assert_eq!(all, given.len());
        let backwards: Vec<_> = devices.into_iter().rev().collect();
        let mut again = detect(&backwards);
        again.reverse();
        prop_assert_eq!(drives.iter().map(|drive| &drive.durable_id).collect::<Vec<_>>(),
                        again.iter().map(|drive| &drive.durable_id).collect::<Vec<_>>());
        prop_assert!(drives.iter().all(|drive| drive.durable_id.is_some() == drive.problems.is_empty()));
    }
}
