//! Templates that are not on the node yet: fetched by PVE, by checksum, once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use fake_pve::Download;
use felhom_shared::desired::{Checksum, ChecksumAlgorithm, GuestSpec, Source};
use felhom_shared::report::Outcome;
use felhom_tests::{House, Told, document, lxc};

const URL: &str = "https://templates.example/felhom-base.tar.zst";
const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A guest from a template that only the URL has.
fn from_url(vmid: u32, name: &str, sum: &str) -> GuestSpec {
    let mut guest = lxc(vmid, name);
    let Source::Template(template) = &mut guest.source else { panic!("a container is made from a template") };
    template.file = "felhom-base.tar.zst".parse().unwrap();
    template.url = Some(URL.to_owned());
    template.checksum = Some(Checksum { algorithm: ChecksumAlgorithm::Sha256, value: sum.to_owned() });
    guest
}

fn house() -> House {
    let house = House::new();
    let checksums = BTreeMap::from([("sha256".to_owned(), SUM.to_owned())]);
    house.control().add_download(URL, Download { size: 1 << 20, checksums });
    house
}

#[test]
fn a_template_is_fetched_once_and_then_used() {
    let house = house();
    let desired = document([from_url(101, "one", SUM), from_url(102, "two", SUM)]);
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    house.obeys(&desired);
    let files = house
        .control()
        .snapshot()
        .volumes
        .keys()
        .filter(|volid| volid.ends_with("felhom-base.tar.zst"))
        .count();
    assert_eq!(files, 1);
}

#[test]
fn a_template_with_another_checksum_is_not_used() {
    let house = house();
    let mut agent = house.agent();
    agent.desire(&document([from_url(101, "one", &SUM.replace('9', "8")), lxc(102, "two")]));
    let end = agent.cycle();
    assert_eq!((end.outcome(101), end.outcome(102)), (Outcome::Failed, Outcome::Converged));
    assert!(end.tells(101, "pve_task_failed"), "{:?}", end.guest(101));
    assert!(!house.control().snapshot().guests.contains_key(&101));
}
