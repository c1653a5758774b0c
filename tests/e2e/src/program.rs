//! The real programs, as processes. Each is ended by its own id, at the latest when its handle is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts one of the workspace's programs by its name.
    #[must_use]
    pub fn start(name: &str, args: &[&str]) -> Self {
        let child = Command::new(path_of(name))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child }
    }

    /// Runs one of the workspace's programs to its end.
    #[must_use]
    pub fn output(name: &str, args: &[&str]) -> Output {
        let run = Command::new(path_of(name)).args(args).stdin(Stdio::null()).env("NO_COLOR", "1").output();
        run.unwrap_or_else(|error| panic!("{name} does not start: {error}"))
    }

    /// Runs one of the workspace's programs to its end, and returns what it said.
    #[must_use]
    pub fn run(name: &str, args: &[&str]) -> Output {
        let output = Command::new(path_of(name)).args(args).stdin(Stdio::null()).output();
        output.unwrap_or_else(|error| panic!("{name} does not start: {error}"))
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
    }

    fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it is our child and has not been waited for");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Where a program lies, after building all of them once: cargo names only a package's own to its tests.
pub(crate) fn path_of(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    let this = std::env::current_exe().expect("a test is a file");
    let folder = this.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace, as `cargo xtask test` builds it: another selection would have other features of the
    // dependencies and build them anew every time.
    command.args(["build", "--quiet", "--workspace", "--bins"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo told this test about itself is no business of the build: build scripts that see it changed run
    // again, and everything above them with them.
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| name.to_str().is_some_and(about_this_package)) {
        command.env_remove(name);
    }
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "the programs do not build");
    folder
}

fn about_this_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}
