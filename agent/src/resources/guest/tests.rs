//! Properties of the planner, over a small model of how PVE stores what it is given.

use std::collections::{BTreeMap, BTreeSet};

use felhom_shared::desired::{
    DesiredState, Disk, Features, GuestKind, GuestSpec, Identity, Mount, MountSource, Network, Power,
    Presence, Source, Startup, StoredFile, Window,
};
use felhom_shared::id::{FileName, GuestId, Label, NodeName, StorageId, Tag, Vmid};
use felhom_shared::report::{Class, Failure, NodeState, NoteKind, Outcome};
use felhom_shared::signed::{OpId, Request};
use jiff::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::plan::plan_guest;
use crate::backoff::Backoff;
use crate::class::class_of;
use crate::observe::{ListRow, ObservedHost, Reading, SeenGuest};
use crate::ops::{Grant, Grants};
use crate::plan::{Limits, plan};
use crate::pve::{GuestReading, GuestStatus, tag_set};
use crate::state::LostCreation;
use crate::step::Step;

fn spec(number: u32) -> GuestSpec {
    GuestSpec {
        guest_id: GuestId(uuid::Uuid::from_u128(u128::from(number) << 96)),
        vmid: Vmid::new(100 + number).unwrap(),
        kind: GuestKind::Lxc,
        presence: Presence::Present,
        power: Power::Running,
        name: Label::new(format!("g{number}")).unwrap(),
        source: Source::Template(StoredFile {
            storage: StorageId::new("local").unwrap(),
            file: FileName::new("debian.tar.zst").unwrap(),
            url: None,
            checksum: None,
        }),
        cores: 1,
        memory_mib: 256,
        swap_mib: None,
        disks: BTreeMap::from([("rootfs".to_owned(), disk(4))]),
        mounts: BTreeMap::new(),
        networks: BTreeMap::new(),
        tags: Vec::new(),
        description: None,
        onboot: false,
        startup: None,
        unprivileged: true,
        features: None,
        maintenance_window: None,
        uplink: None,
    }
}

fn disk(size_gib: u32) -> Disk {
    Disk { storage: StorageId::new("local-lvm").unwrap(), size_gib }
}

fn any_network() -> impl Strategy<Value = Network> {
    let ip = prop_oneof![Just(None), Just(Some("dhcp".to_owned())), Just(Some("192.0.2.7/24".to_owned()))];
    (ip, prop::option::of(1u16..=4094), any::<bool>()).prop_map(|(ip, vlan, firewall)| Network {
        bridge: "vmbr0".to_owned(),
        name: None,
        vlan,
        ip,
        gateway: None,
        mac: None,
        firewall,
    })
}

fn any_mount() -> impl Strategy<Value = Mount> {
    (1u32..64, any::<bool>(), any::<bool>()).prop_map(|(size_gib, backup, read_only)| Mount {
        path: "/data".to_owned(),
        source: MountSource::Volume(disk(size_gib)),
        backup,
        read_only,
    })
}

fn any_spec() -> impl Strategy<Value = GuestSpec> {
    let sizes = (1u32..64, 16u32..9000, prop::option::of(0u32..4096), 1u32..512);
    let flags = (any::<bool>(), any::<bool>(), prop::option::of(any::<bool>()), prop::option::of(0u32..9));
    let texts = (
        prop::collection::btree_set("[a-z][a-z0-9]{0,5}", 0..4),
        prop::option::of("[a-z ]{0,20}"),
        prop::collection::btree_map("net[0-3]", any_network(), 0..3),
        prop::collection::btree_map("mp[0-3]", any_mount(), 0..3),
    );
    (1u32..500, sizes, flags, texts).prop_map(|(number, sizes, flags, texts)| {
        let mut spec = spec(number);
        (spec.cores, spec.memory_mib, spec.swap_mib) = (sizes.0, sizes.1, sizes.2);
        spec.disks.insert("rootfs".to_owned(), disk(sizes.3));
        spec.power = if flags.0 { Power::Running } else { Power::Stopped };
        spec.onboot = flags.1;
        spec.features = flags.2.map(|nesting| Features { nesting });
        spec.startup = flags.3.map(|order| Startup { order: Some(order), up_s: Some(5), down_s: None });
        spec.tags = texts.0.into_iter().map(|tag| Tag::new(tag).unwrap()).collect();
        (spec.description, spec.networks, spec.mounts) = (texts.1, texts.2, texts.3);
        spec
    })
}

