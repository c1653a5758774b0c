//! The program as a person runs it: serve, ctl, kill -9, serve again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fake-pve");

/// A served node that does not outlive its test.
struct Served(Child);

impl Served {
    fn start(dir: &Path) -> Self {
        // What a killed run left would be found before the new one removes it.
        let _ = std::fs::remove_file(dir.join("control-address"));
        let child =
            Command::new(PROGRAM).arg("serve").arg("--dir").arg(dir).stdout(Stdio::null()).spawn().unwrap();
        let served = Self(child);
        let until = Instant::now() + Duration::from_secs(20);
        // Written last.
        while !dir.join("control-address").exists() {
            assert!(Instant::now() < until, "the program does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        served
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ctl(dir: &Path, words: &[&str]) -> (bool, String) {
    let address = std::fs::read_to_string(dir.join("control-address")).unwrap();
    let output =
        Command::new(PROGRAM).args(["ctl", "--control", address.trim()]).args(words).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), text)
}

#[test]
fn a_killed_node_comes_back_with_its_guests_and_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let token = std::fs::read_to_string(dir.path().join("token")).unwrap();
    let mode = std::fs::metadata(dir.path().join("token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(ctl(dir.path(), &["create-guest", "107", "lxc", "theirs"]), (true, "\"done\"\n".to_owned()));
    let (worked, text) = ctl(dir.path(), &["lock", "999", "backup"]);
    assert!(!worked && text.contains("no guest 999"), "{text}");
    served.kill();
    let served = Served::start(dir.path());
    assert_eq!(std::fs::read_to_string(dir.path().join("token")).unwrap(), token);
    let (_, state) = ctl(dir.path(), &["state"]);
    assert!(state.contains("theirs"), "{state}");
    served.kill();
}
