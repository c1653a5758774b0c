//! Documents: everything that a hub may ask for without a signature, and much that it may not.
//!
//! After each the good document comes again, so that none profits from the one before; what needs two is written as
//! one attempt with both.

use felhom_shared::desired::{
    Checksum, ChecksumAlgorithm, GuestSpec, MountSource, Power, Presence, Source, StoredFile,
};
use felhom_shared::id::{Tag, Vmid};
use felhom_tests::{clone_of, guest_id, lxc, qemu};
use serde_json::{Value, json};

use crate::ground::{FOREIGN, PRIVILEGED, good};
use crate::hub::Answer;
use crate::siege::{Attempt, Siege, Sign, json as text};

/// How a document shows.
enum Shown {
    /// It is not taken.
    Refused(&'static str),
    /// It is taken, and a guest waits for a signature.
    Held(u32, &'static str),
    /// It is taken, and a guest is told to be impossible.
    Impossible(u32, &'static str),
    /// It is taken, and a guest is none of ours now.
    Unmanaged(u32),
    /// It is taken, and a step fails.
    Failed(u32),
    /// It is taken, and what it tries is not among the things a document decides.
    NoEffect,
}

type Change = fn(&mut Value);

fn guest(document: &mut Value, vmid: u32) -> &mut Value {
    let guests = document["guests"].as_array_mut().expect("a document has guests");
    guests.iter_mut().find(|guest| guest["vmid"] == vmid).expect("the good document has it")
}

fn leave_out(document: &mut Value, vmid: u32) {
    document["guests"].as_array_mut().expect("a document has guests").retain(|guest| guest["vmid"] != vmid);
}

fn add(document: &mut Value, spec: &GuestSpec) {
    let spec = serde_json::to_value(spec).expect("plain data");
    document["guests"].as_array_mut().expect("a document has guests").push(spec);
}

fn set(document: &mut Value, vmid: u32, pointer: &str, value: Value) {
    *guest(document, vmid).pointer_mut(pointer).expect("the good document has it") = value;
}

/// A guest of the hub's own making at a VMID.
fn claimed(vmid: u32, of: u32, presence: Presence) -> GuestSpec {
    let vmid = Vmid::new(vmid).expect("within PVE's bounds");
    GuestSpec { vmid, presence, guest_id: guest_id(of), ..lxc(of, "claimed") }
}

/// The table.
#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<(&'static str, Change, Shown)> {
    use Shown::{Failed, Held, Impossible, NoEffect, Refused, Unmanaged};
    vec![
        ("a guest is left out", |d| leave_out(d, 102), Unmanaged(102)),
        (
            "all guests but one are left out",
            |d| [101, 102, 110].into_iter().for_each(|vmid| leave_out(d, vmid)),
            Unmanaged(101),
        ),
        ("no guest is named", |d| d["guests"] = json!([]), Refused("empty_over_nonempty")),
        (
            "the guests are left out",
            |d| drop(d.as_object_mut().unwrap().remove("guests")),
            Refused("empty_over_nonempty"),
        ),
        ("the document is a list", |d| *d = json!([]), Refused("desired_malformed")),
        (
            "a guest shall be absent",
            |d| guest(d, 102)["presence"] = json!("absent"),
            Held(102, "destroy_needs_signature"),
        ),
        (
            "every guest shall be absent",
            |d| {
                [101, 102, 103, 110]
                    .into_iter()
                    .for_each(|vmid| guest(d, vmid)["presence"] = json!("absent"));
            },
            Held(110, "destroy_needs_signature"),
        ),
        (
            "a guest shall be stopped and absent",
            |d| {
                guest(d, 101)["power"] = json!(Power::Stopped);
                guest(d, 101)["presence"] = json!("absent");
            },
            Held(101, "destroy_needs_signature"),
        ),
        (
            "a guest shall be absent, of another kind",
            |d| {
                let mail = guest(d, 110);
                let mut web = serde_json::to_value(lxc(110, "mail")).unwrap();
                web["presence"] = json!("absent");
                *mail = web;
            },
            Held(110, "destroy_needs_signature"),
        ),
        (
            "a presence of its own",
            |d| guest(d, 102)["presence"] = json!("destroyed"),
            Refused("desired_unknown_field"),
        ),
        (
            "another guest_id at the same vmid",
            |d| set(d, 102, "/guest_id", json!(guest_id(777))),
            Impossible(102, "vmid_taken"),
        ),
        (
            "two guests change places",
            |d| {
                set(d, 101, "/guest_id", json!(guest_id(999)));
                set(d, 102, "/guest_id", json!(guest_id(101)));
                set(d, 101, "/guest_id", json!(guest_id(102)));
            },
            Impossible(101, "vmid_taken"),
        ),
        (
            "an unmanaged guest is claimed",
            |d| add(d, &claimed(FOREIGN, FOREIGN, Presence::Present)),
            Impossible(FOREIGN, "vmid_taken"),
        ),
        (
            "an unmanaged guest shall be absent",
            |d| add(d, &claimed(FOREIGN, FOREIGN, Presence::Absent)),
            Unmanaged(FOREIGN),
        ),
        (
            "the machine template shall be absent",
            |d| add(d, &claimed(9000, 9000, Presence::Absent)),
            Unmanaged(9000),
        ),
        (
            "a container becomes a machine",
            |d| {
                let mut mail = serde_json::to_value(qemu(102, "files")).unwrap();
                mail["guest_id"] = json!(guest_id(102));
                *guest(d, 102) = mail;
            },
            Impossible(102, "kind_cannot_change"),
        ),
        (
            "two guests at one vmid",
            |d| add(d, &claimed(102, 778, Presence::Absent)),
            Refused("desired_invalid"),
        ),
        (
            "another template",
            |d| set(d, 102, "/source/template/file", json!("alpine-3.22-default_20250617_amd64.tar.xz")),
            NoEffect,
        ),
        ("a machine made from another", |d| set(d, 110, "/source/clone/vmid", json!(9001)), NoEffect),
        (
            "a new guest whose template is written over the one that is there",
            |d| {
                let mut spec = lxc(120, "fetches");
                let Source::Template(file) = &mut spec.source else {
                    unreachable!("a container is made from one")
                };
                file.url = Some("https://evil.test/t.tar.zst".to_owned());
                file.checksum =
                    Some(Checksum { algorithm: ChecksumAlgorithm::Sha256, value: "e".repeat(64) });
                add(d, &spec);
            },
            Failed(120),
        ),
        (
            "a new machine made from another guest's disk",
            |d| {
                let mut spec = qemu(121, "imports");
                let file = StoredFile {
                    storage: "local-lvm".parse().unwrap(),
                    file: "vm-102-disk-0".parse().unwrap(),
                    url: None,
                    checksum: None,
                };
                spec.source = Source::Image(file);
                add(d, &spec);
            },
            Failed(121),
        ),
        (
            "a disk shrinks",
            |d| set(d, 102, "/disks/rootfs/size_gib", json!(1)),
            Impossible(102, "disk_cannot_shrink"),
        ),
        (
            "a mounted volume shrinks",
            |d| set(d, 101, "/mounts/mp0/source/volume/size_gib", json!(1)),
            Impossible(101, "disk_cannot_shrink"),
        ),
        (
            "a disk of no size",
            |d| set(d, 102, "/disks/rootfs/size_gib", json!(0)),
            Refused("desired_invalid"),
        ),
        (
            "a disk of negative size",
            |d| set(d, 102, "/disks/rootfs/size_gib", json!(-1)),
            Refused("desired_malformed"),
        ),
        (
            "a disk is in another slot",
            |d| {
                let disks = guest(d, 110)["disks"].as_object_mut().unwrap();
                let disk = disks.remove("scsi0").unwrap();
                disks.insert("scsi1".to_owned(), disk);
            },
            NoEffect,
        ),
        ("a mount is left out", |d| drop(guest(d, 101).as_object_mut().unwrap().remove("mounts")), NoEffect),
        (
            "a mount is another guest's volume",
            |d| set(d, 101, "/mounts/mp0/source/volume/storage", json!("local-lvm:vm-102-disk-0")),
            Refused("desired_malformed"),
        ),
        (
            "a mount is on another storage",
            |d| set(d, 101, "/mounts/mp0/source/volume/storage", json!("local")),
            Impossible(101, "storage_differs"),
        ),
        (
            "a disk is on another storage",
            |d| set(d, 110, "/disks/scsi0/storage", json!("local")),
            Impossible(110, "storage_differs"),
        ),
        (
            "a mount is not backed up any more",
            |d| set(d, 101, "/mounts/mp0/backup", json!(false)),
            Held(101, "backup_off_needs_signature"),
        ),
        (
            "a mount hides in an option",
            |d| set(d, 101, "/mounts/mp0/path", json!("/srv,backup=0")),
            Refused("desired_invalid"),
        ),
        (
            "a mount becomes a folder of the host",
            |d| set(d, 101, "/mounts/mp0/source", json!(MountSource::Bind("/etc".to_owned()))),
            Held(101, "bind_mount_needs_signature"),
        ),
        (
            "a folder of the host beside the mount",
            |d| {
                let mount = json!({"path": "/host", "source": {"bind": "/"}});
                guest(d, 101)["mounts"]["mp1"] = mount;
            },
            Refused("desired_invalid"),
        ),
        (
            "the host's configuration beside the mount",
            |d| {
                let mount = json!({"path": "/host", "source": {"bind": "/etc/pve"}});
                guest(d, 101)["mounts"]["mp1"] = mount;
            },
            Held(101, "bind_mount_needs_signature"),
        ),
        (
            "a name is a command",
            |d| set(d, 102, "/name", json!("web; pct destroy 102")),
            Refused("desired_malformed"),
        ),
        ("a name is an option", |d| set(d, 102, "/name", json!("--force")), Refused("desired_malformed")),
        (
            "a bridge is an option",
            |d| set(d, 102, "/networks/net0/bridge", json!("vmbr0,link_down=1")),
            Refused("desired_invalid"),
        ),
        (
            "a container becomes privileged",
            |d| guest(d, 102)["unprivileged"] = json!(false),
            Impossible(102, "unprivileged_cannot_change"),
        ),
        (
            "a new privileged container",
            |d| add(d, &GuestSpec { unprivileged: false, ..lxc(122, "root") }),
            Held(122, "privileged_needs_signature"),
        ),
        (
            "a copy of a privileged container that nobody manages",
            |d| add(d, &clone_of(PRIVILEGED, lxc(123, "copy"))),
            Impossible(123, "unprivileged_cannot_change"),
        ),
        (
            "a feature of the host's kernel",
            |d| guest(d, 102)["features"] = json!({"keyctl": true}),
            Refused("desired_unknown_field"),
        ),
        (
            "a hook script",
            |d| guest(d, 102)["hookscript"] = json!("local:snippets/wipe.pl"),
            Refused("desired_unknown_field"),
        ),
        (
            "a device of the host",
            |d| guest(d, 110)["hostpci0"] = json!("01:00.0"),
            Refused("desired_unknown_field"),
        ),
        (
            "steps of its own",
            |d| d["steps"] = json!([{"destroy_guest": {"vmid": 101}}]),
            Refused("desired_unknown_field"),
        ),
        (
            "a retention of one backup",
            |d| d["backup"] = json!({"keep_last": 0}),
            Refused("desired_unknown_field"),
        ),
        (
            "a token of its DNS provider",
            |d| d["cloudflare_api_token"] = json!("secret"),
            Refused("desired_unknown_field"),
        ),
        ("a version that is to come", |d| d["version"] = json!(2), Refused("desired_invalid")),
        (
            "a document without end",
            |d| d["identity"]["customer"] = json!("x".repeat(1 << 20)),
            Refused("desired_too_large"),
        ),
    ]
}

impl Shown {
    fn signs(self, generation: u64) -> Vec<Sign> {
        let logged = |words: &[&str]| Sign::Logged(words.iter().map(|&word| word.to_owned()).collect());
        let event = |kind| Sign::Event(kind, String::new());
        let taken = Sign::Logged(vec![format!("generation {generation} is in force")]);
        match self {
            Self::Refused(code) => vec![Sign::Refused(code), event("document_refused"), logged(&[code])],
            Self::Held(vmid, code) => {
                vec![Sign::Note(vmid, code), event("guest_held"), logged(&["guest_held"]), taken]
            }
            Self::Impossible(vmid, code) => {
                vec![Sign::Note(vmid, code), event("guest_refused"), logged(&["guest_refused"]), taken]
            }
            Self::Unmanaged(vmid) => vec![Sign::Unmanaged(vmid), event("document_accepted"), taken],
            Self::Failed(vmid) => {
                vec![Sign::Failed(vmid), event("guest_failed"), logged(&["step failed"]), taken]
            }
            Self::NoEffect => vec![Sign::Reached(generation), event("document_accepted"), taken],
        }
    }
}

/// Tries every document of the table, and the ways to number one.
pub(crate) fn attack(siege: &mut Siege) {
    for (name, change, shown) in table() {
        let mut document = serde_json::to_value(good()).expect("plain data");
        change(&mut document);
        let generation = siege.next();
        let answer = Answer::document(generation, &document.to_string());
        siege.endure([answer], Attempt::new(name, shown.signs(generation)));
    }
    numbers(siege);
    marks(siege);
}

/// Documents that are good in themselves, under numbers and names that they must not have.
fn numbers(siege: &mut Siege) {
    let mut absent = good();
    absent.guests.iter_mut().for_each(|guest| guest.presence = Presence::Absent);
    let (absent, now) = (text(&absent), siege.generation());
    let other = Answer::document(now + 1, &absent);
    for (name, answer, code) in [
        ("an older generation", Answer::document(now - 1, &absent), "generation_older"),
        ("the first generation again", Answer::document(0, &absent), "generation_older"),
        (
            "the same generation with other bytes",
            Answer::document(now, &absent),
            "generation_same_other_bytes",
        ),
        ("the highest generation there is", Answer::document(u64::MAX, &absent), "generation_jumped"),
        ("another host's document", other.for_host("00000000-0000-4000-8000-00000000dead"), "other_host"),
    ] {
        siege.withstand([answer], vec![Attempt::new(name, Shown::Refused(code).signs(now))]);
    }
}

/// A guest is made to carry another's mark, and is then asked for as that other one.
fn marks(siege: &mut Siege) {
    for (name, mark) in
        [("another guest's mark as a tag", true), ("another guest's mark as a description", false)]
    {
        let mut document = good();
        let web = document.guests.iter_mut().find(|guest| guest.vmid.get() == 101).expect("it is good");
        if mark {
            web.tags.push(Tag::new(guest_id(102).mark()).expect("a mark is a tag"));
        } else {
            web.description = Some(format!("felhom guest {}", guest_id(102)));
        }
        let generation = siege.next();
        let signs = Shown::NoEffect.signs(generation);
        siege.withstand([Answer::document(generation, &text(&document))], vec![Attempt::new(name, signs)]);
        let mut document = good();
        document.guests.retain(|guest| guest.vmid.get() != 102);
        let web = document.guests.iter_mut().find(|guest| guest.vmid.get() == 101).expect("it is good");
        (web.guest_id, web.presence) = (guest_id(102), Presence::Absent);
        let generation = siege.next();
        let signs = Shown::Held(101, "destroy_needs_signature").signs(generation);
        let name = format!("{name}, and absent under it");
        siege.endure([Answer::document(generation, &text(&document))], Attempt::new(&name, signs));
        // What a document does not say of a description stays as it is, so the mark is taken away by hand.
        siege.house.control().edit_config(101, "description", None).expect("the guest is there");
    }
}
