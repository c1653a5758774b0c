//! From bytes to a [`DesiredState`] that makes sense, or a refusal that says where and why.
//!
//! Types reject what has the wrong form; [`DesiredState::check`] rejects what contradicts itself. Both run on
//! the hub before publishing and again on the box, which trusts neither.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{
    Checksum, DESIRED_VERSION, DesiredState, GuestKind, GuestSpec, MountSource, Source, Uplink, Window,
};
use super::{storage, tunnel};
use crate::limits::{CORES_MAX, DESIRED_BYTES_MAX, GUESTS_MAX, MEMORY_MIB_MAX, VOLUME_GIB_MAX};

/// Why a document is not a desired state. [`DesiredError::code`] is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    /// More than [`DESIRED_BYTES_MAX`].
    #[error("the document has {bytes} bytes, more than the {DESIRED_BYTES_MAX} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A field that this version does not know.
    #[error("{text}")]
    UnknownField {
        /// Where, and which fields exist.
        text: String,
    },
    /// Not JSON, or not of the right form.
    #[error("{text}")]
    Malformed {
        /// Where and what.
        text: String,
    },
    /// Well-formed, but it contradicts itself or a limit.
    #[error("{at}: {reason}")]
    Invalid {
        /// The part of the document, e.g. `guests[web].memory_mib`.
        at: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl DesiredError {
    /// The stable word for reports and responses.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "desired_too_large",
            Self::UnknownField { .. } => "desired_unknown_field",
            Self::Malformed { .. } => "desired_malformed",
            Self::Invalid { .. } => "desired_invalid",
        }
    }
}

/// SHA-256 of a document's bytes as transported, lower-case hex: two documents are the same only if this is.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

impl DesiredState {
    /// Reads and checks a document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DesiredError> {
        if bytes.len() > DESIRED_BYTES_MAX {
            return Err(DesiredError::TooLarge { bytes: bytes.len() });
        }
        let state: Self = serde_json::from_slice(bytes).map_err(|error| {
            let text = error.to_string();
            if text.starts_with("unknown field") || text.starts_with("unknown variant") {
                DesiredError::UnknownField { text }
            } else {
                DesiredError::Malformed { text }
            }
        })?;
        state.check()?;
        Ok(state)
    }

    /// Refuses what no host could be made into: twins, contradictions, values beyond the limits.
    pub fn check(&self) -> Result<(), DesiredError> {
        if self.version != DESIRED_VERSION {
            return invalid(
                "version",
                format!("it is {}, this program reads {DESIRED_VERSION}", self.version),
            );
        }
        if self.guests.len() > GUESTS_MAX {
            return invalid(
                "guests",
                format!("{} guests, at most {GUESTS_MAX} are allowed", self.guests.len()),
            );
        }
        if let Some(window) = &self.maintenance_window {
            check_window("maintenance_window", window)?;
        }
        let (mut ids, mut vmids, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for guest in &self.guests {
            let at = format!("guests[{}]", guest.name);
            if !ids.insert(guest.guest_id) {
                return invalid(format!("{at}.guest_id"), "two guests have this guest_id");
            }
            if !vmids.insert(guest.vmid) {
                return invalid(format!("{at}.vmid"), format!("two guests have vmid {}", guest.vmid));
            }
            if !names.insert(guest.name.as_str().to_ascii_lowercase()) {
                return invalid(format!("{at}.name"), "two guests have this name");
            }
            check_guest(&at, guest)?;
        }
        storage::check(&self.storage)?;
        tunnel::check(self.tunnel.as_ref())
    }
}

pub(super) fn invalid<T>(at: impl Into<String>, reason: impl Into<String>) -> Result<T, DesiredError> {
    Err(DesiredError::Invalid { at: at.into(), reason: reason.into() })
}

