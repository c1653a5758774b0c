//! Recorded spellings, and properties that hold for all of them.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::{Index, subsequence};
use proptest::strategy::{Just, Strategy};

use felhom_shared::desired::GuestKind;

use super::*;

const RECORDED_LXC_NET: &str =
    "name=eth0,bridge=vmbr0,gw=10.98.0.1,hwaddr=BC:24:11:8A:6E:44,ip=10.98.0.101/24,type=veth";

#[test]
fn pve_respelling_is_the_same_meaning() {
    use PropertyKind as K;
    let same = [
        (
            K::LxcNet,
            RECORDED_LXC_NET,
            "name=eth0,bridge=vmbr0,ip=10.98.0.101/24,gw=10.98.0.1,hwaddr=bc:24:11:8a:6e:44",
        ),
        (K::LxcNet, "name=eth0,firewall=1", "firewall=yes,name=eth0,link_down=off"),
        (K::LxcNet, "name=eth0,trunks=3;1", "name=eth0,trunks=1;3"),
        (
            K::LxcVolume,
            "local:101/vm-101-disk-1.raw,mp=/data,backup=1,size=1G",
            "volume=local:101/vm-101-disk-1.raw,size=1024M,backup=on,mp=/data,ro=0",
        ),
        (K::LxcVolume, "bt:103/subvol-103-disk-0.subvol,size=0T", "bt:103/subvol-103-disk-0.subvol,size=0"),
        (K::LxcFeatures, "nesting=1,keyctl=0", "nesting=true"),
        (K::LxcFeatures, "mount=nfs;cifs", "mount=cifs;nfs"),
        (
            K::QemuNet,
            "virtio=BC:24:11:13:BA:8B,bridge=vmbr0",
            "bridge=vmbr0,macaddr=bc:24:11:13:ba:8b,model=virtio",
        ),
        (K::QemuNet, "virtio,bridge=vmbr0", "model=virtio,bridge=vmbr0,firewall=0"),
        (
            K::QemuDrive,
            "local:110/vm-110-disk-0.raw,discard=on,iothread=1,size=1G",
            "file=local:110/vm-110-disk-0.raw,size=1024M,iothread=on,discard=on,backup=1",
        ),
        (K::QemuAgent, "enabled=1", "1"),
        (K::Startup, "order=2,up=30", "up=30,2"),
        (K::Tags, "alpha;felhom;zeta", "Zeta, felhom alpha"),
        (K::Description, "line one\nline two\n", "line one\nline two"),
        (K::Boolean, "1", "on"),
        (K::Boolean, "", "0"),
        (K::Number, "1", "1.0"),
    ];
    for (kind, a, b) in same {
        assert!(same_meaning(a, b, kind), "{kind:?}: {a} and {b}");
        assert!(same_meaning(b, a, kind), "{kind:?}: {b} and {a}");
    }
}

#[test]
fn a_real_difference_is_never_the_same_meaning() {
    use PropertyKind as K;
    let different = [
        (K::LxcNet, "name=eth0,bridge=vmbr0", "name=eth0,bridge=vmbr1"),
        (K::LxcNet, "name=eth0,firewall=1", "name=eth0"),
        (K::LxcVolume, "local:1/a.raw,mp=/data,backup=1", "local:1/a.raw,mp=/data"),
        (K::LxcVolume, "local:1/a.raw,mp=/data", "local:1/a.raw,mp=/Data"),
        (K::QemuDrive, "local:1/a.raw,backup=0", "local:1/a.raw"),
        (K::QemuNet, "virtio=BC:24:11:13:BA:8B", "e1000=BC:24:11:13:BA:8B"),
        (K::Tags, "a;b", "a"),
        (K::Description, "one", "\none"),
        (K::Boolean, "maybe", "maybe not"),
        (K::Number, "2", "2x"),
        (K::Text, "web1", "WEB1"),
    ];
    for (kind, a, b) in different {
        assert!(!same_meaning(a, b, kind), "{kind:?}: {a} and {b}");
    }
}

#[test]
fn what_pve_fills_in_is_set_aside_only_while_it_was_left_open() {
    let kind = PropertyKind::LxcNet;
    let open = "name=eth0,bridge=vmbr0,ip=10.98.0.101/24,gw=10.98.0.1";
    assert!(satisfies(RECORDED_LXC_NET, open, kind));
    assert!(!same_meaning(RECORDED_LXC_NET, open, kind));
    assert!(!satisfies(RECORDED_LXC_NET, &format!("{open},hwaddr=BC:24:11:00:00:00"), kind));
    assert!(!satisfies(&format!("{RECORDED_LXC_NET},rate=5"), open, kind));
    assert!(!satisfies(open, RECORDED_LXC_NET, kind));
}