/// What PVE makes of a step: keys stored, volumes named, MACs chosen.
fn apply(seen: &mut Reading<SeenGuest>, spec: &GuestSpec, step: &Step) {
    match step {
        Step::CreateGuest(create) => {
            let mut config = GuestReading { digest: "d".to_owned(), ..GuestReading::default() };
            store(&mut config, &create.params);
            let entry = ListRow {
                vmid: spec.vmid,
                name: spec.name.to_string(),
                status: GuestStatus::Stopped,
                lock: None,
                tags: tag_set(&create.params["tags"]),
                template: false,
                sizes: [0; 4],
            };
            *seen = Reading::Present(SeenGuest { kind: spec.kind, entry, config: Reading::Present(config) });
        }
        Step::SetConfig(change) => {
            let guest = present(seen);
            let Reading::Present(config) = &mut guest.config else { panic!("a compared guest was read") };
            store(config, &change.set);
            change.delete.iter().for_each(|key| drop(config.current.remove(key)));
            guest.entry.tags = tag_set(config.current.get("tags").map_or("", String::as_str));
        }
        Step::GrowDisk(grow) => {
            let Reading::Present(config) = &mut present(seen).config else {
                panic!("a compared guest was read")
            };
            let value = config.current.get_mut(&grow.slot).unwrap();
            let (head, _) = value.rsplit_once("size=").unwrap();
            *value = format!("{head}size={}G", grow.size_gib);
        }
        Step::StartGuest => present(seen).entry.status = GuestStatus::Running,
        Step::ShutdownGuest { .. } => present(seen).entry.status = GuestStatus::Stopped,
        Step::DestroyGuest(_) | Step::ClearUnfinished(_) => *seen = Reading::Absent,
        Step::FetchFile(_)
        | Step::Storage(_)
        | Step::Tunnel(_)
        | Step::CloneGuest(_)
        | Step::RebootGuest { .. }
        | Step::RollbackGuest(_)
        | Step::RestoreGuest(_) => {}
    }
}

fn present(seen: &mut Reading<SeenGuest>) -> &mut SeenGuest {
    match seen {
        Reading::Present(guest) => guest,
        _ => panic!("the step is for a guest that is there"),
    }
}

fn store(config: &mut GuestReading, set: &BTreeMap<String, String>) {
    for (key, value) in set {
        let stored = if let Some((volume, rest)) = new_volume(key, value) {
            format!("local-lvm:vm-1-{key}{rest},size={volume}G")
        } else if key.starts_with("net") && !value.contains("hwaddr") {
            format!("{value},hwaddr=BC:24:11:00:00:01,type=veth")
        } else if key == "description" {
            format!("{value}\n")
        } else {
            value.clone()
        };
        config.current.insert(key.clone(), stored);
    }
}

fn new_volume<'a>(key: &str, value: &'a str) -> Option<(&'a str, &'a str)> {
    if key != "rootfs" && !key.starts_with("mp") {
        return None;
    }
    let rest = value.strip_prefix("local-lvm:")?;
    let end = rest.find(',').unwrap_or(rest.len());
    rest[..end].parse::<u32>().ok().map(|_| (&rest[..end], &rest[end..]))
}

fn converge(spec: &GuestSpec, seen: &mut Reading<SeenGuest>) {
    for step in plan_guest(spec, seen, None, (None, Timestamp::UNIX_EPOCH)).steps {
        apply(seen, spec, &step);
    }
}

