//! What there is to lose: guests with data, a mounted volume, snapshots, a backup, a guest that is nobody's business;
//! and the judge of whether any of it was touched.
//!
//! The judge knows the node's books and the requests that reached it. It asks for what is allowed, not for what is
//! forbidden: a request it does not know is harm.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_pve::{Config, Content, Guest, Kind, LoggedRequest, Snapshot};
use felhom_agent::tls::{PinSource, client_config, spki_pin_of_pem};
use felhom_shared::desired::DesiredState;
use felhom_tests::{House, always_open, document, lxc, qemu, with_mount};

/// A guest of the customer's own.
pub(crate) const FOREIGN: u32 = 200;
/// Another one, which is stopped. Both are privileged, as containers made by hand may be.
pub(crate) const PRIVILEGED: u32 = 210;
const PATIENCE: Duration = Duration::from_secs(20);
const SLOTS: [&str; 7] = ["rootfs", "mp", "scsi", "virtio", "sata", "ide", "unused"];

/// The good document: a container with a mounted volume, one with a snapshot, one that will go, a machine.
pub(crate) fn good() -> DesiredState {
    let guests = [with_mount(lxc(101, "web"), 8), lxc(102, "files"), lxc(103, "goes"), qemu(110, "mail")];
    DesiredState { maintenance_window: Some(always_open()), ..document(guests) }
}

/// Puts the rest on the node: snapshots, a backup, and the guest that nobody manages.
pub(crate) fn furnish(house: &House) {
    let control = house.control();
    for vmid in [101, 102, 110] {
        control.take_snapshot(vmid, "before").expect("the guest is there");
    }
    control.create_guest(FOREIGN, Kind::Lxc, "photographs").expect("the number is free");
    control.create_guest(PRIVILEGED, Kind::Lxc, "old-server").expect("the number is free");
    control.set_running(FOREIGN, true).expect("it is there");
    ask(house, "vzdump", &[("vmid", "101"), ("storage", "local"), ("mode", "snapshot")]);
    assert!(control.wait_idle(PATIENCE), "the backup does not end");
    control.reset_requests();
}

