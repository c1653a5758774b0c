//! Agent and hub with a real network between them, which loses packets, is cut, and comes late.

use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_tests::{document, lxc};

const PATIENCE: Duration = Duration::from_secs(180);

/// The hub in a network of its own, one cable away; the name in the agent's configuration leads there now.
fn apart(house: &House<'_>, machine: &Machine) {
    machine.sh("ip netns add hub && ip link add name box type veth peer name uplink netns hub \
        && ip address add 10.9.0.1/24 dev box && ip link set box up \
        && ip -n hub address add 10.9.0.2/24 dev uplink && ip -n hub link set uplink up && ip -n hub link set lo up \
        && nft add table inet lossy && nft add chain inet lossy out '{ type filter hook output priority 0; }' \
        && nft add chain inet lossy in '{ type filter hook input priority 0; }'");
    house.drop_in("felhom-hub", "[Service]\nNetworkNamespacePath=/run/netns/hub\n");
    machine.sh("sed -i 's/^127.0.0.1 hub.example/10.9.0.2 hub.example/' /etc/hosts && systemctl restart felhom-hub felhom-agent");
}

#[test]
fn a_network_that_loses_three_packets_of_ten_is_slow_and_nothing_else() {
    let machine = Machine::container("network_loss");
    let house = House::by_the_guide(&machine);
    apart(&house, &machine);
    for chain in ["in", "out"] {
        let rule = "ip saddr 10.9.0.0/24 numgen random mod 100 < 30 counter drop";
        machine.sh(&format!("nft 'add rule inet lossy {chain} {rule}'"));
    }
    let mut wanted = document([]);
    for vmid in 201..206 {
        wanted.guests.push(lxc(vmid, &format!("web-{vmid}")));
        house.publish(&wanted);
        house.converges(PATIENCE);
    }
    house.obeys(&wanted);
    let lost = machine.sh("nft list table inet lossy");
    assert!(!lost.contains("packets 0 "), "packets were lost in both directions: {lost}");
}

#[test]
fn a_cut_cable_stops_no_repair_and_the_news_arrive_when_it_is_mended() {
    let machine = Machine::container("network_partition");
    let house = House::converged(&machine, &document([lxc(201, "web")]));
    house.hurry();
    apart(&house, &machine);
    machine.eventually("they find each other again", PATIENCE, "felhom-agent doctor");
    machine.sh("nft add rule inet lossy out ip daddr 10.9.0.2 drop && nft add rule inet lossy in ip saddr 10.9.0.2 drop");
    let wanted = document([lxc(201, "web"), lxc(202, "mail")]);
    house.publish(&wanted);
    house.double("stop 201");
    machine.eventually(
        "the box repairs itself without the hub",
        PATIENCE,
        "fake-pve ctl --control 127.0.0.1:8007 state | grep -q '\"running\": {'",
    );
    assert!(!house.node().guests.contains_key(&202), "what was published cannot be known yet");
    machine.sh("nft flush chain inet lossy in && nft flush chain inet lossy out");
    house.converges(PATIENCE);
    house.obeys(&wanted);
}

#[test]
fn a_network_that_comes_late_is_no_failure() {
    let machine = Machine::container("network_late");
    let house = House::by_the_guide(&machine);
    // An address that this machine does not have yet.
    machine.sh("sed -i 's/^listen = .*/listen = \"10.9.0.7:8443\"/' /etc/felhom/hub.toml \
        && sed -i 's/^127.0.0.1 hub.example/10.9.0.7 hub.example/' /etc/hosts");
    house.drop_in("felhom-hub", "[Service]\nRestartSec=1\n");
    machine.sh("systemctl restart felhom-agent; systemctl restart felhom-hub --no-block");
    machine.eventually(
        "the hub cannot bind and is tried again",
        PATIENCE,
        "test $(systemctl show -P NRestarts felhom-hub) -ge 2",
    );
    assert_eq!(
        machine.sh("systemctl is-active felhom-agent").trim(),
        "active",
        "an agent without a hub runs"
    );
    machine.sh("ip link add name late type veth peer name other && ip address add 10.9.0.7/24 dev late && ip link set late up");
    machine.eventually("the hub is there", PATIENCE, "systemctl is-active felhom-hub");
    house.publish(&document([lxc(201, "web")]));
    house.converges(PATIENCE);
    assert_eq!(house.restarts("felhom-agent"), 0);
}
