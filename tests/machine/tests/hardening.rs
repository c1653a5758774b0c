//! What the programs could do if somebody took them over: probed from inside their units, with their sandboxes on.

use std::time::Duration;

use felhom_machine::{House, Machine, Tunnel};
use felhom_tests::{document, lxc};

const PATIENCE: Duration = Duration::from_secs(120);

/// Each line of the probe: what is tried, and whether it may work. Runs as the unit's own ExecStartPre, so with its
/// users, mounts, capabilities and system calls.
fn probe(machine: &Machine, unit: &str, (state, setting): (&str, &str), tries: &[(&str, bool)]) {
    let mut script = "#!/bin/sh\nexec 2>/dev/null\n".to_owned();
    for (number, (tried, _)) in tries.iter().enumerate() {
        script.push_str(&format!(
            "if ( {tried} ) >/dev/null; then echo {number} yes; else echo {number} no; fi\n"
        ));
    }
    machine.put_program("/usr/local/bin/probe", &script);
    let house_rules =
        format!("[Service]\n{setting}ExecStartPre=/bin/sh -c '/usr/local/bin/probe > {state}/probe'\n");
    machine.put(&format!("/etc/systemd/system/{unit}.service.d/probe.conf"), &house_rules);
    machine.sh(&format!("systemctl daemon-reload && systemctl restart {unit}"));
    let said = machine.sh(&format!("cat {state}/probe"));
    for (number, (tried, may)) in tries.iter().enumerate() {
        let answer = format!("{number} {}", if *may { "yes" } else { "no" });
        assert!(
            said.lines().any(|line| line == answer),
            "{unit}: `{tried}` should {}work\n{said}",
            if *may { "" } else { "not " }
        );
    }
}

/// What none of the programs may do.
const NEVER: [(&str, bool); 14] = [
    ("touch /etc/felhom/new", false),
    ("touch /usr/bin/new", false),
    ("touch /root/new", false),
    ("ls /root/secret", false),
    ("ls /home/customer", false),
    ("mount -t tmpfs tmpfs /mnt", false),
    ("unshare -m true", false),
    ("mknod /tmp/disk b 8 0", false),
    ("ls /dev/kmsg", false),
    ("date -s 2001-01-01", false),
    ("hostname other", false),
    ("echo 1 > /proc/sys/vm/drop_caches", false),
    ("kill -0 1", false),
    ("renice -n -5 $$", false),
];

#[test]
fn a_captured_agent_reaches_its_own_state_and_the_network_and_nothing_else() {
    let machine = Machine::container("hardening_agent");
    machine.sh("echo secret > /root/secret && mkdir -p /home/customer && echo mine > /var/lib/other");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    let mut tries = NEVER.to_vec();
    tries.extend([
        // It has to read these, or it could do nothing at all.
        ("cat /etc/felhom/hub-key", true),
        ("cat /etc/felhom/pve-token", true),
        ("touch /var/lib/felhom/own", true),
        ("touch /var/lib/other", false),
        ("touch /etc/pve/local/pve-ssl.pem", false),
        ("rm /etc/felhom/hub-key", false),
        // Root without its powers is no more than the owner of its files.
        ("cat /var/lib/felhom-hub/hub-key.pem", false),
        ("chown nobody /var/lib/felhom/own", false),
    ]);
    probe(&machine, "felhom-agent", ("/var/lib/felhom", ""), &tries);
    house.obeys(&document([lxc(201, "web")]));
}

#[test]
fn a_captured_hub_reaches_its_own_state_and_the_network_and_nothing_else() {
    let machine = Machine::container("hardening_hub");
    machine.sh("echo secret > /root/secret && mkdir -p /home/customer");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    let mut tries = NEVER.to_vec();
    tries.extend([
        ("cat /etc/felhom/hub.toml", true),
        ("touch /var/lib/felhom-hub/own", true),
        ("cat /etc/felhom/hub-key", false),
        ("cat /etc/felhom/pve-token", false),
        ("ls /var/lib/felhom", false),
        ("id -u | grep -x 0", false),
    ]);
    probe(&machine, "felhom-hub", ("/var/lib/felhom-hub", ""), &tries);
    house.publish(&document([lxc(201, "web"), lxc(202, "mail")]));
}

#[test]
fn a_captured_cloudflared_reaches_its_token_and_the_network_and_nothing_else() {
    let machine = Machine::container("hardening_tunnel");
    machine.sh("echo secret > /root/secret && mkdir -p /home/customer");
    let house = House::by_the_guide(&machine);
    let tunnel = Tunnel::on(&house, &[]);
    tunnel.desire("one", 60);
    house.converges(PATIENCE);
    let mut tries = NEVER.to_vec();
    tries.extend([
        ("cat $CREDENTIALS_DIRECTORY/token", true),
        ("id -u | grep -x 0", false),
        ("cat /var/lib/felhom-tunnel/current/token", false),
        ("touch /var/lib/felhom-tunnel/current/cloudflared", false),
        ("ls /etc/felhom", false),
        ("ls /var/lib/felhom", false),
        ("ls /var/lib/felhom-hub", false),
        ("cat /proc/meminfo", false),
        ("ls /proc/1/ns", false),
    ]);
    probe(
        &machine,
        "felhom-tunnel",
        ("/run/probe", "RuntimeDirectory=probe\nRuntimeDirectoryPreserve=yes\n"),
        &tries,
    );
    machine.eventually(
        "with its sandbox on it connects",
        PATIENCE,
        "felhom-agent status | grep -q connected",
    );
}
