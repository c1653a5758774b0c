//! A blank Debian machine, and nothing but what the install guide says.

use std::time::Duration;

use felhom_machine::{Guide, House, Machine};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn the_install_guide_leads_to_a_converged_host() {
    let machine = Machine::container("the_install_guide_leads_to_a_converged_host");
    let house = House::by_the_guide(&machine);
    house.hub_follows(Guide::install().block("What the box should be", "desired publish"));
    house.converges(PATIENCE);
    let plan = machine.try_sh("felhom-agent plan");
    assert!(plan.well(), "nothing is left to do: {plan:?}");
    assert_eq!(machine.sh("systemctl is-active felhom-hub felhom-agent").trim(), "active\nactive");
    assert_eq!(
        machine
            .sh("systemctl show -P NRestarts felhom-hub felhom-agent")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["0", "0"]
    );
}
