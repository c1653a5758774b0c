//! What the packaged agent costs a box where nothing happens, as systemd runs it: from the .deb, in its unit with its
//! sandbox, its timers and its watchdog, with hub and Proxmox double beside it.
//!
//! The agent is a process of a container, so its pages are nobody else's; what the kernel counts of it is read inside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use felhom_machine::{House, Machine};
use felhom_tests::bench::table::{number, print, say};
use felhom_tests::{document, lxc};

const GUESTS: u32 = 5;
/// What it does once after its start, and the cycle that tells of it, are not idling.
const SETTLE: Duration = Duration::from_secs(90);
/// At a cycle a minute, jittered: long enough for five.
const WINDOW: Duration = Duration::from_secs(300);

/// Everything as `name value`, one a line.
const READ: &str = r#"pid=$(systemctl show -P MainPID felhom-agent)
awk '/^Pss:/ {print "pss_kib", $2} /^Rss:/ {print "rss_kib", $2}' /proc/$pid/smaps_rollup
awk '{print "cpu_ticks", $14 + $15}' /proc/$pid/stat
awk '/^(non)?voluntary_ctxt_switches/ {n += $2} END {print "wakeups", n}' /proc/$pid/task/*/status
awk '/^write_bytes/ {print "written", $2}' /proc/$pid/io
echo restarts "$(systemctl show -P NRestarts felhom-agent)"
getconf CLK_TCK | sed 's/^/ticks_per_s /'"#;

fn main() {
    say("## idle_under_systemd\n");
    let machine = Machine::container("idle_under_systemd");
    let guests = (0..GUESTS).map(|number| lxc(201 + number, &format!("guest-{number}")));
    let _house = House::converged(&machine, &document(guests));
    // What it needed to converge belongs to no idle agent.
    machine.sh("systemctl restart felhom-agent");
    std::thread::sleep(SETTLE);
    let (before, begun) = (read(&machine), Instant::now());
    std::thread::sleep(WINDOW);
    let (after, window_s) = (read(&machine), begun.elapsed().as_secs_f64());
    assert_eq!(after["restarts"], 0.0, "it was started again while it was measured");

    let per_hour = |name: &str| (after[name] - before[name]) * 3600.0 / window_s;
    let row = [
        "felhom-agent.service, as shipped".to_owned(),
        number(after["pss_kib"] / 1024.0),
        number(after["rss_kib"] / 1024.0),
        number(per_hour("cpu_ticks") / after["ticks_per_s"]),
        number(per_hour("wakeups") / 3600.0),
        number(per_hour("written") / 1024.0),
    ];
    print(&["variant", "PSS MiB", "RSS MiB", "CPU s/h", "wake-ups/s", "KiB written/h"], &[row.to_vec()]);
}

fn read(machine: &Machine) -> BTreeMap<String, f64> {
    let said = machine.sh(READ);
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.trim().parse().expect("the kernel counts"))).collect()
}
