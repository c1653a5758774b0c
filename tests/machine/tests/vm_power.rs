//! The power goes at any moment, again and again. Nothing acknowledged is lost, nothing is made twice, and nobody has to
//! lend a hand. How many rounds: `cargo xtask machine --power-cuts N`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use felhom_machine::{House, Machine};
use felhom_shared::desired::DesiredState;
use felhom_shared::id::HostId;
use felhom_tests::{Acknowledged, Enrolled, Random, always_open, document, lxc, qemu, talk, with_mount};
use serde_json::Value;

/// The double's disk keeps what Proxmox would keep: its books are synced with every change.
const PVE_DISK: &str = "mkfs.ext4 -q -L pve /dev/disk/by-id/virtio-FELHOM-1 && mkdir -p /var/lib/pve-double \
    && echo 'LABEL=pve /var/lib/pve-double ext4 sync,dirsync 0 2' >> /etc/fstab && mount /var/lib/pve-double";
/// Every round changes every guest; the budget, meant for a person's changes, is not what is tested here.
const BUDGET: &str =
    "sed -i '1i change_budget_per_hour = 100000' /etc/felhom/agent.toml && systemctl restart felhom-agent";
/// As the operator would, and without waiting for the answer.
const PUBLISH_LATER: &str = "systemd-run --quiet --no-block --uid felhom-hub felhom-hub --config /etc/felhom/hub.toml \
    desired publish kovacs-haz /var/tmp/desired.json --yes";
const PUBLISH_IF_LOST: &str = "desired diff kovacs-haz /var/tmp/desired.json || \
    hub desired publish kovacs-haz /var/tmp/desired.json --yes";
const CONVERGES: Duration = Duration::from_secs(240);
/// From the order to publish: before the hub has it, while the box works, and after.
const LONGEST_MS: u64 = 12_000;

/// Round by round more guests, and changes to those that are there.
fn wanted(round: u32) -> DesiredState {
    let newest = (0..=round).map(|number| {
        let mut guest = if number % 3 == 2 {
            qemu(200 + number, &format!("machine-{number}"))
        } else {
            with_mount(lxc(200 + number, &format!("container-{number}")), 2)
        };
        guest.memory_mib += 64 * (round % 4);
        guest
    });
    // A machine's memory changes with a reboot, and that waits for a window.
    DesiredState { maintenance_window: Some(always_open()), ..document(newest) }
}

#[test]
fn power_cuts_lose_nothing_acknowledged_and_double_no_guest() {
    let rounds: u32 = std::env::var("FELHOM_POWER_CUTS").map_or(5, |text| text.parse().expect("a number"));
    let seed = Random::fresh_seed();
    println!("{rounds} power cuts, seed {seed}");
    let mut random = Random::new(seed);
    let machine = Machine::booted_vm("power_cuts");
    machine.sh(PVE_DISK);
    let house = House::by_the_guide(&machine);
    machine.sh(BUDGET);
    let witness = Witness::start(&house, &machine);
    for round in 0..rounds {
        let document = wanted(round);
        machine.put("/var/tmp/desired.json", &serde_json::to_string(&document).expect("plain data"));
        machine.sh("sync");
        // The order goes out, and the power may go before it arrives.
        machine.sh(PUBLISH_LATER);
        let moment = Duration::from_millis(random.below(LONGEST_MS));
        std::thread::sleep(moment);
        machine.hardware().cut_power();
        machine.hardware().power_on();
        // An order that the hub had not taken yet is given again, as the operator would who got no answer.
        house.hub(PUBLISH_IF_LOST, "");
        house.converges(CONVERGES);
        house.obeys(&document);
        consistent(&machine);
        println!("round {round}: cut after {moment:?}, converged with {} guests", document.guests.len());
    }
    let heard = witness.stop();
    let hub = look(&machine);
    heard.is_all_in(&hub);
    assert!(heard.events > 0 && heard.failures > 0, "the cuts hit nobody: {heard:?}");
    println!(
        "{} reports and {} events acknowledged, {} calls failed",
        heard.reports.len(),
        heard.events,
        heard.failures
    );
}

/// File systems without an error, databases whole, no step twice in the books of the box's outbox.
fn consistent(machine: &Machine) {
    let errors = machine.try_sh("journalctl -k -b --no-pager | grep -E 'EXT4-fs (error|warning)|I/O error'");
    assert_eq!(errors.out, "", "the kernel complains");
    for database in ["/var/lib/felhom/agent.db", "/var/lib/felhom-hub/hub.db"] {
        let checked = machine.sh(&format!("sqlite3 'file:{database}?mode=ro' 'PRAGMA integrity_check'"));
        assert_eq!(checked.trim(), "ok", "{database}");
    }
    // The box's own events: each once, none missing between the first and the last.
    let gaps = machine.sh(
        "sqlite3 'file:/var/lib/felhom-hub/hub.db?mode=ro' 'SELECT count(*) FROM (SELECT host_id, outbox_id, count(*) AS n, \
         max(seq) AS last FROM events GROUP BY host_id, outbox_id) WHERE n <> last'",
    );
    assert_eq!(gaps.trim(), "0", "events are missing or doubled");
    let failed = machine.sh("systemctl list-units --failed --no-legend --plain");
    assert_eq!(failed.trim(), "", "units that failed");
}

/// A second box that never stops talking to the hub, from outside, across every cut.
struct Witness {
    runtime: tokio::runtime::Runtime,
    go_on: Arc<AtomicBool>,
    talking: tokio::task::JoinHandle<Acknowledged>,
}

impl Witness {
    fn start(house: &House<'_>, machine: &Machine) -> Self {
        let slip: Value =
            serde_json::from_str(&house.hub("host add witness --json", "")).expect("JSON was asked for");
        let word = |name: &str| slip[name].as_str().expect("a text").to_owned();
        let host_id = HostId(uuid::Uuid::parse_str(&word("host_id")).expect("an id"));
        let known = Enrolled { host_id, key: word("key") };
        let at = (format!("https://127.0.0.1:{}", machine.hardware().hub_port()), word("pin"));
        let go_on = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&go_on);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime of its own");
        let talking = runtime.spawn(talk(known, at, move || asked.load(Ordering::Relaxed)));
        Self { runtime, go_on, talking }
    }

    fn stop(self) -> Acknowledged {
        self.go_on.store(false, Ordering::Relaxed);
        self.runtime.block_on(self.talking).expect("it talks until it is told to stop")
    }
}

/// The hub's database as it is, brought out of the machine.
fn look(machine: &Machine) -> rusqlite::Connection {
    let text =
        machine.sh("sqlite3 /var/lib/felhom-hub/hub.db '.backup /root/copy.db' && base64 -w0 /root/copy.db");
    let bytes = data_encoding::BASE64.decode(text.trim().as_bytes()).expect("base64 says base64");
    let file = machine.hardware().folder().join("hub.db");
    std::fs::write(&file, bytes).expect("the machine's folder can be written");
    rusqlite::Connection::open(&file).expect("a database")
}
