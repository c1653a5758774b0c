//! Starting programs and ending exactly those, by their own ids.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Failed, root};

/// Runs a command to its end with its output on the terminal.
pub(crate) fn must(command: &mut Command) -> Result<(), Failed> {
    let what = describe(command);
    let status = run(command)?;
    if status.success() { Ok(()) } else { Err(Failed::Status { what, status }) }
}

/// Runs a command to its end and returns how it ended.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus, Failed> {
    let what = describe(command);
    command.current_dir(root()).status().map_err(|source| Failed::Start { what, source })
}

/// Runs a command and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failed> {
    let what = describe(command);
    let output = command
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Failed::Start { what: what.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failed::Status { what, status: output.status })
    }
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// What a program prints that is given `input` on standard input, where no process list shows it.
pub(crate) fn fed(command: &mut Command, input: &str) -> Result<String, Failed> {
    let what = describe(command);
    let start = |source| Failed::Start { what: what.clone(), source };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(start)?;
    }
    let output = child.wait_with_output().map_err(start)?;
    if !output.status.success() {
        return Err(Failed::Status { what, status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `cargo` with these arguments.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program of this workspace as built for development.
pub(crate) fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// A program that runs beside us and ends with us.
pub(crate) struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts a program with its output in a file.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, Failed> {
        let open = || std::fs::File::options().create(true).append(true).open(log);
        let file = |source| Failed::File { path: log.to_owned(), source };
        let (out, err) = (open().map_err(file)?, open().map_err(file)?);
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| Failed::Start { what: name.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// An error if the program has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Failed> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Failed::Status { what: format!("{} ended by itself", self.name), status })
            }
            Err(source) => Err(Failed::Start { what: self.name.clone(), source }),
        }
    }

    /// Ends the program at once, as a power cut would.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn end(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Looks every 50 ms until `look` finds what it wants.
pub(crate) fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Failed>,
) -> Result<T, Failed> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Failed::said(format!("{what} did not happen within {patience:?}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