fn host(guests: impl IntoIterator<Item = (GuestSpec, Reading<SeenGuest>)>) -> (DesiredState, ObservedHost) {
    let mut desired = DesiredState {
        version: 1,
        identity: Identity { name: Label::new("box").unwrap(), customer: None },
        maintenance_window: None,
        guests: Vec::new(),
        storage: Vec::new(),
        tunnel: None,
    };
    let node = NodeState::Present { node: NodeName::new("pve1").unwrap(), pve_version: "9.2".to_owned() };
    let mut observed = ObservedHost {
        node,
        guests: BTreeMap::new(),
        missing: BTreeMap::new(),
        storages: None,
        tunnel: None,
    };
    for (spec, seen) in guests {
        match seen {
            Reading::Present(guest) => drop(observed.guests.insert(spec.vmid, guest)),
            Reading::Absent => drop(observed.missing.insert(spec.vmid, None)),
            Reading::Unreadable(failure) => drop(observed.missing.insert(spec.vmid, Some(failure))),
        }
        desired.guests.push(spec);
    }
    (desired, observed)
}

static NONE_LOST: BTreeMap<GuestId, LostCreation> = BTreeMap::new();

fn limits(backoff: &Backoff) -> Limits<'_> {
    Limits {
        now: Timestamp::UNIX_EPOCH,
        budget_left: 1000,
        backoff,
        grants: Grants::NONE,
        lost: &NONE_LOST,
        blocked: false,
        at_once: &|_| false,
    }
}

proptest! {
    #[test]
    fn apply_then_plan_gives_no_steps(spec in any_spec()) {
        let mut seen = Reading::Absent;
        converge(&spec, &mut seen);
        let again = plan_guest(&spec, &seen, None, (None, Timestamp::UNIX_EPOCH));
        assert_eq!((again.outcome, again.steps, again.notes), (Outcome::Converged, vec![], vec![]));
    }

    #[test]
    fn from_any_state_one_round_of_steps_is_enough(from in any_spec(), to in any_spec()) {
        let mut to = to;
        (to.guest_id, to.vmid) = (from.guest_id, from.vmid);
        let mut seen = Reading::Absent;
        converge(&from, &mut seen);
        converge(&to, &mut seen);
        let again = plan_guest(&to, &seen, None, (None, Timestamp::UNIX_EPOCH));
        assert_eq!(again.steps, vec![]);
        // What a document may ask for and does not get.
        let stays = ["disk_cannot_shrink", "backup_off_needs_signature"];
        assert!(again.notes.iter().all(|note| stays.contains(&note.code.as_str())), "{:?}", again.notes);
    }

    #[test]
    fn nothing_guarded_is_planned_without_a_grant(from in any_spec(), to in any_spec(), absent in any::<bool>()) {
        let mut to = to;
        (to.guest_id, to.vmid) = (from.guest_id, from.vmid);
        if absent {
            to.presence = Presence::Absent;
        }
        let mut seen = Reading::Absent;
        for spec in [&from, &to] {
            let steps = plan_guest(spec, &seen, None, (None, Timestamp::UNIX_EPOCH)).steps;
            assert!(steps.iter().all(|step| class_of(step) == Class::Routine), "{steps:?}");
            steps.iter().for_each(|step| apply(&mut seen, spec, step));
        }
    }

    #[test]
    fn the_order_of_the_input_is_irrelevant(specs in prop::collection::vec(any_spec(), 0..6), turn in 0usize..6) {
        let mut unique = BTreeSet::new();
        let specs: Vec<_> = specs.into_iter().filter(|spec| unique.insert(spec.vmid)).collect();
        let (mut desired, observed) = host(specs.into_iter().map(|spec| (spec, Reading::Absent)));
        let backoff = Backoff::default();
        let before = plan(&desired, &observed, limits(&backoff));
        let turn = turn.min(desired.guests.len());
        desired.guests.rotate_left(turn);
        assert_eq!(plan(&desired, &observed, limits(&backoff)), before);
    }

    #[test]
    fn unreadable_gives_refusals_only(spec in any_spec()) {
        let failure = Failure { code: "pve_unreachable".to_owned(), text: "no answer".to_owned() };
        let plan = plan_guest(&spec, &Reading::Unreadable(failure), None, (None, Timestamp::UNIX_EPOCH));
        assert_eq!(plan.steps, vec![]);
        assert_eq!(plan.outcome, Outcome::Unreadable);
        assert!(!plan.notes.is_empty() && plan.notes.iter().all(|note| note.kind == NoteKind::Refused));
    }

    #[test]
    fn unmanaged_objects_never_appear(ours in any_spec(), other in any_spec()) {
        let mut stranger = Reading::Absent;
        converge(&other, &mut stranger);
        let guest = present(&mut stranger);
        (guest.entry.vmid, guest.entry.tags) = (ours.vmid, BTreeSet::new());
        let Reading::Present(config) = &mut guest.config else { panic!("it was made") };
        config.current.remove("description");
        let (desired, observed) = host([(ours.clone(), stranger)]);
        let backoff = Backoff::default();
        let plan = plan(&desired, &observed, limits(&backoff));
        assert_eq!(plan.guests[0].steps, vec![]);
        assert_eq!(plan.guests[0].outcome, Outcome::Refused);
        assert_eq!(plan.unmanaged[0].vmid, ours.vmid);
    }
}

