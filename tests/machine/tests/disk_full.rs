//! No room left, on the box and on the hub: nothing acknowledged is lost, and with room again all goes on.

use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_tests::{document, lxc};

const PATIENCE: Duration = Duration::from_secs(180);

/// Puts a unit's state on a small file system of its own, and gives it room for little more.
fn confine(machine: &Machine, unit: &str, folder: &str, size: &str) {
    machine.sh(&format!(
        "systemctl stop {unit} && cp -a {folder} /root/state && mount -t tmpfs -o size={size},mode=700 tmpfs {folder} \
         && cp -a /root/state/. {folder}/ && chown --reference=/root/state {folder} && systemctl start {unit}"
    ));
}

/// Fills a file system to the last block.
fn fill(machine: &Machine, folder: &str) {
    let _ = machine.try_sh(&format!("dd if=/dev/zero of={folder}/ballast bs=4k 2>/dev/null; dd if=/dev/zero of={folder}/ballast2 bs=512 2>/dev/null"));
    assert!(
        !machine.try_sh(&format!("echo more > {folder}/one")).well()
            || machine.try_sh(&format!("rm {folder}/one")).well()
    );
}

#[test]
fn a_box_without_room_changes_nothing_it_could_not_write_down() {
    let machine = Machine::container("disk_full_box");
    let wanted = document([lxc(201, "web")]);
    let house = House::converged(&machine, &wanted);
    confine(&machine, "felhom-agent", "/var/lib/felhom", "4m");
    machine.eventually("it runs there", PATIENCE, "felhom-agent plan");
    fill(&machine, "/var/lib/felhom");
    let more = document([lxc(201, "web"), lxc(202, "mail"), lxc(203, "files")]);
    house.publish(&more);
    let doctor = machine.eventually(
        "doctor says what is wrong",
        PATIENCE,
        "felhom-agent doctor | grep -iE 'disk|space|room|full'",
    );
    println!("{doctor}");
    // Whatever it could not write into its journal first, it has not asked of Proxmox.
    machine.sh("rm -f /var/lib/felhom/ballast*");
    house.converges(PATIENCE);
    house.obeys(&more);
}

#[test]
fn a_hub_without_room_acknowledges_nothing_and_hears_it_all_later() {
    let machine = Machine::container("disk_full_hub");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    house.hurry();
    confine(&machine, "felhom-hub", "/var/lib/felhom-hub", "6m");
    fill(&machine, "/var/lib/felhom-hub");
    // Something to tell: a guest is stopped by hand, and the agent starts it again.
    for _ in 0..3 {
        house.double("stop 201");
        machine.eventually(
            "the box goes on without the hub",
            PATIENCE,
            "fake-pve ctl --control 127.0.0.1:8007 state | grep -q '\"running\": {'",
        );
    }
    assert!(machine.sh("systemctl is-active felhom-hub felhom-agent").trim().ends_with("active"));
    machine.sh("rm -f /var/lib/felhom-hub/ballast*");
    machine.eventually(
        "what was not told is told",
        PATIENCE,
        "test \"$(sqlite3 'file:/var/lib/felhom/agent.db?mode=ro' 'SELECT count(*) FROM outbox')\" = 0",
    );
    let whole = machine.sh("sqlite3 'file:/var/lib/felhom-hub/hub.db?mode=ro' 'PRAGMA integrity_check'");
    assert_eq!(whole.trim(), "ok");
    let gaps = machine.sh(
        "sqlite3 'file:/var/lib/felhom-hub/hub.db?mode=ro' 'SELECT count(*) FROM (SELECT count(*) AS n, \
        max(seq) AS last FROM events GROUP BY host_id, outbox_id) WHERE n <> last'",
    );
    assert_eq!(gaps.trim(), "0", "no event is missing");
}
