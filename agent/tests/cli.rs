//! The program as a person meets it: exit codes, text, JSON.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fake_pve::{FakePve, Kind, Options, Token};
use serde_json::Value;
use tempfile::TempDir;

const HOST_ID: &str = "fe110000-0000-4000-8000-000000000001";
const MARK: &str = "fh-701e2d010000";
const DOCUMENT: &str = r#"{"version": 1, "identity": {"name": "test-house"}, "guests": [
  {"guest_id": "701e2d01-0000-4000-8000-000000000001", "vmid": 101, "kind": "lxc", "name": "web", "cores": 2, "memory_mib": 1024,
   "source": {"template": {"storage": "local", "file": "debian-12-standard_12.12-1_amd64.tar.zst"}},
   "disks": {"rootfs": {"storage": "local-lvm", "size_gib": 8}}, "networks": {"net0": {"bridge": "vmbr0", "ip": "dhcp"}}, "tags": ["app"]},
  {"guest_id": "711f2e02-0000-4000-8000-000000000002", "vmid": 110, "kind": "qemu", "name": "mail", "cores": 2, "memory_mib": 2048,
   "source": {"clone": {"vmid": 9000, "storage": "local-lvm"}}, "disks": {"scsi0": {"storage": "local-lvm", "size_gib": 8}}}HELD]}"#;
const PRIVILEGED: &str = r#",
  {"guest_id": "72202f03-0000-4000-8000-000000000003", "vmid": 120, "kind": "lxc", "name": "legacy", "cores": 1, "memory_mib": 512,
   "source": {"template": {"storage": "local", "file": "debian-12-standard_12.12-1_amd64.tar.zst"}}, "unprivileged": false,
   "disks": {"rootfs": {"storage": "local-lvm", "size_gib": 4}}}"#;

