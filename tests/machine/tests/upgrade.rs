//! A newer package over an older one while the box works, and the way back.

use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_tests::{document, lxc, with_mount};

const PATIENCE: Duration = Duration::from_secs(180);
/// The package under test as it would have been a year ago: the same program under an older number.
const AS_OLD: &str = "set -e; mkdir /root/old && dpkg-deb -R /opt/felhom/felhom-agent_*_amd64.deb /root/old/tree \
    && sed -i 's/^Version: .*/Version: 0.0.1/' /root/old/tree/DEBIAN/control \
    && dpkg-deb -b /root/old/tree /root/old/felhom-agent.deb >/dev/null \
    && apt-get install -q -y --allow-downgrades /root/old/felhom-agent.deb 2>&1";
const UPGRADE: &str = "cd /opt/felhom && apt-get install -q ./felhom-agent_*_amd64.deb 2>&1";
const VERSION: &str = "dpkg-query -W -f '${Version}' felhom-agent";

#[test]
fn an_upgrade_in_the_middle_of_an_operation_doubles_and_loses_nothing() {
    let machine = Machine::container("upgrade");
    let house = House::by_the_guide(&machine);
    machine.sh(AS_OLD);
    assert_eq!(machine.sh(VERSION), "0.0.1");
    let wanted = document((201..206).map(|vmid| with_mount(lxc(vmid, &format!("web-{vmid}")), 2)));
    house.double("task-ms 4000");
    house.publish(&wanted);
    machine.eventually(
        "a create runs",
        PATIENCE,
        "fake-pve ctl --control 127.0.0.1:8007 state | grep -q vzcreate",
    );
    machine.sh(UPGRADE);
    assert_ne!(machine.sh(VERSION), "0.0.1");
    house.converges(PATIENCE);
    house.obeys(&wanted);
    let creates = machine.sh("fake-pve ctl --control 127.0.0.1:8007 state | grep -c vzcreate: || true");
    assert_eq!(creates.trim(), "5", "one create for each guest");
    assert_eq!(machine.sh("systemctl is-active felhom-agent").trim(), "active");
}

#[test]
fn a_downgrade_below_the_data_is_refused_and_the_newer_agent_runs_on() {
    let machine = Machine::container("downgrade");
    let wanted = document([lxc(201, "web")]);
    let house = House::converged(&machine, &wanted);
    // What a version of next year leaves behind.
    machine.sh("echo 999 > /var/lib/felhom/data-format");
    let before = machine.sh(VERSION);
    let refused = machine.try_sh(AS_OLD);
    assert!(!refused.well(), "an older agent on newer data: {refused:?}");
    assert!(refused.out.contains("this downgrade is refused and nothing was changed"), "{refused:?}");
    assert_eq!(machine.sh(VERSION), before);
    assert_eq!(machine.sh("systemctl is-active felhom-agent").trim(), "active");
    assert!(machine.try_sh("felhom-agent plan").well());
    house.obeys(&wanted);
}
