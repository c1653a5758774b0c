//! Two programs on one state.

use std::fs;
use std::time::Duration;

use felhom_shared::key::{ApiKey, KeyKind};
use felhom_tests::{Program, host_id, wait_until};

use crate::scene::Scene;

pub(super) fn two_agents() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let private = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let scene = Scene::new();
    let key = ApiKey::from_random(KeyKind::Host, [1; 10], &[2; 32]);
    private("hub-key", key.expose());
    private("pve-token", scene.house.node().token());
    let config = format!(
        "host_id = \"{}\"\nstate_dir = \"{}\"\n\n[hub]\nurl = \"https://127.0.0.1:9\"\npins = [\"sha256:{}\"]\n\
         key_file = \"{}\"\n\n[pve]\nurl = \"{}\"\ncertificate = \"{}\"\ntoken_file = \"{}\"\n",
        host_id(),
        path("state"),
        "0".repeat(64),
        path("hub-key"),
        scene.house.node().base_url(),
        scene.house.node().cert_path().display(),
        path("pve-token"),
    );
    private("agent.toml", &config);
    let arguments = ["run", "--config", &path("agent.toml")];
    let first = Program::start("felhom-agent", &arguments);
    let database = folder.path().join("state/agent.db");
    wait_until("the first agent is at work", Duration::from_secs(20), || database.exists());
    let second = Program::run("felhom-agent", &arguments);
    first.terminate();
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    match (second.status.success(), words.contains("another agent runs on this state")) {
        (false, true) => "refused: another agent".to_owned(),
        _ => format!("{:?}: {words}", second.status),
    }
}
