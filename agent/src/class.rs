//! Which steps need a signature. The agent's own table: what the hub says of a step does not count.
//!
//! Exhaustive on purpose: a new step does not compile until somebody has decided its class here. And closed: a
//! parameter that the table does not know makes its step guarded, whatever the planner meant by it.

use std::collections::BTreeMap;

use felhom_shared::report::Class;

use crate::step::Step;

/// The class of a step.
#[must_use]
pub fn class_of(step: &Step) -> Class {
    let routine = match step {
        Step::FetchFile(_)
        | Step::GrowDisk(_)
        // It removes what never was a guest: see resources/guest/unfinished.rs for who says so.
        | Step::ClearUnfinished(_)
        | Step::StartGuest
        | Step::ShutdownGuest { .. }
        | Step::RebootGuest { .. } => true,
        Step::CreateGuest(create) => are_routine(&create.params),
        Step::CloneGuest(clone) => are_routine(&clone.params),
        Step::SetConfig(config) => {
            are_routine(&config.set) && config.delete.iter().all(|key| is_routine_to_delete(key))
        }
        Step::Storage(step) => return step.class(),
        Step::Tunnel(step) => return step.class(),
        Step::DestroyGuest(_) | Step::RollbackGuest(_) | Step::RestoreGuest(_) => false,
    };
    if routine { Class::Routine } else { Class::Guarded }
}

fn are_routine(params: &BTreeMap<String, String>) -> bool {
    params.iter().all(|(key, value)| is_routine(key, value))
}

/// Keys by which nothing is lost and no wall falls.
const PLAIN: [&str; 21] = [
    "agent",
    "boot",
    "cores",
    "description",
    "full",
    "hostname",
    "memory",
    "name",
    "nameserver",
    "onboot",
    "ostemplate",
    "ostype",
    "scsihw",
    "searchdomain",
    "start",
    "startup",
    "storage",
    "swap",
    "tags",
    "timezone",
    "vmid",
];

/// Direction matters: an unprivileged container is routine, a privileged one is not; a volume is, a folder of the
/// host is not; nesting is, every other feature is not.
fn is_routine(key: &str, value: &str) -> bool {
    match key {
        _ if PLAIN.contains(&key) => true,
        "unprivileged" => value == "1",
        "features" => matches!(value, "nesting=0" | "nesting=1"),
        // A virtual machine's console. Any other value names a device of the host.
        "serial0" => value == "socket",
        _ => match slot(key) {
            Some("net") => true,
            Some("rootfs" | "mp" | "scsi" | "virtio" | "sata" | "ide") => is_volume(value),
            _ => false,
        },
    }
}

/// `net0` → `net`, `rootfs` → `rootfs`.
fn slot(key: &str) -> Option<&str> {
    let word = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = key.len() > word.len();
    (numbered || word == "rootfs").then_some(word)
}

/// `storage:…`, never a path of the host; imported only from a storage too.
fn is_volume(value: &str) -> bool {
    let mut parts = value.split(',');
    let volume = parts.next().unwrap_or_default();
    let on_storage = |text: &str| !text.starts_with('/') && text.contains(':');
    on_storage(volume) && parts.all(|part| part.strip_prefix("import-from=").is_none_or(on_storage))
}

/// Removing a volume's key is how PVE is asked to detach it; removing `unusedN` destroys it.
fn is_routine_to_delete(key: &str) -> bool {
    PLAIN.contains(&key) || key == "features" || slot(key) == Some("net")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::SetConfig;

    fn set(key: &str, value: &str) -> Class {
        let set = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        class_of(&Step::SetConfig(SetConfig {
            set,
            delete: Vec::new(),
            digest: String::new(),
            allocates_on: Vec::new(),
        }))
    }

    #[test]
    fn what_the_table_does_not_know_is_guarded() {
        for (key, value) in [
            ("hookscript", "local:snippets/x.pl"),
            ("args", "-device x"),
            ("lxc.mount.entry", "/ x"),
            ("dev0", "/dev/sda"),
            ("hostpci0", "01:00.0"),
            ("usb0", "host=1:2"),
            ("serial0", "/dev/ttyS0"),
            ("protection", "0"),
            ("unused0", "local:1"),
            ("features", "nesting=1,keyctl=1"),
            ("unprivileged", "0"),
            ("mp0", "/srv,mp=/srv"),
            ("rootfs", "/dev/sdb"),
            ("scsi0", "/dev/disk/by-id/x"),
            ("scsi0", "local:0,import-from=/etc/shadow"),
            ("tomorrow", "1"),
        ] {
            assert_eq!(set(key, value), Class::Guarded, "{key}={value}");
        }
    }

    #[test]
    fn everyday_changes_are_routine() {
        for (key, value) in [
            ("cores", "4"),
            ("memory", "512"),
            ("net0", "name=eth0,bridge=vmbr0"),
            ("mp0", "local-lvm:8,mp=/data,backup=1"),
            ("rootfs", "local-lvm:vm-101-disk-0,size=4G"),
            ("features", "nesting=1"),
            ("unprivileged", "1"),
            ("scsi0", "local:0,import-from=local:import/debian.qcow2"),
        ] {
            assert_eq!(set(key, value), Class::Routine, "{key}={value}");
        }
    }

    #[test]
    fn detaching_a_volume_is_guarded_and_a_network_card_is_not() {
        let delete = |key: &str| {
            class_of(&Step::SetConfig(SetConfig {
                set: BTreeMap::new(),
                delete: vec![key.to_owned()],
                digest: String::new(),
                allocates_on: Vec::new(),
            }))
        };
        assert_eq!(delete("mp0"), Class::Guarded);
        assert_eq!(delete("unused0"), Class::Guarded);
        assert_eq!(delete("scsi1"), Class::Guarded);
        assert_eq!(delete("net1"), Class::Routine);
        assert_eq!(delete("swap"), Class::Routine);
    }
}
