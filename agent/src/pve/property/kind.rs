//! Which key holds what sort of value, and what may be spelled how. Tables only; `property` applies them.

use felhom_shared::desired::GuestKind;

/// What sort of value a configuration key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyKind {
    /// A container's `netN`.
    LxcNet,
    /// A container's `rootfs` or `mpN`.
    LxcVolume,
    /// A container's `features`.
    LxcFeatures,
    /// A virtual machine's `netN`.
    QemuNet,
    /// A virtual machine's disk, CD drive, EFI or TPM state.
    QemuDrive,
    /// A virtual machine's `agent`.
    QemuAgent,
    /// `startup`.
    Startup,
    /// Any other list of `key=value`.
    Properties,
    /// `tags`: a set, in any case and with any separator.
    Tags,
    /// `description`: PVE appends a newline.
    Description,
    /// On or off; absent is off.
    Boolean,
    /// A number; `1` and `1.0` are the same.
    Number,
    /// Anything else: the text itself.
    Text,
}

impl PropertyKind {
    /// The kind of a configuration key.
    #[must_use]
    pub fn of(guest: GuestKind, key: &str) -> Self {
        let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
        let numbered = stem.len() < key.len();
        match (guest, stem) {
            (GuestKind::Lxc, "net") if numbered => Self::LxcNet,
            (GuestKind::Lxc, "mp" | "unused") if numbered => Self::LxcVolume,
            (GuestKind::Lxc, "rootfs") => Self::LxcVolume,
            (GuestKind::Lxc, "features") => Self::LxcFeatures,
            (GuestKind::Qemu, "net") if numbered => Self::QemuNet,
            (GuestKind::Qemu, "scsi" | "virtio" | "sata" | "ide" | "efidisk" | "tpmstate" | "unused")
                if numbered =>
            {
                Self::QemuDrive
            }
            (GuestKind::Qemu, "agent") => Self::QemuAgent,
            (GuestKind::Qemu, "ipconfig") if numbered => Self::Properties,
            (GuestKind::Qemu, "boot") => Self::Properties,
            (_, "startup") => Self::Startup,
            (_, "tags") => Self::Tags,
            (_, "description") => Self::Description,
            (_, "onboot" | "protection" | "template" | "unprivileged" | "numa") => Self::Boolean,
            (_, "cores" | "sockets" | "memory" | "balloon" | "swap" | "cpulimit" | "cpuunits") => {
                Self::Number
            }
            _ => Self::Text,
        }
    }

    /// `None` for what is not a property string.
    pub(super) fn rules(self) -> Option<&'static Rules> {
        match self {
            Self::LxcNet => Some(&LXC_NET),
            Self::LxcVolume => Some(&LXC_VOLUME),
            Self::LxcFeatures => Some(&LXC_FEATURES),
            Self::QemuNet => Some(&QEMU_NET),
            Self::QemuDrive => Some(&QEMU_DRIVE),
            Self::QemuAgent => Some(&QEMU_AGENT),
            Self::Startup => Some(&STARTUP),
            Self::Properties => Some(&Rules::NONE),
            Self::Tags | Self::Description | Self::Boolean | Self::Number | Self::Text => None,
        }
    }
}

/// How a property string of one kind is read.
pub(super) struct Rules {
    /// The key of a value written without one.
    pub(super) default_key: Option<&'static str>,
    /// Keys whose values are on or off.
    pub(super) booleans: &'static [&'static str],
    /// Keys whose values are the same in any case.
    pub(super) any_case: &'static [&'static str],
    /// Keys whose values are `;`-separated sets.
    pub(super) sets: &'static [&'static str],
    /// Values that mean the same as leaving the key out.
    pub(super) defaults: &'static [(&'static str, &'static str)],
    /// Keys that PVE adds when they are left out, each time anew.
    pub(super) filled_in: &'static [&'static str],
}

impl Rules {
    const NONE: Self =
        Self { default_key: None, booleans: &[], any_case: &[], sets: &[], defaults: &[], filled_in: &[] };
}

const LXC_NET: Rules = Rules {
    booleans: &["firewall", "link_down", "host-managed"],
    any_case: &["hwaddr", "ip6", "gw6"],
    sets: &["trunks"],
    defaults: &[
        ("firewall", "0"),
        ("link_down", "0"),
        ("host-managed", "0"),
        ("type", "veth"),
        ("ip", "manual"),
        ("ip6", "manual"),
    ],
    filled_in: &["hwaddr"],
    ..Rules::NONE
};

const LXC_VOLUME: Rules = Rules {
    default_key: Some("volume"),
    booleans: &["acl", "backup", "quota", "replicate", "ro", "shared"],
    sets: &["mountoptions"],
    defaults: &[("backup", "0"), ("quota", "0"), ("replicate", "1"), ("ro", "0"), ("shared", "0")],
    filled_in: &["size"],
    ..Rules::NONE
};

const LXC_FEATURES: Rules = Rules {
    booleans: &["nesting", "keyctl", "fuse", "mknod", "force_rw_sys"],
    sets: &["mount"],
    defaults: &[("nesting", "0"), ("keyctl", "0"), ("fuse", "0"), ("mknod", "0"), ("force_rw_sys", "0")],
    ..Rules::NONE
};

const QEMU_NET: Rules = Rules {
    default_key: Some("model"),
    booleans: &["firewall", "link_down"],
    any_case: &["macaddr"],
    sets: &["trunks"],
    defaults: &[("firewall", "0"), ("link_down", "0")],
    filled_in: &["macaddr"],
};

const QEMU_DRIVE: Rules = Rules {
    default_key: Some("file"),
    booleans: &["backup", "iothread", "replicate", "ro", "shared", "snapshot", "ssd"],
    defaults: &[
        ("backup", "1"),
        ("discard", "ignore"),
        ("iothread", "0"),
        ("media", "disk"),
        ("replicate", "1"),
        ("ro", "0"),
        ("shared", "0"),
        ("ssd", "0"),
    ],
    filled_in: &["size"],
    ..Rules::NONE
};

const QEMU_AGENT: Rules = Rules {
    default_key: Some("enabled"),
    booleans: &["enabled", "fstrim_cloned_disks", "freeze-fs-on-backup"],
    defaults: &[
        ("enabled", "0"),
        ("fstrim_cloned_disks", "0"),
        ("freeze-fs-on-backup", "1"),
        ("type", "virtio"),
    ],
    ..Rules::NONE
};

const STARTUP: Rules = Rules { default_key: Some("order"), ..Rules::NONE };
