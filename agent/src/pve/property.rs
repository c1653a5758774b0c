//! PVE's property strings (`virtio=AA:BB…,bridge=vmbr0`) and comparison of values by meaning.
//!
//! PVE reorders, re-spells and completes what it is given, so comparing texts reports drift for ever. This module
//! knows for each kind of value which spellings mean the same and which defaults may be left out. It never guesses:
//! what it cannot parse is compared as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use felhom_shared::desired::GuestKind;

use super::lenient::parse_bool;

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
    fn rules(self) -> Option<&'static Rules> {
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
struct Rules {
    /// The key of a value written without one.
    default_key: Option<&'static str>,
    /// Keys whose values are on or off.
    booleans: &'static [&'static str],
    /// Keys whose values are the same in any case.
    any_case: &'static [&'static str],
    /// Keys whose values are `;`-separated sets.
    sets: &'static [&'static str],
    /// Values that mean the same as leaving the key out.
    defaults: &'static [(&'static str, &'static str)],
    /// Keys that PVE adds when they are left out, each time anew.
    filled_in: &'static [&'static str],
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

/// Cards that QEMU's `netN` may name in place of `model=`, with the MAC as value.
const QEMU_NET_MODELS: [&str; 16] = [
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
    "igb",
    "i82550",
];

/// A parsed property string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyString {
    default_key: Option<&'static str>,
    values: BTreeMap<String, String>,
}

/// A text that is no property string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a property string: {reason}")]
pub struct InvalidProperty {
    text: String,
    reason: &'static str,
}

impl PropertyString {
    /// Parses `value,key=value,…`; a part without `=` is the value of `default_key`.
    pub fn parse(default_key: Option<&'static str>, text: &str) -> Result<Self, InvalidProperty> {
        let refuse = |reason| InvalidProperty { text: text.to_owned(), reason };
        let mut values = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = match part.split_once('=') {
                Some(pair) => pair,
                None => (default_key.ok_or_else(|| refuse("a value has no key"))?, part),
            };
            if values.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(refuse("a key comes twice"));
            }
        }
        Ok(Self { default_key, values })
    }

    /// Parses a value of a known kind. QEMU's `virtio=MAC` becomes `model` and `macaddr`.
    pub fn of_kind(kind: PropertyKind, text: &str) -> Result<Self, InvalidProperty> {
        let refuse = |reason| InvalidProperty { text: text.to_owned(), reason };
        let rules = kind.rules().ok_or_else(|| refuse("this key holds a plain value"))?;
        let mut parsed = Self::parse(rules.default_key, text)?;
        if kind == PropertyKind::QemuNet
            && let Some(model) = QEMU_NET_MODELS.iter().find(|model| parsed.values.contains_key(**model))
        {
            let mac = parsed.values.remove(*model).unwrap_or_default();
            let model_twice = parsed.values.insert("model".to_owned(), (*model).to_owned()).is_some();
            let mac_twice = parsed.values.insert("macaddr".to_owned(), mac).is_some();
            if model_twice || mac_twice {
                return Err(refuse("the card is named twice"));
            }
        }
        Ok(parsed)
    }

    /// A property's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether a property is on; `None` when absent or no boolean.
    #[must_use]
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(parse_bool)
    }

    /// The property `size` in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.get("size").and_then(size_bytes)
    }

    /// Sets a property.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    /// Removes a property.
    pub fn remove(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// All properties in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Takes over from `current` what PVE would otherwise make up anew (a card's MAC address).
    pub fn keep_filled_in(&mut self, current: &Self, kind: PropertyKind) {
        for key in kind.rules().map_or(&[][..], |rules| rules.filled_in) {
            if let (None, Some(value)) = (self.get(key), current.get(key)) {
                self.set(*key, value);
            }
        }
    }

    /// One form for all spellings of a meaning. For comparing, never for sending.
    fn canonical(mut self, rules: &Rules) -> BTreeMap<String, String> {
        for (key, value) in &mut self.values {
            let key = key.as_str();
            if rules.booleans.contains(&key) {
                if let Some(flag) = parse_bool(value) {
                    *value = u8::from(flag).to_string();
                }
            } else if rules.any_case.contains(&key) {
                value.make_ascii_lowercase();
            } else if rules.sets.contains(&key) {
                *value = value.split(';').collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(";");
            } else if key == "size"
                && let Some(bytes) = size_bytes(value)
            {
                *value = bytes.to_string();
            }
        }
        self.values.retain(|key, value| !rules.defaults.contains(&(key.as_str(), value.as_str())));
        self.values
    }
}

/// The value of the default key first and bare, then the rest by name, as PVE writes it.
impl fmt::Display for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(value) = self.default_key.and_then(|key| self.get(key)) {
            f.write_str(value)?;
            separator = ",";
        }
        for (key, value) in self.iter().filter(|(key, _)| Some(*key) != self.default_key) {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Whether two values of a configuration key mean the same.
#[must_use]
pub fn same_meaning(a: &str, b: &str, kind: PropertyKind) -> bool {
    if a == b {
        return true;
    }
    match kind {
        PropertyKind::Tags => tag_set(a) == tag_set(b),
        PropertyKind::Description => a.trim_end() == b.trim_end(),
        PropertyKind::Boolean => {
            let flag = |text: &str| if text.is_empty() { Some(false) } else { parse_bool(text) };
            flag(a).is_some_and(|a| flag(b) == Some(a))
        }
        PropertyKind::Number => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
        _ => match (canonical(a, kind), canonical(b, kind)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

/// Whether `current` is what `wanted` asks for, when what PVE fills in by itself (MAC address, size) and `wanted`
/// leaves open is set aside.
#[must_use]
pub fn satisfies(current: &str, wanted: &str, kind: PropertyKind) -> bool {
    let (Some(rules), Some(mut has), Some(wants)) =
        (kind.rules(), canonical(current, kind), canonical(wanted, kind))
    else {
        return same_meaning(current, wanted, kind);
    };
    has.retain(|key, _| wants.contains_key(key) || !rules.filled_in.contains(&key.as_str()));
    has == wants
}

fn canonical(text: &str, kind: PropertyKind) -> Option<BTreeMap<String, String>> {
    Some(PropertyString::of_kind(kind, text).ok()?.canonical(kind.rules()?))
}

/// The tags in a text, separated by `;`, `,` or white space, in lower case as PVE keeps them.
#[must_use]
pub fn tag_set(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c == ';' || c == ',' || c.is_whitespace())
        .filter(|tag| !tag.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// A size with PVE's units, which are powers of 1024: `8G`, `1.5T`, `512`. `None` if it is none or too large.
#[must_use]
pub fn size_bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    // Nine digits after the point tell bytes of a gigabyte apart; more would only overflow.
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = whole.parse::<u64>().ok().map(u128::from)? * scale + fraction.parse::<u128>().ok()?;
    u64::try_from((scaled << shift) / scale).ok()
}

/// A size in the largest unit that expresses it exactly, as PVE writes it.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    [(40, "T"), (30, "G"), (20, "M"), (10, "K")]
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests;
