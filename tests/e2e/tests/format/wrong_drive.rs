//! The word is right, and the drive is another one, or not as it was.

use fake_pve::{Drive, Part};
use felhom_agent::host::command::Answer;
use felhom_agent::host::format::filesystem_uuid;
use felhom_shared::signed::OpId;

use crate::ground::{Ground, meant};

#[test]
fn the_drive_that_was_signed_for_is_formatted_wherever_it_is_plugged_in() {
    let ground = Ground::new();
    let envelope = ground.keyring.sign(&ground.op());
    // Swapped by name with the other one between signing and action: a name is nothing.
    ground.edit(|drives| {
        let [one, other] = [drives[1].name.clone(), drives[2].name.clone()];
        (drives[1].name, drives[2].name) = (other, one);
    });
    let other = ground.control().drives()[2].clone();
    assert_eq!(ground.format(&envelope), Ok(Answer::Done));
    let drives = ground.control().drives();
    let uuid = filesystem_uuid(&OpId::of(envelope.as_bytes())).to_string();
    assert_eq!((drives[1].parts.len(), drives[1].parts[0].uuid.as_str()), (1, uuid.as_str()));
    assert_eq!(drives[2], other);
    // Data is written on it, and somebody asks again.
    ground.refuses(&envelope, "expect_mismatch", "the same signature again");
}

#[test]
fn a_signature_formats_once_also_when_the_drive_is_put_back_as_it_was() {
    let ground = Ground::new();
    let envelope = ground.keyring.sign(&ground.op());
    let before = ground.control().drives();
    assert_eq!(ground.format(&envelope), Ok(Answer::Done));
    ground.control().set_drives(&before).unwrap();
    ground.refuses(
        &envelope,
        "replayed",
        "the drive is byte for byte what was signed for, and the signature is used",
    );
}

type Change = fn(&mut Vec<Drive>);

/// Between the signature and the action the drive, or what is on it, becomes another.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn wrong_drive_whatever_changed_since_the_signature() {
    let part = |format: &str| Part {
        size_bytes: 1 << 40,
        format: format.to_owned(),
        uuid: "11111111-2222-4333-8444-555555555555".to_owned(),
        label: String::new(),
        mounted_at: None,
        held_by: None,
        partition: String::new(),
    };
    let ways: [(&str, Change, &str); 15] = [
        (
            "it was pulled, and another is at its place",
            |drives| {
                let name = drives.remove(1).name;
                drives[1].name = name;
            },
            "drive_not_found",
        ),
        (
            "another with the same serial number came",
            |drives| {
                let twin = Drive { name: "sdz".to_owned(), ..meant(drives).clone() };
                drives.push(twin);
            },
            "drive_not_found",
        ),
        (
            "its serial number is another: a bridge",
            |drives| meant(drives).serial = "WX41A23P8".to_owned(),
            "drive_not_found",
        ),
        (
            "its serial number is a placeholder",
            |drives| meant(drives).serial = "000000000000".to_owned(),
            "drive_not_found",
        ),
        ("its size is another", |drives| meant(drives).size_bytes -= 512, "drive_not_found"),
        (
            "its model is another",
            |drives| meant(drives).model = "Elements_25A4".to_owned(),
            "drive_not_found",
        ),
        (
            "its world-wide name is another",
            |drives| meant(drives).wwn = Some("0x50014ee2".to_owned()),
            "drive_not_found",
        ),
        (
            "it was formatted meanwhile",
            |drives| meant(drives).parts[0].uuid = "22222222-2222-4333-8444-555555555555".to_owned(),
            "expect_mismatch",
        ),
        (
            "its partition table changed",
            |drives| meant(drives).parts[0].size_bytes -= 1 << 20,
            "expect_mismatch",
        ),
        (
            "a partition was added",
            |drives| {
                let more = Part {
                    uuid: "33333333-2222-4333-8444-555555555555".to_owned(),
                    ..meant(drives).parts[0].clone()
                };
                meant(drives).parts.push(more);
            },
            "expect_mismatch",
        ),
        (
            "its file system got a name",
            |drives| meant(drives).parts[0].label = "wedding".to_owned(),
            "expect_mismatch",
        ),
        (
            "it was mounted",
            |drives| meant(drives).parts[0].mounted_at = Some("/srv".to_owned()),
            "drive_mounted",
        ),
        (
            "it belongs to a volume group that is active",
            |drives| meant(drives).parts[0].held_by = Some("vg-data".to_owned()),
            "drive_held",
        ),
        (
            "the box runs from it now",
            |drives| meant(drives).parts[0].mounted_at = Some("/".to_owned()),
            "drive_of_the_system",
        ),
        ("nobody may write to it", |drives| meant(drives).read_only = true, "drive_read_only"),
    ];
    for (what, change, code) in ways {
        let ground = Ground::new();
        let envelope = ground.keyring.sign(&ground.op());
        ground.edit(change);
        ground.refuses(&envelope, code, what);
    }
    // What looks unused and is not, also where somebody signed for it as it is.
    for woven in ["zfs_member", "LVM2_member", "crypto_LUKS", "linux_raid_member", "bcache", "btrfs"] {
        let ground = Ground::new();
        ground.edit(|drives| meant(drives).parts = vec![part(woven)]);
        let envelope = ground.keyring.sign(&ground.op());
        ground.refuses(&envelope, "drive_woven", woven);
    }
}