fn check_window(at: &str, window: &Window) -> Result<(), DesiredError> {
    if !(1..=1440).contains(&window.minutes) {
        return invalid(format!("{at}.minutes"), "it must be 1 to 1440");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    if window.timezone.is_empty() || !window.timezone.chars().all(plain) {
        return invalid(format!("{at}.timezone"), "it must be an IANA name such as Europe/Budapest");
    }
    Ok(())
}

fn check_guest(at: &str, guest: &GuestSpec) -> Result<(), DesiredError> {
    if !(1..=CORES_MAX).contains(&guest.cores) {
        return invalid(format!("{at}.cores"), format!("it must be 1 to {CORES_MAX}"));
    }
    if !(16..=MEMORY_MIB_MAX).contains(&guest.memory_mib) {
        return invalid(format!("{at}.memory_mib"), format!("it must be 16 to {MEMORY_MIB_MAX}"));
    }
    if let Some(window) = &guest.maintenance_window {
        check_window(&format!("{at}.maintenance_window"), window)?;
    }
    let described = guest.description.as_deref().unwrap_or_default();
    if described.len() > 8192 || described.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return invalid(format!("{at}.description"), "at most 8192 bytes and no control characters");
    }
    check_uplink(at, guest)?;
    check_kind(at, guest)?;
    check_source(at, guest)?;
    check_disks(at, guest)?;
    check_networks(at, guest)
}

/// A time too short would take back what only needs to boot.
fn check_uplink(at: &str, guest: &GuestSpec) -> Result<(), DesiredError> {
    let seconds = guest.uplink.as_ref().map(|uplink| uplink.revert_after_s);
    if seconds.is_some_and(|seconds| !Uplink::BOUNDS_S.contains(&seconds)) {
        return invalid(format!("{at}.uplink.revert_after_s"), "it must be 60 to 1800");
    }
    Ok(())
}

fn check_kind(at: &str, guest: &GuestSpec) -> Result<(), DesiredError> {
    match guest.kind {
        GuestKind::Lxc => {
            if !guest.disks.contains_key("rootfs") || guest.disks.len() != 1 {
                return invalid(format!("{at}.disks"), "a container has exactly one disk, `rootfs`");
            }
        }
        GuestKind::Qemu => {
            for (set, field) in [
                (guest.swap_mib.is_some(), "swap_mib"),
                (!guest.mounts.is_empty(), "mounts"),
                (guest.features.is_some(), "features"),
                (!guest.unprivileged, "unprivileged"),
            ] {
                if set {
                    return invalid(format!("{at}.{field}"), "only containers have this");
                }
            }
        }
    }
    Ok(())
}

fn check_source(at: &str, guest: &GuestSpec) -> Result<(), DesiredError> {
    let (url, checksum) = match (&guest.source, guest.kind) {
        (Source::Template(file), GuestKind::Lxc) | (Source::Image(file), GuestKind::Qemu) => {
            (&file.url, &file.checksum)
        }
        (Source::Clone(clone), _) if clone.vmid == guest.vmid => {
            return invalid(format!("{at}.source.clone.vmid"), "a guest cannot be cloned from itself");
        }
        (Source::Clone(_), _) => return Ok(()),
        (Source::Template(_), GuestKind::Qemu) => {
            return invalid(format!("{at}.source"), "a virtual machine is made from `image` or `clone`");
        }
        (Source::Image(_), GuestKind::Lxc) => {
            return invalid(format!("{at}.source"), "a container is made from `template` or `clone`");
        }
    };
    match (url, checksum) {
        (Some(_), None) => invalid(format!("{at}.source"), "a `url` needs a `checksum` beside it"),
        (Some(url), Some(_)) if !url.starts_with("https://") && !url.starts_with("http://") => {
            invalid(format!("{at}.source.url"), "it must be an http or https address")
        }
        (_, Some(checksum)) => check_checksum(at, checksum),
        (None, None) => Ok(()),
    }
}

fn check_checksum(at: &str, checksum: &Checksum) -> Result<(), DesiredError> {
    let digits = checksum.algorithm.hex_digits();
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if checksum.value.len() == digits && checksum.value.chars().all(hex) {
        return Ok(());
    }
    invalid(
        format!("{at}.source.checksum"),
        format!("{} has {digits} lower-case hex digits", checksum.algorithm.as_str()),
    )
}