#[test]
fn an_update_echoes_the_mac_it_found() {
    let kind = PropertyKind::QemuNet;
    let current = PropertyString::of_kind(kind, "virtio=BC:24:11:13:BA:8B,bridge=vmbr0").unwrap();
    let mut wanted = PropertyString::of_kind(kind, "virtio,bridge=vmbr1").unwrap();
    wanted.keep_filled_in(&current, kind);
    assert_eq!(wanted.to_string(), "virtio,bridge=vmbr1,macaddr=BC:24:11:13:BA:8B");

    let mut chosen = PropertyString::of_kind(kind, "virtio=BC:24:11:00:00:01").unwrap();
    chosen.keep_filled_in(&current, kind);
    assert_eq!(chosen.get("macaddr"), Some("BC:24:11:00:00:01"));
}

#[test]
fn malformed_property_strings_are_refused() {
    assert!(PropertyString::parse(None, "eth0").is_err());
    assert!(PropertyString::parse(Some("volume"), "a,b").is_err());
    assert!(PropertyString::parse(Some("volume"), "a,mp=/x,mp=/y").is_err());
    assert!(PropertyString::of_kind(PropertyKind::QemuNet, "virtio=A,model=e1000").is_err());
    assert!(PropertyString::of_kind(PropertyKind::QemuNet, "virtio=A,macaddr=B").is_err());
    assert!(PropertyString::of_kind(PropertyKind::Text, "a=b").is_err());
}

#[test]
fn keys_have_the_kind_of_their_guest() {
    use PropertyKind as K;
    let table = [
        (GuestKind::Lxc, "net0", K::LxcNet),
        (GuestKind::Lxc, "mp12", K::LxcVolume),
        (GuestKind::Lxc, "rootfs", K::LxcVolume),
        (GuestKind::Lxc, "scsi0", K::Text),
        (GuestKind::Qemu, "net1", K::QemuNet),
        (GuestKind::Qemu, "scsi0", K::QemuDrive),
        (GuestKind::Qemu, "efidisk0", K::QemuDrive),
        (GuestKind::Qemu, "scsihw", K::Text),
        (GuestKind::Qemu, "onboot", K::Boolean),
        (GuestKind::Lxc, "memory", K::Number),
        (GuestKind::Lxc, "hostname", K::Text),
        (GuestKind::Lxc, "net", K::Text),
    ];
    for (guest, key, kind) in table {
        assert_eq!(PropertyKind::of(guest, key), kind, "{key}");
    }
}

#[test]
fn sizes_have_powers_of_1024() {
    assert_eq!(size_bytes("8G"), Some(8 << 30));
    assert_eq!(size_bytes("1.5T"), Some(3 << 39));
    assert_eq!(size_bytes("0T"), Some(0));
    assert_eq!(size_bytes("512"), Some(512));
    assert_eq!(size_text(3 << 39), "1536G");
    assert_eq!(size_text(0), "0");
    for bad in
        ["", "G", "8g", "+1G", "-1G", "1.G", ".5G", "8 G", "8GiB", "99999999999T", "1.0000000000G", "é"]
    {
        assert_eq!(size_bytes(bad), None, "{bad:?}");
    }
}

/// A container's network card with some of its properties.
fn lxc_net() -> impl Strategy<Value = Vec<&'static str>> {
    let parts = vec![
        "name=eth0",
        "bridge=vmbr0",
        "hwaddr=BC:24:11:8A:6E:44",
        "ip=dhcp",
        "tag=7",
        "firewall=1",
        "mtu=1400",
        "rate=3.5",
    ];
    let all = parts.len();
    subsequence(parts, 1..=all)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_of_keys_has_no_meaning(
        (parts, shuffled) in lxc_net().prop_flat_map(|parts| (Just(parts.clone()), Just(parts).prop_shuffle())),
    ) {
        prop_assert!(same_meaning(&parts.join(","), &shuffled.join(","), PropertyKind::LxcNet));
    }

    #[test]
    fn a_missing_property_has_meaning(parts in lxc_net(), index in any::<Index>()) {
        let mut fewer = parts.clone();
        fewer.remove(index.index(parts.len()));
        prop_assert!(!same_meaning(&parts.join(","), &fewer.join(","), PropertyKind::LxcNet));
    }

    #[test]
    fn what_is_written_reads_back_the_same(parts in lxc_net()) {
        let parsed = PropertyString::of_kind(PropertyKind::LxcNet, &parts.join(",")).unwrap();
        prop_assert_eq!(PropertyString::of_kind(PropertyKind::LxcNet, &parsed.to_string()), Ok(parsed));
    }

    #[test]
    fn any_text_is_its_own_meaning_and_none_makes_it_panic(a in ".*", b in ".*") {
        for kind in [PropertyKind::LxcNet, PropertyKind::QemuNet, PropertyKind::QemuDrive, PropertyKind::Tags] {
            prop_assert!(same_meaning(&a, &a, kind) && satisfies(&a, &a, kind));
            prop_assert_eq!(same_meaning(&a, &b, kind), same_meaning(&b, &a, kind));
        }
        let _ = size_bytes(&a);
    }

    #[test]
    fn sizes_read_back_exactly(bytes: u64) {
        prop_assert_eq!(size_bytes(&size_text(bytes)), Some(bytes));
    }
}
