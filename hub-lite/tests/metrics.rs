//! The hub's numbers as an operator's Prometheus gets them, and the alert rules over them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use felhom_hub::clock::now_ms;
use felhom_hub::config::Config;
use felhom_hub::metrics::PATH;
use felhom_hub::serve::{Running, start};
use felhom_hub::store::hosts;
use felhom_shared::id::HostId;
use uuid::Uuid;

const RULES: &str = include_str!("../../docs/alerts/felhom-hub.rules.yml");
const DOCS: &str = include_str!("../../docs/metrics.md");

/// Runs promtool in the tests' folder; `false` where this machine may go without it.
fn promtool(args: &[&str], stdin: &str) -> bool {
    if std::env::var("FELHOM_NO_PROMTOOL").is_ok_and(|word| word == "1") {
        println!("FELHOM_NO_PROMTOOL=1: skipped, names and rules were not checked");
        return false;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts");
    let mut promtool = Command::new("promtool")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}; FELHOM_NO_PROMTOOL=1 skips this test"));
    promtool.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success(), "{text}");
    true
}

fn config(folder: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config { listen: any, metrics_listen: Some(any), data_dir: folder.to_owned(), ..Config::default() }
}

async fn hub(folder: &Path) -> Running {
    let running = start(config(folder)).await.unwrap();
    let added = running.state.store.write(|sql| {
        let host_id = HostId(Uuid::from_u128(1));
        hosts::add(sql, host_id, "kovacs-haz", None, now_ms())
    });
    added.await.unwrap();
    running
}

async fn fetch(running: &Running) -> String {
    let url = format!("http://{}{PATH}", running.metrics_addr.unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("felhom_hub_")).collect()
}

#[tokio::test]
async fn numbers_are_served_on_loopback_as_they_are_documented() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let running = hub(folder.path()).await;
    let text = fetch(&running).await;
    for line in [
        "felhom_hub_hosts{liveness=\"never\"} 1",
        "felhom_hub_host_desired_generation{host=\"kovacs-haz\"} 0",
        "felhom_hub_parked_polls 0",
        "felhom_hub_reports_total{result=\"stored\"} 0",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
    }
    let commits = text.lines().find_map(|line| line.strip_prefix("felhom_hub_commits_total ")).unwrap();
    assert!(commits.parse::<f64>().unwrap() >= 1.0, "adding a host was a commit");
    let families: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(families, names(DOCS), "docs/metrics.md and src/metrics.rs have the same metrics");
    promtool(&["check", "metrics"], &text);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn from_elsewhere_numbers_are_an_operators() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let running = hub(folder.path()).await;
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
    let answer = client.get(format!("https://{}{PATH}", running.local_addr)).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(!answer.text().await.unwrap().contains("kovacs-haz"));
    running.shutdown().await.unwrap();
}

#[test]
fn an_open_door_to_the_numbers_is_refused_outside_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.metrics_listen = Some(SocketAddr::from(([0, 0, 0, 0], 9469)));
    let refused = config.check().unwrap_err().to_string();
    assert!(refused.contains("must be a loopback address"), "{refused}");
}

#[test]
fn the_alert_rules_are_good_and_fire_where_they_should() {
    if promtool(&["check", "rules", "../../../docs/alerts/felhom-hub.rules.yml"], "") {
        promtool(&["test", "rules", "felhom-hub.test.yml"], "");
    }
    let tested = include_str!("alerts/felhom-hub.test.yml");
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 5);
    for alert in alerts {
        assert!(tested.contains(alert), "{alert} has no test");
    }
    let written = names(DOCS);
    assert!(names(RULES).is_subset(&written), "{:?}", names(RULES).difference(&written));
}
