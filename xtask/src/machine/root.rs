//! A Debian root, as a folder for containers and as a disk for VMs. Made again only when its recipe changes.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Suite, zfs};
use crate::Failed;
use crate::process::must;

/// A Debian with systemd and a kernel. Beyond that: what makes disks and hides what is on them (a Proxmox host has LVM),
/// what loses packets (nftables), what looks into databases (sqlite3), and what a VM is spoken to by (qemu-guest-agent).
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,linux-image-cloud-amd64,initramfs-tools,zstd,kmod,\
    apt,ca-certificates,init-system-helpers,procps,util-linux,util-linux-extra,iproute2,tzdata,\
    e2fsprogs,xfsprogs,gdisk,lvm2,cryptsetup-bin,nftables,sqlite3,qemu-guest-agent";
/// Debian's initial RAM disk for a cloud kernel lacks the drivers of our disks and of the guest agent's port.
const MODULES: &str = "printf '%s\\n' virtio_pci virtio_blk virtio_console nvme";
/// The payload is mounted when a test begins: a sleeping VM must not remember an older one.
const FSTAB: &str = "LABEL=root / ext4 defaults 0 1\\nLABEL=payload /opt/felhom ext4 ro,noauto 0 0\\n";
/// A VM's only card. It is asked for by name, because this root's first boot is none to systemd: no preset is applied.
const NETWORK: &str = "[Match]\\nType=ether\\n[Network]\\nDHCP=ipv4\\n";
/// A container's cards belong to the test that made them.
const NETWORK_IN_VM: &str = "[Unit]\\nConditionVirtualization=!container\\n";
/// What wakes up on its own would disturb measurements and tests. ZFS is loaded by whoever uses it: a container cannot.
const ASLEEP: &str = "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer \
    systemd-networkd-wait-online zfs-load-module.service";
const DISK: &str = "3G";

/// Makes the root unless it is there.
pub(super) fn make(suite: Suite, with_zfs: bool, folder: &Path) -> Result<(), Failed> {
    let zfs = if with_zfs { zfs::TOOLS } else { "" };
    let recipe =
        format!("{suite:?} {zfs} {PACKAGES} {MODULES} {FSTAB} {NETWORK} {NETWORK_IN_VM} {ASLEEP} {DISK}");
    let made = folder.join("root.made");
    if fs::read_to_string(&made).is_ok_and(|text| text == recipe) {
        return Ok(());
    }
    println!("making a Debian {} root; it is kept", suite.name());
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| Failed::File { path, source }
    };
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(file(folder))?;
    }
    fs::create_dir_all(folder).map_err(file(folder))?;
    let root = folder.join("root");
    let modules = format!(
        "mkdir -p \"$1/usr/share/initramfs-tools/modules.d\" && {MODULES} > \"$1/usr/share/initramfs-tools/modules.d/felhom\""
    );
    let settle = format!(
        "printf '{FSTAB}' > \"$1/etc/fstab\" && printf '{NETWORK}' > \"$1/etc/systemd/network/10-card.network\" \
         && mkdir -p \"$1/etc/systemd/system/systemd-networkd.service.d\" \
         && printf '{NETWORK_IN_VM}' > \"$1/etc/systemd/system/systemd-networkd.service.d/vm.conf\" \
         && chroot \"$1\" systemctl --quiet enable systemd-networkd \
         && mkdir -p \"$1/opt/felhom\" && chroot \"$1\" systemctl --quiet mask {ASLEEP} \
         && echo box > \"$1/etc/hostname\" && echo 127.0.0.1 localhost box > \"$1/etc/hosts\""
    );
    let bootstrap = |zfs_modules: Option<&Path>| {
        // Of a try that came to nothing.
        if root.exists() {
            fs::remove_dir_all(&root).map_err(file(&root))?;
        }
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=minbase", "--components=main,contrib"]);
        mmdebstrap.arg(format!("--include={PACKAGES}"));
        mmdebstrap.arg(format!("--setup-hook={modules}")).arg(format!("--customize-hook={settle}"));
        if let Some(modules) = zfs_modules {
            mmdebstrap.arg(format!("--include={}", zfs::TOOLS));
            mmdebstrap.arg(format!("--customize-hook={}", zfs::hook(modules)));
        }
        must(mmdebstrap.arg(suite.name()).arg(&root))
    };
    if with_zfs {
        zfs::with_modules(suite, folder, |modules| bootstrap(Some(modules)))?;
    } else {
        bootstrap(None)?;
    }
    disk(&root, "root", DISK, &folder.join("root.ext4"))?;
    fs::write(&made, recipe).map_err(file(&made))
}

/// A file system of a folder's files.
pub(super) fn disk(from: &Path, label: &str, size: &str, image: &Path) -> Result<(), Failed> {
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-L", label, "-d"]).arg(from).arg(image).arg(size);
    must(&mut mke2fs)
}
