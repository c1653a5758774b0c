//! A house on a machine: Proxmox's double as the host's API, and hub and agent put there by the install guide's own
//! commands, from the packages.

use std::time::Duration;

use fake_pve::Snapshot;
use felhom_shared::desired::DesiredState;
use felhom_tests::broken;
use serde_json::Value;

use crate::{Guide, Machine};

/// Where the packages and the double lie on every machine.
const PAYLOAD: &str = "/opt/felhom";
/// The name that the guide gives the box.
pub(crate) const BOX: &str = "kovacs-haz";
const PATIENCE: Duration = Duration::from_secs(120);
const OPEN_STEPS: &str =
    "sqlite3 'file:/var/lib/felhom/agent.db?mode=ro' 'SELECT count(*) FROM journal WHERE outcome IS NULL'";
const CLOSES: Duration = Duration::from_secs(60);
const OPERATOR_PASSWORD: &str = "only on this machine\n";

/// Stands in for what a Proxmox host brings: its API under its real unit's name, `pveum` and `pveversion`.
const DOUBLE_UNIT: &str = "[Unit]
Description=the double of the Proxmox API
[Service]
ExecStart=/usr/local/sbin/fake-pve serve --listen 127.0.0.1:8006 --control 127.0.0.1:8007 --dir /var/lib/pve-double --task-ms 200 --real-mounts
[Install]
WantedBy=multi-user.target
";
const PVEUM: &str = "#!/bin/sh
case \"$*\" in *'token add'*)
	secret=$(cut -d= -f2 /var/lib/pve-double/token)
	echo '{\"full-tokenid\":\"felhom@pve!agent\",\"info\":{\"privsep\":\"1\"},\"value\":\"'\"$secret\"'\"}' ;;
esac
";
/// `pct` and `qm`, as far as the agent's helper uses them, over the double's own controls.
const PCT: &str = r#"#!/bin/sh
ctl() { fake-pve ctl --control 127.0.0.1:8007 "$@"; }
look() {
	ctl state >/tmp/state.$$
	sqlite3 :memory: "select coalesce(json_extract(cast(readfile('/tmp/state.$$') as text), '\$.guests.\"$2\".$1'), '')"
	rm -f /tmp/state.$$
}
case "$1" in
config) lock=$(look config.lock "$2"); [ -z "$lock" ] || echo "lock: $lock" ;;
status) [ -z "$(look running "$2")" ] && echo 'status: stopped' || echo 'status: running' ;;
unlock) ctl lock "$2" ;;
destroy) ctl destroy-guest "$2" ;;
*) exit 2 ;;
esac
"#;
const PVEVERSION: &str =
    "#!/bin/sh\necho 'pve-manager/8.4.1/2a5fa54a8503f96d (running kernel: 6.8.12-9-pve)'\n";

/// Hub, agent and double on one machine.
pub struct House<'a> {
    machine: &'a Machine,
}

impl<'a> House<'a> {
    /// Follows the guide from its first command to a running agent. Nothing is published yet.
    #[must_use]
    pub fn by_the_guide(machine: &'a Machine) -> Self {
        let house = Self { machine };
        house.install_proxmox();
        house.install_hub();
        house.install_agent();
        house
    }

    /// As `by_the_guide`, with this document published and reached.
    #[must_use]
    pub fn converged(machine: &'a Machine, document: &DesiredState) -> Self {
        let house = Self::by_the_guide(machine);
        house.publish(document);
        house.converges(PATIENCE);
        house
    }

