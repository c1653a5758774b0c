//! What only a kernel of one's own can do: run out of memory, and be wrong about the year.

use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_tests::{document, lxc};

const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn an_agent_killed_for_its_memory_comes_back_and_takes_no_guest_with_it() {
    let machine = Machine::vm("out_of_memory");
    let wanted = document([lxc(201, "web")]);
    let house = House::converged(&machine, &wanted);
    house.drop_in("felhom-agent", "[Service]\nRestartSec=1\n");
    machine.sh("systemctl restart felhom-agent");
    assert_eq!(machine.sh("systemctl show -P MemoryMax felhom-agent").trim(), (128 << 20).to_string());
    machine.sh("systemctl set-property --runtime felhom-agent MemoryMax=1M MemorySwapMax=0");
    machine.eventually(
        "the kernel ends it",
        PATIENCE,
        "journalctl -u felhom-agent --no-pager | grep -q 'oom-kill'",
    );
    machine.sh("systemctl set-property --runtime felhom-agent MemoryMax=128M");
    machine.eventually("it runs again", PATIENCE, "systemctl is-active felhom-agent && felhom-agent plan");
    house.obeys(&wanted);
    assert_eq!(
        machine.sh("systemctl is-active pveproxy felhom-hub").trim(),
        "active\nactive",
        "nobody else was hit"
    );
}

#[test]
fn a_clock_that_is_wrong_by_years_is_said_and_stops_no_repair() {
    let machine = Machine::vm("wrong_clock");
    let wanted = document([lxc(201, "web"), lxc(202, "mail")]);
    let house = House::converged(&machine, &wanted);
    for year in ["2001", "2044"] {
        machine.sh(&format!("date -s {year}-06-01T12:00:00 && systemctl restart felhom-agent"));
        house.double("stop 201");
        machine.eventually("a stopped guest is started", PATIENCE, "felhom-agent plan");
        house.obeys(&wanted);
        assert_eq!(
            machine.sh("systemctl is-active felhom-agent felhom-hub").trim(),
            "active\nactive",
            "in {year}"
        );
    }
    // Time is set right, and nothing of the wrong years stands in the way.
    machine.sh("date -s 2026-12-01T12:00:00 && systemctl restart felhom-agent felhom-hub");
    let more = document([lxc(201, "web"), lxc(202, "mail"), lxc(203, "files")]);
    house.publish(&more);
    house.converges(PATIENCE);
    house.obeys(&more);
}
