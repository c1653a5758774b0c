//! `cloudflared tunnel run`: connections that are kept up, `/ready` and `/metrics`, systemd told when there is one.

#![expect(clippy::print_stderr, reason = "the real one logs there, and a person reads it")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::TunnelToken;

/// What the real one opens.
const CONNECTIONS: u32 = 4;
/// The edge of this machine, unless `TUNNEL_EDGE` names another, as the real one's variable does.
const EDGE: &str = "127.0.0.1:7844";
/// Appended to a copy of this program, it is another version: `FAKE_CLOUDFLARED 2026.10.0`, or one that never connects where
/// the version ends in `-broken`.
const STAMP: &[u8] = b"FAKE_CLOUDFLARED ";
/// Not of the real one: the process with which it ends.
const PARENT: &str = "FAKE_CLOUDFLARED_PARENT";
const USUAL_VERSION: &str = "2026.11.0";
/// `UsageError` of the real one ends with -1.
const USAGE_ERROR: u8 = 255;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// What it was called with.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// `--token`
    pub token: Option<String>,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--metrics`
    pub metrics: Option<SocketAddr>,
}

/// Runs until the process ends, or says why not.
#[must_use]
pub fn run(run: &Run) -> ExitCode {
    let version = version();
    log("INF", &format!("Version {version}"));
    let text = match read_token(run) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("Failed to read token file: {error}\nSee 'cloudflared tunnel run --help'.");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let Some(token) = TunnelToken::parse(&text) else {
        eprintln!("Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'.");
        return ExitCode::from(USAGE_ERROR);
    };
    let listener = match listen(run.metrics) {
        Ok(listener) => listener,
        Err(error) => {
            log("ERR", &format!("Error opening metrics server listener error={error:?}"));
            return ExitCode::FAILURE;
        }
    };
    end_with_parent();
    let ready = Arc::new(AtomicU32::new(0));
    if !version.ends_with("-broken") {
        for index in 0..CONNECTIONS {
            let (token, ready) = (token.clone(), Arc::clone(&ready));
            std::thread::spawn(move || keep_up(index, &token, &ready));
        }
    }
    for stream in listener.incoming().flatten() {
        let _ = answer(stream, ready.load(Ordering::SeqCst), &version);
    }
    ExitCode::SUCCESS
}

/// Where a double of systemd started it, it ends with that: nobody else would end it.
fn end_with_parent() {
    let parent = std::env::var(PARENT).ok().and_then(|text| text.parse::<u32>().ok());
    let Some(parent) = parent else { return };
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_millis(200));
        }
        std::process::exit(0);
    });
}

/// Argument, then environment, then file: `--token` wins over `--token-file`.
fn read_token(run: &Run) -> io::Result<String> {
    if let Some(token) = &run.token {
        return Ok(token.clone());
    }
    if let Ok(token) = std::env::var("TUNNEL_TOKEN") {
        return Ok(token);
    }
    let file = run.token_file.clone().or_else(|| std::env::var_os("TUNNEL_TOKEN_FILE").map(PathBuf::from));
    match file {
        Some(path) => fs::read_to_string(path),
        None => Ok(String::new()),
    }
}

fn version() -> String {
    let own = std::env::current_exe().and_then(fs::read).unwrap_or_default();
    let tail = &own[own.len().saturating_sub(128)..];
    let at = tail.windows(STAMP.len()).position(|part| part == STAMP);
    let stamped = at.map(|at| String::from_utf8_lossy(&tail[at + STAMP.len()..]).trim().to_owned());
    stamped.unwrap_or_else(|| USUAL_VERSION.to_owned())
}

/// Without an address: the first free of 20241 to 20245, else any.
fn listen(wanted: Option<SocketAddr>) -> io::Result<TcpListener> {
    if let Some(address) = wanted {
        return TcpListener::bind(address);
    }
    let usual = (20241..=20245).find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    usual.map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
}

fn keep_up(index: u32, token: &TunnelToken, ready: &AtomicU32) {
    let edge = std::env::var("TUNNEL_EDGE").unwrap_or_else(|_| EDGE.to_owned());
    let mut pause = RETRY_FIRST;
    loop {
        match connect(&edge, token) {
            Ok(mut stream) => {
                pause = RETRY_FIRST;
                log("INF", &format!("Registered tunnel connection connIndex={index}"));
                if ready.fetch_add(1, Ordering::SeqCst) == 0 {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
                }
                // Nothing comes but the end.
                let _ = stream.read(&mut [0]);
                ready.fetch_sub(1, Ordering::SeqCst);
                log("ERR", &format!("Connection terminated connIndex={index}"));
            }
            Err(error) => {
                log(
                    "ERR",
                    &format!("Register tunnel error from server side error={error:?} connIndex={index}"),
                );
                pause = (pause * 2).min(RETRY_LONGEST);
            }
        }
        std::thread::sleep(pause);
    }
}

fn connect(edge: &str, token: &TunnelToken) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(edge)?;
    stream.write_all(format!("{} {}\n", token.t, token.s).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    if line.trim() == "OK" { Ok(stream) } else { Err(io::Error::other(line.trim().to_owned())) }
}

fn answer(mut stream: TcpStream, ready: u32, version: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let (status, body) = match line.split_whitespace().nth(1) {
        Some("/ready") => {
            let status = if ready > 0 { 200 } else { 503 };
            let connector = "5a6ef7a0-0000-4000-8000-000000000001";
            (
                status,
                format!(r#"{{"status":{status},"readyConnections":{ready},"connectorId":"{connector}"}}"#),
            )
        }
        Some("/metrics") => {
            let labels = format!(r#"goversion="go1.26.0",revision="x",type="",version="{version}""#);
            (200, format!("# TYPE build_info gauge\nbuild_info{{{labels}}} 1\n"))
        }
        Some("/healthcheck") => (200, "OK\n".to_owned()),
        _ => (404, "404 page not found\n".to_owned()),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn log(level: &str, text: &str) {
    eprintln!("{:.0} {level} {text}", jiff::Timestamp::now());
}
