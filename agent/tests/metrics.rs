//! The numbers as an operator's Prometheus gets them: the file that the program writes, and the alert rules over it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_pve::{FakePve, Options};
use felhom_shared::key::{ApiKey, KeyKind};

mod small_hub;

use small_hub::SmallHub;

const PATIENCE: Duration = Duration::from_secs(30);
const RULES: &str = include_str!("../../docs/alerts/felhom-agent.rules.yml");

/// Runs promtool in the tests' folder; `false` where this machine may go without it.
fn promtool(args: &[&str]) -> bool {
    if std::env::var("FELHOM_NO_PROMTOOL").is_ok_and(|word| word == "1") {
        println!("FELHOM_NO_PROMTOOL=1: skipped, the alert rules were not checked");
        return false;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts");
    let said = Command::new("promtool").args(args).current_dir(folder).output();
    let said = said.unwrap_or_else(|error| panic!("promtool: {error}; FELHOM_NO_PROMTOOL=1 skips this test"));
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success(), "{text}");
    true
}

#[test]
fn the_alert_rules_are_good_and_fire_where_they_should() {
    if promtool(&["check", "rules", "../../../docs/alerts/felhom-agent.rules.yml"]) {
        promtool(&["test", "rules", "felhom-agent.test.yml"]);
    }
}

fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("felhom_agent_")).collect()
}

#[test]
fn every_alert_is_tested_and_watches_what_the_agent_writes() {
    let tested = include_str!("alerts/felhom-agent.test.yml");
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        assert!(tested.contains(alert), "{alert} has no test");
    }
    let written = metric_names(include_str!("../../docs/metrics.md"));
    let watched = metric_names(RULES);
    let unknown: Vec<_> = watched.difference(&written).collect();
    assert!(!watched.is_empty() && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_program_writes_a_file_that_node_exporter_may_read_whatever_its_umask() {
    let folder = tempfile::tempdir().unwrap();
    let (node, hub) = (FakePve::start(Options::default()).unwrap(), SmallHub::start());
    let private = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    private("hub-key", ApiKey::from_random(KeyKind::Host, [1; 10], &[2; 32]).expose());
    private("pve-token", node.token());
    let (at, file) = (folder.path().display(), folder.path().join("felhom-agent.prom"));
    let config = format!(
        "host_id = \"fe110000-0000-4000-8000-000000000001\"\nstate_dir = \"{at}/state\"\n\n[hub]\nurl = \"{}\"\npins = [\"{}\"]\n\
         key_file = \"{at}/hub-key\"\n\n[pve]\nurl = \"{}\"\ncertificate = {:?}\ntoken_file = \"{at}/pve-token\"\n\n\
         [metrics]\ntextfile = {file:?}\n",
        hub.url(),
        hub.pin,
        node.base_url(),
        node.cert_path(),
    );
    private("agent.toml", &config);
    let program =
        format!("umask 077; exec {:?} --config {at}/agent.toml run", env!("CARGO_BIN_EXE_felhom-agent"));
    let mut agent = Command::new("sh").args(["-c", &program]).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !file.exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let text = fs::read_to_string(&file).unwrap();
    assert!(hub.polls() > 0 && text.contains("felhom_agent_pve_reachable 1\n"), "{text}");
    assert!(!text.contains("felhom_agent_hub_last_contact_timestamp_seconds 0\n"), "{text}");
    assert!(!text.contains(node.token()) && !text.contains(&hub.url()), "{text}");
}