    /// The host as Proxmox's own installer would leave it.
    pub fn install_proxmox(&self) {
        let machine = self.machine;
        // Of its own, because a machine that boots again has the payload only later.
        machine.sh(&format!("cp {PAYLOAD}/fake-pve /usr/local/sbin/"));
        machine.put("/etc/systemd/system/pveproxy.service", DOUBLE_UNIT);
        machine.put_program("/usr/local/sbin/pveum", PVEUM);
        machine.put_program("/usr/local/sbin/pveversion", PVEVERSION);
        machine.put_program("/usr/sbin/pct", PCT);
        machine.put_program("/usr/sbin/qm", PCT);
        machine.sh("mkdir -p /etc/pve/local /var/lib/pve-double
            ln -s /var/lib/pve-double/pve-ssl.pem /etc/pve/local/pve-ssl.pem
            systemctl daemon-reload && systemctl enable --now pveproxy");
        machine.eventually("the double is up", PATIENCE, "test -s /var/lib/pve-double/control-address");
        machine.sh("echo 127.0.0.1 hub.example >> /etc/hosts");
    }

    /// The section on the hub, and the box made known to it.
    pub fn install_hub(&self) {
        let (guide, machine) = (Guide::install(), self.machine);
        self.follow(guide.block("The hub", "apt-get install"), "");
        machine.feed("cat >> /etc/felhom/hub.toml", &format!("{}\n", guide.block("The hub", "public_url")));
        self.follow(guide.block("The hub", "systemctl restart"), "");
        let said = self.follow(guide.block("The hub", "host add"), OPERATOR_PASSWORD);
        machine.feed("umask 077; cat > /root/slip", &said);
    }

    /// The section on a box, with what the hub printed for it.
    pub fn install_agent(&self) {
        let (guide, machine) = (Guide::install(), self.machine);
        let slip = machine.sh("cat /root/slip");
        let (key, toml) = slip.split_once("agent.toml:").expect("the hub prints the key, then the file");
        let key = key.lines().map(str::trim).find(|line| line.starts_with("fhk1_")).unwrap_or_else(|| {
            panic!("a key in {key}");
        });
        self.follow(guide.block("A box", "felhom-pve-role setup"), "");
        self.follow(guide.block("A box", "cat > /etc/felhom/hub-key"), &format!("{key}\n"));
        machine.put("/etc/felhom/agent.toml", toml);
        self.follow(guide.block("A box", "felhom-agent doctor"), "");
    }

    /// Runs a block of the guide as root, in the folder where the packages lie.
    #[track_caller]
    pub fn follow(&self, block: &str, stdin: &str) -> String {
        self.machine.feed(&format!("set -eu\ncd {PAYLOAD}\n{block}"), stdin)
    }

    /// The hub's command line, as the guide says to call it.
    #[track_caller]
    pub fn hub(&self, args: &str, stdin: &str) -> String {
        self.machine.feed(&format!("{}\nhub {args}", alias()), stdin)
    }

    /// Runs a block of the guide in which `hub` is said for the hub's command line.
    #[track_caller]
    pub fn hub_follows(&self, block: &str) -> String {
        self.follow(&format!("{}\n{block}", alias()), "")
    }

    /// What it is on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.machine
    }

    /// Publishes a document.
    #[track_caller]
    pub fn publish(&self, document: &DesiredState) {
        let text = serde_json::to_string(document).expect("a document is plain data");
        self.hub(&format!("desired publish {BOX} - --yes"), &text);
    }

    /// Panics unless the node is as the document says, with nothing doubled and nothing left behind.
    #[track_caller]
    pub fn obeys(&self, document: &DesiredState) {
        let broken = broken(&self.node(), document);
        assert!(broken.is_empty(), "the node is not as it should be:\n  {}", broken.join("\n  "));
        // The step is closed a moment after the node shows its effect.
        let closed = format!("[ \"$({OPEN_STEPS})\" = 0 ]");
        self.machine.eventually("no step open in the agent's journal", CLOSES, &closed);
    }

    /// The box as the hub sees it.
    #[must_use]
    pub fn host(&self) -> Value {
        let rows: Value =
            serde_json::from_str(&self.hub("host list --json", "")).expect("JSON was asked for");
        rows[0].clone()
    }

    /// Waits until every item of the published document is as it should be.
    #[track_caller]
    pub fn converges(&self, patience: Duration) {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let host = self.host();
            if host["desired"].is_u64() && host["desired"] == host["reached"] {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "not converged within {patience:?}: {}",
                self.why(&host)
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What hub and box say about a box that does not come to its end.
    fn why(&self, host: &Value) -> String {
        let said = self.machine.try_sh("felhom-agent status; felhom-agent plan");
        format!("{host:#}\n{}{}", said.out, said.err)
    }

    /// Cycles every few seconds, for a test that waits for one.
    pub fn hurry(&self) {
        self.machine.sh("echo 'poll_interval_s = 5' >> /etc/felhom/hub.toml && systemctl restart felhom-hub");
    }

    /// How often systemd has started this unit again by itself.
    #[must_use]
    pub fn restarts(&self, unit: &str) -> u32 {
        let text = self.machine.sh(&format!("systemctl show -P NRestarts {unit}"));
        text.trim().parse().expect("systemd counts")
    }

    /// Adds settings to a unit, as an administrator would, and makes systemd read them.
    pub fn drop_in(&self, unit: &str, text: &str) {
        self.machine.put(&format!("/etc/systemd/system/{unit}.service.d/test.conf"), text);
        self.machine.sh("systemctl daemon-reload");
    }

    /// What is really on the node: guests, storages, volumes and tasks.
    #[must_use]
    pub fn node(&self) -> Snapshot {
        serde_json::from_str(&self.double("state")).expect("the double answers in JSON")
    }

    /// Makes something happen on the node.
    #[track_caller]
    pub fn double(&self, verb: &str) -> String {
        self.machine.sh(&format!("fake-pve ctl --control 127.0.0.1:8007 {verb}"))
    }
}

/// The guide's own word for the hub's command line.
fn alias() -> &'static str {
    let block = Guide::install().block("The hub", "alias hub=");
    block.lines().find(|line| line.starts_with("alias hub=")).expect("the block was found by it")
}
