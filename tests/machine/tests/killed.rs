//! The programs die in every way that systemd can notice, and come back without a person.

use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_tests::{document, lxc, qemu, with_mount};

const PATIENCE: Duration = Duration::from_secs(120);
/// Waiting for what the unit file says takes too long for every test of it.
const AT_ONCE: &str = "[Service]\nRestartSec=100ms\n";

#[test]
fn an_agent_killed_in_the_middle_of_a_create_finishes_it_once() {
    let machine = Machine::container("killed_in_a_create");
    let house = House::by_the_guide(&machine);
    let wanted = document((201..205).map(|vmid| with_mount(lxc(vmid, &format!("web-{vmid}")), 2)));
    house.double("task-ms 3000");
    house.publish(&wanted);
    machine.eventually(
        "a create runs",
        PATIENCE,
        "fake-pve ctl --control 127.0.0.1:8007 state | grep -q vzcreate",
    );
    machine.sh("systemctl kill --kill-who=main --signal=KILL felhom-agent");
    // The unit as it is shipped: it waits 30 s before it starts again.
    house.converges(PATIENCE);
    house.obeys(&wanted);
    assert_eq!(house.restarts("felhom-agent"), 1);
    let creates = machine.sh("fake-pve ctl --control 127.0.0.1:8007 state | grep -c vzcreate: || true");
    assert_eq!(creates.trim(), "4", "one create for each guest");
}

#[test]
fn a_stopped_agent_is_found_by_the_watchdog_and_started_again() {
    let machine = Machine::container("watchdog_agent");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    house.drop_in("felhom-agent", "[Service]\nRestartSec=100ms\nWatchdogSec=3\n");
    machine.sh("systemctl restart felhom-agent && systemctl kill --kill-who=main --signal=STOP felhom-agent");
    let result = "journalctl -u felhom-agent --no-pager | grep -q 'Watchdog timeout'";
    machine.eventually("systemd misses the agent's word", PATIENCE, result);
    machine.eventually("it runs again", PATIENCE, "systemctl is-active felhom-agent");
    assert!(house.restarts("felhom-agent") >= 1);
}

#[test]
fn the_agent_is_started_again_for_ever() {
    let machine = Machine::container("agent_no_start_limit");
    let house = House::by_the_guide(&machine);
    house.drop_in("felhom-agent", AT_ONCE);
    for round in 1..=12 {
        machine.eventually("it runs", PATIENCE, "systemctl is-active felhom-agent");
        machine.sh("systemctl kill --kill-who=main --signal=KILL felhom-agent");
        let counted = format!("test $(systemctl show -P NRestarts felhom-agent) -ge {round}");
        machine.eventually("systemd starts it again", PATIENCE, &counted);
    }
    machine.eventually("it runs after twelve deaths", PATIENCE, "systemctl is-active felhom-agent");
}

#[test]
fn a_hub_that_cannot_start_stops_trying_and_the_guide_says_how_to_go_on() {
    let machine = Machine::container("hub_start_limit");
    let house = House::by_the_guide(&machine);
    house.drop_in("felhom-hub", "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=100ms\n");
    machine.sh("systemctl stop felhom-hub && echo 'listen = 7' > /etc/felhom/broken && cp /etc/felhom/hub.toml /root/good \
        && cp /etc/felhom/broken /etc/felhom/hub.toml");
    let _ = machine.try_sh("systemctl start felhom-hub");
    machine.eventually(
        "it gives up",
        PATIENCE,
        "systemctl show -P Result felhom-hub | grep -q start-limit-hit \
        || journalctl -u felhom-hub --no-pager | grep -q 'Start request repeated too quickly'",
    );
    let said = machine.sh("journalctl -u felhom-hub --no-pager -o cat");
    assert!(said.contains("hub.toml") && said.contains("listen"), "the log names file and line: {said}");
    machine.sh("cp /root/good /etc/felhom/hub.toml");
    // The guide's table, to the letter.
    let remedy = "systemctl reset-failed felhom-hub && systemctl start felhom-hub";
    assert!(include_str!("../../../docs/install.md").contains(remedy));
    machine.sh(remedy);
    house.publish(&document([lxc(201, "web")]));
    house.converges(PATIENCE);
}

#[test]
fn a_guest_left_half_made_is_cleared_and_made_again_without_a_person() {
    let machine = Machine::container("half_made");
    let house = House::by_the_guide(&machine);
    let mut wanted = document([]);
    for (task, guest) in [("vzcreate", with_mount(lxc(201, "web"), 2)), ("qmclone", qemu(202, "mail"))] {
        wanted.guests.push(guest);
        house.double("task-ms 20000");
        house.publish(&wanted);
        machine.eventually(
            "it is being made",
            PATIENCE,
            &format!("fake-pve ctl --control 127.0.0.1:8007 state | grep -q {task}"),
        );
        // PVE's workers die as in a power cut: their locks stay.
        machine.sh("systemctl kill --kill-who=main --signal=KILL pveproxy; systemctl reset-failed pveproxy; systemctl start pveproxy");
        machine.eventually(
            "the double is back",
            PATIENCE,
            "fake-pve ctl --control 127.0.0.1:8007 task-ms 200",
        );
        house.converges(PATIENCE);
        house.obeys(&wanted);
    }
    let log = machine.sh("journalctl -u felhom-unfinished --no-pager -o cat");
    assert!(log.contains("cleared lxc-201") && log.contains("cleared qemu-202"), "{log}");
}

#[test]
fn the_one_who_clears_touches_nothing_that_was_ever_whole() {
    let machine = Machine::container("half_made_refused");
    let wanted = document([lxc(201, "web")]);
    let house = House::converged(&machine, &wanted);
    // Somebody who has taken the agent over asks for the worst.
    let ask = "cd /var/lib/felhom/unfinished && touch lxc-201 'lxc-201;reboot' lxc-0 qemu-201x -- '-rf' && mkdir lxc-dir";
    machine.sh(ask);
    machine.eventually("all is answered", PATIENCE, "test -z \"$(ls -A /var/lib/felhom/unfinished)\"");
    let answer = machine.sh("cat /var/lib/felhom/unfinished-answers/lxc-201");
    assert!(answer.contains("is not half-made"), "{answer}");
    house.double("stop 201");
    house.double("lock 201 backup");
    machine.sh("touch /var/lib/felhom/unfinished/lxc-201");
    machine.eventually("it is answered", PATIENCE, "test -z \"$(ls -A /var/lib/felhom/unfinished)\"");
    assert!(house.node().guests.contains_key(&201), "a locked guest that is whole stays");
}
