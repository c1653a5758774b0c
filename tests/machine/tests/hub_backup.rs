//! The hub's own disk dies, and the guide's commands bring it back: older than its boxes, and careful with them.

use std::time::Duration;

use felhom_machine::{Guide, House, Machine};
use felhom_tests::{document, lxc};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_restored_hub_shows_newer_boxes_in_conflict_and_a_person_goes_on() {
    let machine = Machine::container("restored_hub");
    let before = document([lxc(201, "web")]);
    let house = House::converged(&machine, &before);
    let guide = Guide::install();
    house.hub_follows(guide.block("Backup of the hub", "hub backup"));

    // Life goes on after the backup.
    let after = document([lxc(201, "web"), lxc(202, "mail")]);
    house.publish(&after);
    house.converges(PATIENCE);

    house.hub_follows(guide.block("Backup of the hub", "hub restore"));
    machine.eventually(
        "the box is in conflict",
        PATIENCE,
        "runuser -u felhom-hub -- felhom-hub --config /etc/felhom/hub.toml host list | grep -i conflict",
    );
    // The box goes on with what it has, and repairs it.
    house.double("stop 202");
    machine.sh("systemctl restart felhom-agent");
    machine.eventually("the box repairs itself", PATIENCE, "felhom-agent plan");
    house.obeys(&after);
    let refused = machine.try_sh("echo '{}' | runuser -u felhom-hub -- felhom-hub --config /etc/felhom/hub.toml desired publish kovacs-haz - --yes");
    assert!(!refused.well(), "published over a newer box: {refused:?}");

    let right = document([lxc(201, "web"), lxc(202, "mail"), lxc(203, "files")]);
    machine.put("/opt/box.json", &serde_json::to_string(&right).expect("plain data"));
    let resume = guide.block("Backup of the hub", "desired resume").replace("box.json", "/opt/box.json");
    house.hub_follows(&resume);
    house.converges(PATIENCE);
    house.obeys(&right);
    assert_eq!(house.host()["conflict"], false);
}

#[test]
fn the_nightly_backup_runs_as_its_example_says() {
    let machine = Machine::container("backup_timer");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    machine.sh("cp /usr/share/doc/felhom-hub/examples/felhom-hub-backup.* /etc/systemd/system/ \
        && systemctl daemon-reload && systemctl enable --now felhom-hub-backup.timer && systemctl start felhom-hub-backup.service");
    machine.sh("systemctl list-timers --no-legend | grep felhom-hub-backup");
    assert_eq!(machine.sh("ls -d /var/backups/felhom-hub/felhom-hub-*/manifest.json | wc -l").trim(), "1");
    assert_eq!(machine.sh("stat -c '%a %U' /var/backups/felhom-hub").trim(), "700 felhom-hub");
    house.publish(&document([lxc(201, "web"), lxc(202, "mail")]));
}