/// A request to the node by somebody other than the agent.
fn ask(house: &House, path: &str, form: &[(&str, &str)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let certificate = std::fs::read(house.node().cert_path()).expect("fake-pve has written it");
    let pin = spki_pin_of_pem(&certificate).expect("a certificate");
    let tls = client_config(PinSource::SpkiPins(vec![pin])).expect("a client can be made");
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().expect("a client");
    let body = form.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&");
    let request = client
        .post(format!("{}/api2/json/nodes/pve1/{path}", house.node().base_url()))
        .header("Authorization", format!("PVEAPIToken={}", house.node().token()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body);
    let status = runtime.block_on(async { request.send().await.expect("it answers").status() });
    assert!(status.is_success(), "{path}: {status}");
}

/// The node as it was when everything was in its place.
#[derive(Debug)]
pub(crate) struct Ground {
    was: Snapshot,
    /// Guests that a signature has released since.
    released: BTreeSet<u32>,
}

impl Ground {
    pub(crate) fn of(house: &House) -> Self {
        let was = house.control().snapshot();
        assert!(was.volumes.values().any(|volume| volume.content == Content::Backup), "there is a backup");
        Self { was, released: BTreeSet::new() }
    }

    /// A properly signed operation has destroyed this guest, and no other: what follows from that is no harm.
    pub(crate) fn release(&mut self, vmid: u32) {
        self.released.insert(vmid);
    }

    /// What was lost, and what was asked of the node that could have lost something.
    pub(crate) fn harm(&self, house: &House) -> Vec<String> {
        let now = house.control().snapshot();
        let mut harm: Vec<String> =
            house.changes().iter().filter_map(|asked| self.objection(asked)).collect();
        for (vmid, was) in self.was.guests.iter().filter(|(vmid, _)| !self.released.contains(vmid)) {
            match now.guests.get(vmid) {
                None => harm.push(format!("guest {vmid} is gone")),
                Some(is) => {
                    harm.extend(losses(was, is).into_iter().map(|loss| format!("guest {vmid}: {loss}")));
                }
            }
        }
        let privileged = |guest: &&Guest| {
            guest.kind == Kind::Lxc && guest.config.get("unprivileged").is_none_or(|value| value != "1")
        };
        let started = now.guests.values().filter(privileged).filter(|guest| guest.running.is_some());
        harm.extend(
            started.filter(|guest| guest.vmid != FOREIGN).map(|of| format!("{} runs privileged", of.vmid)),
        );
        for (volid, was) in &self.was.volumes {
            if was.vmid.is_some_and(|vmid| self.released.contains(&vmid)) && was.content.is_guest() {
                continue;
            }
            match now.volumes.get(volid) {
                None => harm.push(format!("volume {volid} is gone")),
                Some(is) if is.size < was.size => harm.push(format!("volume {volid} has shrunk")),
                Some(is) if (is.ctime, is.vmid, &is.checksums) != (was.ctime, was.vmid, &was.checksums) => {
                    harm.push(format!("volume {volid} is another one"));
                }
                Some(_) => {}
            }
        }
        harm
    }

    /// Why a changing request should not have been made.
    fn objection(&self, asked: &LoggedRequest) -> Option<String> {
        let LoggedRequest { method, path, params, .. } = asked;
        let parts: Vec<&str> = path.trim_matches('/').split('/').skip(2).collect();
        let object = |why: &str| Some(format!("{why}: {method} {path} {params:?}"));
        match (method.as_str(), parts.as_slice()) {
            ("DELETE", [_, vmid]) if vmid.parse().is_ok_and(|vmid| self.released.contains(&vmid)) => None,
            // A copy takes nothing from what it is made of.
            ("POST", [_, _, "clone"]) => None,
            (_, [_, vmid, ..])
                if [FOREIGN, PRIVILEGED].map(|of| of.to_string()).contains(&(*vmid).to_owned()) =>
            {
                object("it is not ours")
            }
            ("POST", [_, _, "status", "start" | "shutdown" | "reboot"] | ["storage", _, "download-url"]) => {
                None
            }
            ("POST" | "PUT", [kind @ ("lxc" | "qemu")] | [kind, _, "config"]) => {
                let over = ["force", "restore", "archive"].iter().any(|key| params.contains_key(*key));
                let privileged =
                    *kind == "lxc" && parts.len() == 1 && params.get("unprivileged").is_none_or(|v| v != "1");
                let deletes = params.get("delete").is_some_and(|keys| keys.split(',').any(is_slot));
                match () {
                    () if over => object("it overwrites"),
                    () if privileged => object("it is privileged"),
                    () if deletes => object("it detaches"),
                    () if params.iter().any(|(key, value)| is_wall(key, value)) => object("a wall falls"),
                    () => None,
                }
            }
            ("PUT", [_, _, "resize"]) => {
                // An absolute size; that it is not a smaller one stands in the books.
                let grows = params.get("size").is_some_and(|size| !size.starts_with('-'));
                if grows { None } else { object("it shrinks") }
            }
            _ => object("nobody knows what it is for"),
        }
    }
}

/// Keys behind which there is the host, another guest's data or a weaker wall.
fn is_wall(key: &str, value: &str) -> bool {
    let opens = ["hookscript", "args", "dev", "hostpci", "usb", "lxc", "protection", "parallel"];
    let passes = |part: &str| part.starts_with('/') || part.contains("keyctl=1") || part == "backup=0";
    opens.iter().any(|word| key.starts_with(word))
        || (key == "unprivileged" && value != "1")
        || ((is_slot(key) || key == "features") && value.split(',').any(passes))
}

fn is_slot(key: &str) -> bool {
    SLOTS.contains(&key.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// What a guest has lost.
fn losses(was: &Guest, is: &Guest) -> Vec<String> {
    let mut losses = Vec::new();
    if is.kind != was.kind {
        losses.push("it is of another kind".to_owned());
    }
    for (slot, value) in was.config.iter().filter(|(key, _)| is_slot(key)) {
        let volume = value.split(',').next().unwrap_or_default();
        let stays =
            |config: &Config| config.get(slot).is_some_and(|now| now.split(',').next() == Some(volume));
        if !stays(&is.config) || is.pending_delete.contains(slot) {
            losses.push(format!("{slot} no longer holds {volume}"));
        }
        if value.contains("backup=1") && !is.config.get(slot).is_some_and(|now| now.contains("backup=1")) {
            losses.push(format!("{slot} is no longer backed up"));
        }
    }
    for key in ["unprivileged", "protection"] {
        if is.config.get(key) != was.config.get(key) {
            losses.push(format!("{key} has changed"));
        }
    }
    let taken = |guest: &Guest| {
        guest.snapshots.iter().map(|(name, of)| (name.clone(), of.snaptime)).collect::<Vec<_>>()
    };
    if taken(is) != taken(was) {
        losses.push("its snapshots are others".to_owned());
    }
    let foreign = [FOREIGN, PRIVILEGED].contains(&was.vmid);
    if foreign && (is.config != was.config || is.running.is_some() != was.running.is_some()) {
        losses.push("it is not managed, and was changed".to_owned());
    }
    losses
}

#[test]
fn the_ground_notices_every_loss() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&good());
    agent.settle();
    furnish(&house);
    let (ground, control) = (Ground::of(&house), house.control());
    assert_eq!(ground.harm(&house), Vec::<String>::new());
    let was = house.value(101, "mp0").expect("it is mounted");
    let unsaved = was.replace("backup=1", "backup=0");
    let deeds: [(&str, &dyn Fn()); 9] = [
        ("no longer backed up", &|| control.edit_config(101, "mp0", Some(&unsaved)).expect("it is there")),
        ("no longer holds", &|| control.edit_config(101, "mp0", None).expect("it is there")),
        ("snapshots are others", &|| control.take_snapshot(102, "another").expect("it is there")),
        ("unprivileged has changed", &|| {
            control.edit_config(102, "unprivileged", None).expect("it is there");
        }),
        ("102 runs privileged", &|| ()),
        ("was changed", &|| control.edit_config(FOREIGN, "memory", Some("16")).expect("it is there")),
        ("guest 110 is gone", &|| control.destroy_guest(110).expect("it is there")),
        ("volume local-lvm:vm-110-disk-0 is gone", &|| ()),
        ("nobody knows what it is for", &|| ask(&house, "lxc/101/snapshot", &[("snapname", "kept")])),
    ];
    for (words, deed) in deeds {
        deed();
        let harm = ground.harm(&house);
        assert!(harm.iter().any(|of| of.contains(words)), "{words} is not among {harm:#?}");
    }
}