fn converged(spec: &GuestSpec) -> Reading<SeenGuest> {
    let mut seen = Reading::Absent;
    converge(spec, &mut seen);
    seen
}

#[test]
fn absence_never_deletes() {
    let mut gone = spec(1);
    let seen = converged(&gone);
    gone.presence = Presence::Absent;
    let plan = plan_guest(&gone, &seen, None, (None, Timestamp::UNIX_EPOCH));
    assert_eq!((plan.outcome, plan.steps), (Outcome::Held, vec![]));
    assert_eq!(plan.notes[0].code, "destroy_needs_signature");
    let (mut desired, observed) = host([(spec(1), seen)]);
    desired.guests.clear();
    let backoff = Backoff::default();
    let whole = crate::plan::plan(&desired, &observed, limits(&backoff));
    assert!(whole.guests.is_empty());
    assert_eq!(whole.unmanaged.len(), 1);
}

#[test]
fn a_grant_releases_what_was_signed_and_only_while_the_guest_is_the_same() {
    let mut gone = spec(1);
    let mut seen = converged(&gone);
    let Reading::Present(config) = &mut present(&mut seen).config else { panic!("it was made") };
    config.digest = "0d".repeat(20);
    gone.presence = Presence::Absent;
    let held = plan_guest(&gone, &seen, None, (None, Timestamp::UNIX_EPOCH));
    let signed = held.pending.expect("what would be signed is drafted");
    assert!(matches!(signed, Request::DestroyGuest(_)));
    let grant = Grant::for_test(OpId::of(b"an envelope"), signed);
    let plan = plan_guest(&gone, &seen, Some(&grant), (None, Timestamp::UNIX_EPOCH));
    let words: Vec<_> = plan.steps.iter().map(Step::word).collect();
    assert_eq!(words, ["shutdown_guest", "destroy_guest"]);
    let mut renamed = seen.clone();
    present(&mut renamed).entry.name = "another".to_owned();
    let plan = plan_guest(&gone, &renamed, Some(&grant), (None, Timestamp::UNIX_EPOCH));
    assert_eq!(plan.steps, vec![]);
    assert!(plan.void.is_some());
}

