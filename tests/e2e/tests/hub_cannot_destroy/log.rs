//! What the agents of this test have logged: the same lines that journald or a terminal would get.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

/// The lines so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// This program's log; it is listened to from the first call on.
    pub(crate) fn listen() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        });
        log.clone()
    }

    /// Where it ends now.
    pub(crate) fn end(&self) -> usize {
        self.0.lock().expect("no holder panics").len()
    }

    /// The agent's lines after an earlier end; a hub within this program logs too.
    pub(crate) fn since(&self, end: usize) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0.lock().expect("no holder panics")[end..]).into_owned();
        text.lines().filter(|line| line.contains("felhom_agent")).map(ToOwned::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no holder panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