fn check_disks(at: &str, guest: &GuestSpec) -> Result<(), DesiredError> {
    let qemu_slot = |slot: &str| ["scsi", "virtio", "sata", "ide"].iter().any(|bus| numbered(slot, bus, 30));
    if guest.disks.is_empty() {
        return invalid(format!("{at}.disks"), "a guest needs a disk");
    }
    for (slot, disk) in &guest.disks {
        if guest.kind == GuestKind::Qemu && !qemu_slot(slot) {
            return invalid(format!("{at}.disks.{slot}"), "not a disk key such as scsi0 or virtio1");
        }
        check_size(&format!("{at}.disks.{slot}"), disk.size_gib)?;
    }
    for (slot, mount) in &guest.mounts {
        let at = format!("{at}.mounts.{slot}");
        if !numbered(slot, "mp", 255) {
            return invalid(at, "not a mount point key such as mp0");
        }
        check_path(&format!("{at}.path"), &mount.path)?;
        match &mount.source {
            MountSource::Volume(disk) => check_size(&at, disk.size_gib)?,
            MountSource::Bind(path) => check_path(&format!("{at}.source.bind"), path)?,
        }
    }
    Ok(())
}

fn check_size(at: &str, size_gib: u32) -> Result<(), DesiredError> {
    if (1..=VOLUME_GIB_MAX).contains(&size_gib) {
        return Ok(());
    }
    invalid(format!("{at}.size_gib"), format!("it must be 1 to {VOLUME_GIB_MAX}"))
}

fn check_path(at: &str, path: &str) -> Result<(), DesiredError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    let climbs = path.split('/').any(|part| part == "..");
    if path.starts_with('/') && path.len() > 1 && !climbs && path.chars().all(plain) {
        return Ok(());
    }
    invalid(at, "it must be an absolute path of letters, digits, '-', '_' and '.', without '..'")
}

fn check_networks(at: &str, guest: &GuestSpec) -> Result<(), DesiredError> {
    for (slot, network) in &guest.networks {
        let at = format!("{at}.networks.{slot}");
        if !numbered(slot, "net", 31) {
            return invalid(at, "not a network key such as net0");
        }
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= 15
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !word(&network.bridge) {
            return invalid(format!("{at}.bridge"), "not an interface name");
        }
        if network.name.as_deref().is_some_and(|name| !word(name)) {
            return invalid(format!("{at}.name"), "not an interface name");
        }
        if network.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return invalid(format!("{at}.vlan"), "it must be 1 to 4094");
        }
        if network.ip.as_deref().is_some_and(|ip| !is_ip_setting(ip)) {
            return invalid(
                format!("{at}.ip"),
                "it must be `dhcp`, `manual` or an address such as 192.0.2.7/24",
            );
        }
        if network.mac.as_deref().is_some_and(|mac| !is_mac(mac)) {
            return invalid(
                format!("{at}.mac"),
                "it must look like BC:24:11:00:00:01, and not be a multicast address",
            );
        }
        if guest.kind == GuestKind::Qemu && (network.ip.is_some() || network.gateway.is_some()) {
            return invalid(format!("{at}.ip"), "only containers get their address from here");
        }
    }
    Ok(())
}

fn numbered(key: &str, prefix: &str, max: u32) -> bool {
    let Some(digits) = key.strip_prefix(prefix) else { return false };
    let canonical = digits == "0" || !digits.starts_with('0');
    canonical
        && digits.parse::<u32>().is_ok_and(|number| number <= max)
        && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_ip_setting(text: &str) -> bool {
    if text == "dhcp" || text == "manual" {
        return true;
    }
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(prefix)) = (address.parse::<std::net::Ipv4Addr>(), prefix.parse::<u8>()) else {
        return false;
    };
    !address.is_unspecified() && (1..=32).contains(&prefix)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let byte = |part: &&str| {
        part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
    };
    parts.len() == 6
        && parts.iter().all(byte)
        && u8::from_str_radix(parts[0], 16).is_ok_and(|first| first & 1 == 0)
}