#[test]
fn only_the_changed_key_is_sent_and_the_mac_is_echoed() {
    let mut wanted = spec(1);
    wanted.networks.insert(
        "net0".to_owned(),
        Network {
            bridge: "vmbr0".to_owned(),
            name: None,
            vlan: None,
            ip: Some("dhcp".to_owned()),
            gateway: None,
            mac: None,
            firewall: false,
        },
    );
    let seen = converged(&wanted);
    wanted.networks.get_mut("net0").unwrap().vlan = Some(7);
    let plan = plan_guest(&wanted, &seen, None, (None, Timestamp::UNIX_EPOCH));
    let [Step::SetConfig(change)] = &plan.steps[..] else { panic!("one change, not {:?}", plan.steps) };
    assert_eq!(change.set.keys().collect::<Vec<_>>(), ["net0"]);
    assert!(change.set["net0"].contains("hwaddr=BC:24:11:00:00:01") && change.set["net0"].contains("tag=7"));
}

#[test]
fn pending_values_wait_for_the_window() {
    let wanted = spec(1);
    let mut seen = converged(&wanted);
    let Reading::Present(config) = &mut present(&mut seen).config else { panic!("it was made") };
    config.pending.insert("cores".to_owned(), "1".to_owned());
    config.current.insert("cores".to_owned(), "9".to_owned());
    let now: Timestamp = "2026-11-24T02:30:00Z".parse().unwrap();
    let shut = plan_guest(&wanted, &seen, None, (None, now));
    assert_eq!((shut.outcome, shut.steps.len()), (Outcome::Waiting, 0));
    assert_eq!(shut.notes[0].code, "restart_pending");
    let window = Window {
        days: vec![],
        start: "03:00".parse().unwrap(),
        minutes: 60,
        timezone: "Europe/Budapest".to_owned(),
    };
    let open = plan_guest(&wanted, &seen, None, (Some(&window), now));
    assert!(matches!(open.steps[..], [Step::RebootGuest { .. }]));
}

#[test]
fn guarded_wishes_are_held_and_the_rest_goes_on() {
    let mut wanted = spec(1);
    let bind = Mount {
        path: "/data".to_owned(),
        source: MountSource::Bind("/srv".to_owned()),
        backup: false,
        read_only: false,
    };
    wanted.mounts.insert("mp0".to_owned(), bind);
    let plan = plan_guest(&wanted, &Reading::Absent, None, (None, Timestamp::UNIX_EPOCH));
    let [Step::CreateGuest(create), Step::StartGuest] = &plan.steps[..] else { panic!("{:?}", plan.steps) };
    assert!(!create.params.contains_key("mp0"));
    assert_eq!(plan.notes[0].code, "bind_mount_needs_signature");
    wanted.unprivileged = false;
    let plan = plan_guest(&wanted, &Reading::Absent, None, (None, Timestamp::UNIX_EPOCH));
    assert_eq!((plan.outcome, plan.steps.len()), (Outcome::Held, 0));
}

#[test]
fn a_copy_that_turns_out_privileged_is_left_alone() {
    let wanted = GuestSpec { cores: 4, ..spec(1) };
    let mut seen = converged(&spec(1));
    let guest = present(&mut seen);
    guest.entry.status = GuestStatus::Stopped;
    let Reading::Present(config) = &mut guest.config else { panic!("it was made") };
    config.current.remove("unprivileged");
    let plan = plan_guest(&wanted, &seen, None, (None, Timestamp::UNIX_EPOCH));
    assert_eq!((plan.outcome, plan.steps.len()), (Outcome::Refused, 0));
    assert_eq!(plan.notes[0].code, "unprivileged_cannot_change");
}

