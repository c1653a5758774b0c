//! A folder of its own for each test, the tool under test, and the real OpenSSH programs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const HOST: &str = "018f3c1e-5d3a-7c2b-9e4f-a1b2c3d4e5f6";
pub(crate) const GUEST: &str = "018f3c1e-5d3a-7c2b-9e4f-0a0b0c0d0e0f";
pub(crate) const DIGEST: &str = "abababababababababababababababababababab";
pub(crate) const PASSPHRASE: &str = "correct horse battery";

pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no program here is killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The exit code is `code`; the error shows what was said.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        desk.write("passphrase", PASSPHRASE);
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `felhom-sign` here; `typed` is its standard input.
    pub(crate) fn sign(&self, arguments: &[&str], typed: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-sign"));
        command.args(arguments).env_remove("SSH_AUTH_SOCK");
        self.run(command, typed)
    }

    /// Runs one of OpenSSH's programs here.
    pub(crate) fn openssh(&self, name: &str, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(program(name));
        command.args(arguments).env_remove("SSH_AUTH_SOCK");
        self.run(command, input)
    }

    pub(crate) fn run(&self, mut command: Command, input: &str) -> Ran {
        command.current_dir(self.folder.path()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that does not read its input closes it; that is no failure.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    }

    /// A key made by ssh-keygen, without a passphrase; answers its public line.
    pub(crate) fn ssh_key(&self, name: &str) -> String {
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name];
        self.openssh("ssh-keygen", &arguments, "").exits(0);
        self.read(&format!("{name}.pub")).trim_end().to_owned()
    }

    /// A keyset of one root and one operator's key, version 1, signed; answers its digest.
    pub(crate) fn keyset(&self, root: &str, ops: &[&str]) -> String {
        let mut arguments = vec!["keyset", "init", "--json", "--key", root];
        let root_public = format!("{root}.pub");
        let ops: Vec<_> = ops.iter().map(|key| format!("{key}.pub")).collect();
        arguments.extend(["--root", &root_public]);
        ops.iter().for_each(|key| arguments.extend(["--ops", key]));
        let told = self.sign(&arguments, "").exits(0).stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["digest"].as_str().unwrap().to_owned()
    }

    /// Takes an envelope with one signature apart, for stock programs: `NAME.payload` and `NAME.sig`.
    pub(crate) fn split(&self, envelope: &str) {
        let text = self.read(envelope);
        let (payload, signature) = text.split_once('\n').unwrap();
        self.write(&format!("{envelope}.payload"), &format!("{payload}\n"));
        self.write(&format!("{envelope}.sig"), signature);
    }
}

pub(crate) fn draft(op: &str, name: &str) -> String {
    format!(
        r#"{{"op":"{op}","target":{{"host_id":"{HOST}","guest_id":"{GUEST}"}},"params":{{"expect":{{"vmid":101,"name":"{name}","config_digest":"{DIGEST}"}}}}}}"#
    )
}

/// Where a program is; without it these tests prove nothing, so they fail.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: these tests run the real OpenSSH programs (Debian: openssh-client)")
    })
}

/// An ssh-agent of this test's own, stopped by its own process id.
pub(crate) struct SshAgent {
    child: std::process::Child,
    pub(crate) socket: PathBuf,
}

impl SshAgent {
    pub(crate) fn start(folder: &Path) -> Self {
        let socket = folder.join("agent.sock");
        let child = Command::new(program("ssh-agent"))
            .args(["-D", "-a"])
            .arg(&socket)
            .env_remove("SSH_AUTH_SOCK")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, socket };
        for _ in 0..200 {
            if std::os::unix::net::UnixStream::connect(&agent.socket).is_ok() {
                return agent;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("ssh-agent does not listen at {}", agent.socket.display());
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
