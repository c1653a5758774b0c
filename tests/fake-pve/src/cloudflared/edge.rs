//! What the double of cloudflared connects to. A connection begins with one line, tunnel and secret; it is answered with a
//! line, and lasts until either side ends it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a client may take for its first line.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cloudflare's edge, as far as a tunnel sees it.
#[derive(Debug, Clone)]
pub struct Edge {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    refused: BTreeSet<String>,
    cut: bool,
    open: Vec<TcpStream>,
    /// Tunnel and secret of every connection that was let in.
    admitted: Vec<(String, String)>,
}

impl Edge {
    /// Listens; port 0 takes a free one. Lasts as long as the process.
    pub fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let edge = Self { address: listener.local_addr()?, shared: Arc::default() };
        let answering = edge.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let edge = answering.clone();
                std::thread::spawn(move || drop(edge.answer(stream)));
            }
        });
        Ok(edge)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The secret is rotated: no new connection with it. Those that are open last.
    pub fn refuse(&self, secret: &str) {
        self.shared().refused.insert(secret.to_owned());
    }

    /// The line is down: open connections end, and no new one comes about.
    pub fn cut(&self, cut: bool) {
        let mut shared = self.shared();
        shared.cut = cut;
        if cut {
            shared.open.drain(..).for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
        }
    }

    /// Secrets of the connections that were let in, oldest first.
    #[must_use]
    pub fn admitted(&self) -> Vec<String> {
        self.shared().admitted.iter().map(|(_, secret)| secret.clone()).collect()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(tunnel), Some(secret)) = (words.next(), words.next()) else { return Ok(()) };
        let mut shared = self.shared();
        if shared.cut {
            return Ok(());
        }
        if shared.refused.contains(&secret) {
            return stream.write_all(b"Unauthorized: Invalid tunnel secret\n");
        }
        stream.write_all(b"OK\n")?;
        shared.admitted.push((tunnel, secret));
        shared.open.push(stream);
        Ok(())
    }
}