#[test]
fn leaving_a_volume_out_of_the_backups_is_held_and_taking_it_in_is_not() {
    let with = |backup, read_only| {
        let source = MountSource::Volume(disk(8));
        let mount = Mount { path: "/data".to_owned(), source, backup, read_only };
        GuestSpec { mounts: BTreeMap::from([("mp0".to_owned(), mount)]), ..spec(1) }
    };
    let plan = |from: &GuestSpec, to: &GuestSpec| {
        plan_guest(to, &converged(from), None, (None, Timestamp::UNIX_EPOCH))
    };
    let held = plan(&with(true, false), &with(false, false));
    assert_eq!((held.outcome, held.steps.len()), (Outcome::Held, 0));
    assert_eq!(held.notes[0].code, "backup_off_needs_signature");
    let beside = plan(&with(true, false), &with(false, true));
    let [Step::SetConfig(change)] = &beside.steps[..] else { panic!("{:?}", beside.steps) };
    assert!(change.set["mp0"].contains("backup=1") && change.set["mp0"].contains("ro=1"));
    let raised = plan(&with(false, false), &with(true, false));
    let [Step::SetConfig(change)] = &raised.steps[..] else { panic!("{:?}", raised.steps) };
    assert!(change.set["mp0"].contains("backup=1") && raised.notes.is_empty());
}

#[test]
fn the_budget_and_the_back_off_take_steps_back() {
    let specs = [spec(1), spec(2), spec(3)];
    let failing = specs[0].guest_id;
    let (desired, observed) = host(specs.map(|spec| (spec, Reading::Absent)));
    let mut backoff = Backoff::default();
    let failure = Failure { code: "pve_locked".to_owned(), text: "locked".to_owned() };
    backoff.failed(failing.into(), failure, Timestamp::UNIX_EPOCH);
    let plan = plan(&desired, &observed, Limits { budget_left: 1, ..limits(&backoff) });
    let outcomes: Vec<_> = plan.guests.iter().map(|guest| guest.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Converging, Outcome::Waiting]);
    assert_eq!(plan.guests[2].notes[0].code, "change_budget_spent");
}

/// The guest as a creation leaves it that the power cut short: locked, and with or without our mark.
fn half_made(spec: &GuestSpec, lock: Option<&str>, status: GuestStatus) -> Reading<SeenGuest> {
    let mut seen = converged(spec).present().unwrap().clone();
    seen.entry.lock = lock.map(str::to_owned);
    seen.entry.status = status;
    seen.entry.tags.clear();
    Reading::Present(seen)
}

#[test]
fn a_half_made_guest_is_cleared_on_the_word_of_three_witnesses_and_not_of_two() {
    let wanted = spec(1);
    let backoff = Backoff::default();
    let task = "UPID:pve1:00000001:00000001:66000000:vzcreate:101:felhom@pve!agent:".parse().unwrap();
    let lost = |vmid| BTreeMap::from([(wanted.guest_id, LostCreation { vmid, task: Clone::clone(&task) })]);
    let ours = lost(wanted.vmid);
    let steps = |seen: Reading<SeenGuest>, lost: &BTreeMap<GuestId, LostCreation>| {
        let (desired, observed) = host([(wanted.clone(), seen)]);
        let plan = plan(&desired, &observed, Limits { lost, ..limits(&backoff) });
        plan.guests[0].steps.clone()
    };
    let locked = || half_made(&wanted, Some("create"), GuestStatus::Stopped);
    assert!(matches!(steps(locked(), &ours)[..], [Step::ClearUnfinished(_)]));
    assert_eq!(class_of(&steps(locked(), &ours)[0]), Class::Routine);

    let clears = |steps: Vec<Step>| steps.iter().any(|step| matches!(step, Step::ClearUnfinished(_)));
    assert!(!clears(steps(locked(), &NONE_LOST)), "the journal knows of no lost creation");
    assert!(!clears(steps(locked(), &lost(Vmid::new(999).unwrap()))), "it was another number");
    for lock in [None, Some("backup"), Some("rollback"), Some("snapshot"), Some("migrate")] {
        assert!(!clears(steps(half_made(&wanted, lock, GuestStatus::Stopped), &ours)), "{lock:?}");
    }
    assert!(!clears(steps(half_made(&wanted, Some("create"), GuestStatus::Running), &ours)), "it runs");
}
