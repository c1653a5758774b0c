//! Packages go and come back; what belongs to the customer stays.

use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_tests::{document, lxc, with_mount};

const PATIENCE: Duration = Duration::from_secs(120);
const INSTALL: &str = "cd /opt/felhom && apt-get install -q ./felhom-agent_*_amd64.deb";

#[test]
fn a_removed_agent_leaves_the_guests_alone_and_goes_on_when_it_is_back() {
    let machine = Machine::container("removal");
    let wanted = document([with_mount(lxc(201, "web"), 2), lxc(202, "mail")]);
    let house = House::converged(&machine, &wanted);
    let before = house.node().guests.len();
    machine.sh("apt-get remove -q -y felhom-agent");
    assert!(!machine.try_sh("systemctl is-active felhom-agent").well(), "it has stopped");
    assert!(
        house.node().guests.values().filter(|guest| guest.running.is_some()).count() >= 2,
        "guests run on"
    );
    assert_eq!(house.node().guests.len(), before);
    machine.sh("test -s /etc/felhom/hub-key && test -s /var/lib/felhom/agent.db");

    house.double("stop 202");
    machine.sh(INSTALL);
    machine.eventually("it runs again", PATIENCE, "systemctl is-active felhom-agent");
    machine.eventually("and puts right what happened meanwhile", PATIENCE, "felhom-agent plan");
    house.obeys(&wanted);
}

#[test]
fn a_purge_keeps_what_exists_nowhere_else_unless_told_to_delete_it() {
    let machine = Machine::container("purge");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    let said = machine.sh("apt-get purge -q -y felhom-agent felhom-hub 2>&1");
    for kept in ["/var/lib/felhom", "/var/lib/felhom-hub", "FELHOM_PURGE=yes"] {
        assert!(said.contains(kept), "it says that it keeps {kept}: {said}");
    }
    machine.sh("test -s /var/lib/felhom/agent.db && test -s /etc/felhom/hub-key && test -s /var/lib/felhom-hub/hub-key.pem");

    // Everything is installed and purged again, this time for good.
    machine.sh(&format!("{INSTALL} ./felhom-hub_*_amd64.deb && systemctl start felhom-agent"));
    machine.sh("FELHOM_PURGE=yes apt-get purge -q -y felhom-agent felhom-hub");
    let left = machine
        .sh("find / -xdev -name '*felhom*' -not -path '/proc/*' -not -path '/opt/*' -not -path '/sys/*' \
        -not -path '/usr/share/initramfs-tools/*' -not -path '/var/log/*' -not -path '/run/*'");
    assert_eq!(left.trim(), "", "a purge leaves nothing of itself");
    assert!(house.node().guests.contains_key(&201), "the guest is none of a package's business");
}