/// A box with configuration, secrets and a node, but no hub.
struct Desk {
    node: FakePve,
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self::with(Options::default(), None)
    }

    fn with(options: Options, token: Option<&str>) -> Self {
        let (node, folder) = (FakePve::start(options).unwrap(), tempfile::tempdir().unwrap());
        let desk = Self { node, folder };
        let token = token.unwrap_or_else(|| desk.node.token());
        desk.secret("pve-token", token);
        desk.secret(
            "hub-key",
            felhom_shared::key::ApiKey::from_random(felhom_shared::key::KeyKind::Host, [1; 10], &[2; 32])
                .expose(),
        );
        let folder = desk.folder.path().display();
        let config = format!(
            "host_id = \"{HOST_ID}\"\nstate_dir = \"{folder}\"\n\n[hub]\nurl = \"https://127.0.0.1:9\"\npins = [\"sha256:{}\"]\n\
             key_file = \"{folder}/hub-key\"\n\n[pve]\nurl = \"{}\"\ncertificate = \"{}\"\ntoken_file = \"{folder}/pve-token\"\n",
            "00".repeat(32),
            desk.node.base_url(),
            desk.node.cert_path().display()
        );
        fs::write(desk.path("agent.toml"), config).unwrap();
        desk.write_desired("");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn write_desired(&self, more: &str) {
        fs::write(self.path("desired.json"), DOCUMENT.replace("HELD", more)).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_felhom-agent"))
            .arg("--config")
            .arg(self.path("agent.toml"))
            .args(args)
            .output()
            .unwrap()
    }

    fn plan(&self, more: &[&str]) -> Output {
        let desired = self.path("desired.json").display().to_string();
        self.run(&[&["plan", "--desired", &desired], more].concat())
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn plan_shows_what_would_be_done_and_does_nothing() {
    let desk = Desk::new();
    desk.write_desired(PRIVILEGED);
    let shown = desk.plan(&[]);
    assert_eq!(code(&shown), 11, "something is held");
    insta::assert_snapshot!(text(&shown));
    assert_eq!(desk.node.control().counters().changing, 0);
}

#[test]
fn plan_exits_10_when_steps_would_run_and_0_when_nothing_is_left() {
    let desk = Desk::new();
    assert_eq!(code(&desk.plan(&[])), 10);
    let empty = r#"{"version": 1, "identity": {"name": "test-house"}}"#;
    fs::write(desk.path("desired.json"), empty).unwrap();
    assert_eq!(code(&desk.plan(&[])), 0);
}

#[test]
fn plan_as_json_says_the_same() {
    let desk = Desk::new();
    let shown = desk.plan(&["--json"]);
    assert_eq!(code(&shown), 10);
    let value: Value = serde_json::from_str(&text(&shown)).unwrap();
    assert_eq!(value["node"]["reading"], "present");
    let steps: Vec<&str> = value["guests"][0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["create_guest", "start_guest"]);
    assert_eq!(value["unmanaged"][0]["vmid"], 9000);
}

#[test]
fn output_has_no_escapes_whatever_a_guest_is_called() {
    let desk = Desk::new();
    desk.node.control().create_guest(300, Kind::Lxc, "\u{1b}[31mred\u{202e}").unwrap();
    let shown = Command::new(env!("CARGO_BIN_EXE_felhom-agent"))
        .env("NO_COLOR", "1")
        .arg("--config")
        .arg(desk.path("agent.toml"))
        .args(["plan", "--desired"])
        .arg(desk.path("desired.json"))
        .output()
        .unwrap();
    let text = text(&shown);
    assert!(text.contains("red") && !text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
}

#[test]
fn a_node_out_of_reach_is_exit_11_and_nothing_is_concluded() {
    let desk = Desk::new();
    desk.node.control().set_daemon(false);
    let shown = desk.plan(&[]);
    assert_eq!(code(&shown), 11);
    assert!(!text(&shown).contains("create_guest"), "{}", text(&shown));
}

#[test]
fn a_document_that_is_none_is_exit_1_with_its_code() {
    let desk = Desk::new();
    desk.write_desired(r#", {"colour": "red"}"#);
    let shown = desk.plan(&[]);
    assert_eq!(code(&shown), 1);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains("desired_unknown_field") && said.contains("colour"), "{said}");
}

/// Puts the document in force as the agent itself would.
fn put_in_force(folder: &Path) {
    use felhom_agent::accept::Accepted;
    use felhom_shared::desired::{DesiredState, digest};
    let bytes = fs::read(folder.join("desired.json")).unwrap();
    let desired = DesiredState::from_json(&bytes).unwrap();
    let accepted = Accepted { generation: felhom_shared::id::Generation(7), digest: digest(&bytes), desired };
    felhom_agent::state::State::open(folder).unwrap().put_accepted(&accepted, &bytes).unwrap();
}

#[test]
fn explain_names_cause_and_who_must_act() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run(&["explain", "web"])), 1, "no document is in force yet");
    put_in_force(desk.folder.path());
    desk.node.control().create_guest(101, Kind::Lxc, "theirs").unwrap();
    for name in ["web", "101", "701e2d01-0000-4000-8000-000000000001"] {
        let shown = desk.run(&["explain", name]);
        assert_eq!(code(&shown), 0);
        let text = text(&shown);
        assert!(text.contains("vmid_taken") && text.contains(MARK), "{text}");
        assert!(text.contains("the operator must change the document"), "{text}");
    }
    let unknown = desk.run(&["explain", "nobody"]);
    assert_eq!(code(&unknown), 1);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nobody"));
    let json: Value = serde_json::from_str(&text(&desk.run(&["--json", "explain", "web"]))).unwrap();
    assert_eq!(json["outcome"], "refused");
}

#[test]
fn status_asks_nobody_and_says_so_before_the_first_cycle() {
    let desk = Desk::new();
    let shown = desk.run(&["status"]);
    assert_eq!(code(&shown), 1);
    assert!(text(&shown).contains("felhom-agent doctor"));
    assert_eq!(desk.node.control().counters().all, 0);
}

