//! The two sockets of a VM: qemu's monitor (QMP) and the agent inside (QGA). Both speak lines of JSON.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long one answer may take under emulation on a busy machine.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

/// A conversation over one of the sockets.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Monitor {
    /// Connects as soon as the socket is there.
    pub(crate) fn connect(path: &Path, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => {
                    assert!(Instant::now() < deadline, "{}: {error}", path.display());
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout of a second is valid");
        Self { stream: BufReader::new(stream), line: Vec::new() }
    }

    /// qemu's monitor, ready for commands.
    pub(crate) fn qmp(path: &Path) -> Self {
        let mut monitor = Self::connect(path, Duration::from_secs(20));
        monitor.must("qmp_capabilities", &json!({}));
        monitor
    }

    /// Asks, and returns the answer; what qemu tells on its own in between is left out.
    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        self.say(command, arguments)?;
        let deadline = Instant::now() + ANSWER_PATIENCE;
        while let Some(mut answer) = self.hear(deadline)? {
            if let Some(error) = answer.get("error") {
                return Err(format!("{command} {arguments}: {error}"));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
        Err(format!("{command}: no answer within {ANSWER_PATIENCE:?}"))
    }

    /// As `ask`; an error ends the test.
    #[track_caller]
    pub(crate) fn must(&mut self, command: &str, arguments: &Value) -> Value {
        self.ask(command, arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until the agent inside answers to the newest of our numbers: what it still owes to earlier questions, asked
    /// before it ran or by somebody else, is skipped.
    pub(crate) fn sync(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut number = std::process::id();
        while Instant::now() < deadline {
            number = number.wrapping_add(1);
            let asked = self.say("guest-sync", &json!({ "id": number }));
            let until = (Instant::now() + Duration::from_secs(2)).min(deadline);
            while let (Ok(()), Ok(Some(answer))) = (&asked, self.hear(until)) {
                if answer["return"] == number {
                    return;
                }
            }
        }
        panic!("the agent inside does not answer within {patience:?}");
    }

    fn say(&mut self, command: &str, arguments: &Value) -> Result<(), String> {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(b"\n")).map_err(|e| e.to_string())
    }

    /// The next message; `None` when there is none before the deadline.
    fn hear(&mut self, deadline: Instant) -> Result<Option<Value>, String> {
        while Instant::now() < deadline {
            match self.stream.read_until(b'\n', &mut self.line) {
                Ok(0) => return Err("the machine is gone".to_owned()),
                Ok(_) if self.line.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.line);
                    return serde_json::from_slice(&line).map(Some).map_err(|error| error.to_string());
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(None)
    }
}
