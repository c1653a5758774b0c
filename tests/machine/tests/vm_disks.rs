//! Real disks in a real kernel: they appear with their serials, and vanish.

use std::fs::File;
use std::time::Duration;

use felhom_machine::Machine;

const PATIENCE: Duration = Duration::from_secs(60);
const GIB: u64 = 1 << 30;

#[test]
fn disks_with_serials_appear_and_vanish() {
    let machine = Machine::vm("disks_with_serials_appear_and_vanish");
    let hardware = machine.hardware();
    let content = hardware.folder().join("drive.raw");
    let file = File::create(&content).and_then(|file| file.set_len(GIB));
    file.expect("the machine's folder can be written");

    hardware.plug(0, "WD-WX11A", &content);
    let link = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_WD-WX11A";
    machine.eventually("udev names the drive by its serial", PATIENCE, &format!("test -b {link}"));
    assert_eq!(machine.sh(&format!("blockdev --getsize64 {link}")).trim(), GIB.to_string());
    machine.sh(&format!("mkfs.ext4 -q -L backup {link} && mkdir -p /mnt/b && mount {link} /mnt/b && echo kept > /mnt/b/f && umount /mnt/b"));

    hardware.pull(0);
    machine.eventually("the drive's name goes with it", PATIENCE, &format!("! test -e {link}"));

    // In another slot and under another device name it is still the same drive.
    hardware.plug(2, "WD-WX11A", &content);
    machine.eventually("it is back", PATIENCE, &format!("test -b {link}"));
    assert_eq!(machine.sh(&format!("mount {link} /mnt/b && cat /mnt/b/f")).trim(), "kept");
}