#[test]
fn a_state_of_a_newer_agent_is_refused_by_every_command_and_named_by_doctor() {
    let desk = Desk::new();
    put_in_force(desk.folder.path());
    let newer = rusqlite::Connection::open(desk.path("agent.db")).unwrap();
    newer.pragma_update(None, "user_version", felhom_agent::state::FORMAT + 1).unwrap();
    for command in ["run", "status"] {
        let shown = desk.run(&[command]);
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert_eq!(code(&shown), 1, "{command}: {said}");
        assert!(said.contains("install the newer felhom-agent again"), "{command}: {said}");
    }
    let said = text(&desk.run(&["doctor"]));
    assert!(said.lines().any(|line| line.starts_with("FAIL  state ") && line.contains("newer")), "{said}");
}

#[test]
fn doctor_looks_at_the_textfile_once_it_is_asked_for() {
    let desk = Desk::new();
    let metrics = |desk: &Desk| {
        let said = text(&desk.run(&["doctor"]));
        said.lines().find(|line| line.contains("metrics ")).map(str::to_owned)
    };
    assert_eq!(metrics(&desk), None, "off unless asked for");
    let file = desk.path("felhom-agent.prom");
    let config = fs::read_to_string(desk.path("agent.toml")).unwrap();
    let ask = |path: &Path| {
        fs::write(desk.path("agent.toml"), format!("{config}\n[metrics]\ntextfile = {path:?}\n")).unwrap();
    };
    ask(&file);
    assert!(metrics(&desk).unwrap().starts_with("ok "), "the agent has not run yet");
    put_in_force(desk.folder.path());
    let said = metrics(&desk).unwrap();
    assert!(
        said.starts_with("FAIL") && said.contains("was never written") && said.contains("textfile.conf"),
        "{said}"
    );
    fs::write(&file, "").unwrap();
    assert!(metrics(&desk).unwrap().starts_with("ok "));
    ask(&desk.path("felhom-agent.txt"));
    assert!(metrics(&desk).unwrap().contains("must be a whole path that ends in .prom"));
    ask(&desk.path("nowhere/felhom-agent.prom"));
    assert!(metrics(&desk).unwrap().contains("is prometheus-node-exporter installed?"));
}

#[test]
fn doctor_with_a_good_token_finds_only_the_missing_hub() {
    let desk = Desk::new();
    let shown = desk.run(&["doctor", "--json"]);
    assert_eq!(code(&shown), 1, "there is no hub");
    let findings: Vec<Value> = serde_json::from_str(&text(&shown)).unwrap();
    let bad: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["ok"] == false)
        .map(|finding| finding["check"].as_str().unwrap())
        .collect();
    assert_eq!(bad, ["hub"], "{findings:?}");
}

#[test]
fn doctor_with_a_poor_token_names_every_missing_privilege() {
    let poor = Token::poor("low@pve!agent", "9c4c0d3e-0000-4000-8000-00000000beef")
        .grant("/vms", &["VM.Audit", "VM.PowerMgmt"])
        .grant("/nodes", &["Sys.Audit"]);
    let token = format!("{}={}", poor.id, poor.secret);
    let desk = Desk::with(Options { tokens: vec![poor], ..Options::default() }, Some(&token));
    let shown = desk.run(&["doctor"]);
    assert_eq!(code(&shown), 1);
    let line = text(&shown).lines().find(|line| line.contains("privileges")).unwrap().to_owned();
    assert!(line.starts_with("FAIL") && line.contains("VM.Allocate on /vms"), "{line}");
    assert!(!line.contains("VM.PowerMgmt"), "{line}");
}

#[test]
fn a_secret_that_others_may_read_is_refused_and_not_shown() {
    let desk = Desk::new();
    fs::set_permissions(desk.path("pve-token"), fs::Permissions::from_mode(0o644)).unwrap();
    let shown = desk.plan(&[]);
    assert_eq!(code(&shown), 1);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains("chmod 600"), "{said}");
    assert!(!said.contains(desk.node.token().split('=').nth(1).unwrap()));
}

#[test]
fn wrong_use_is_exit_2() {
    assert_eq!(code(&Desk::new().run(&["destroy-everything"])), 2);
}
