//! `fake-pve serve` runs a double for people and scripts, `fake-pve ctl` talks to its
//! control side, `fake-pve distil` renews the built-in schema.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line's output is its purpose")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use fake_pve::{Drive, FakePve, Options, SchemaSource, Verb, write_addresses};

/// A stateful double of a Proxmox VE node.
#[derive(Parser)]
#[command(name = "fake-pve")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until interrupted.
    Serve(Serve),
    /// Make something happen on a running node.
    Ctl {
        /// Its control address (see DIR/control-address).
        #[arg(long)]
        control: SocketAddr,
        #[command(subcommand)]
        verb: Verb,
    },
    /// Print the built-in schema made from the official pve-api.json.
    Distil {
        /// The official description.
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// API address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Control address.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Certificate, token, addresses and state.
    #[arg(long)]
    dir: PathBuf,
    /// Name of the node.
    #[arg(long, default_value = "pve1")]
    node: String,
    /// How long a task works.
    #[arg(long, default_value_t = 1500)]
    task_ms: u64,
    /// What each call costs, in milliseconds; fractions allowed.
    #[arg(long, default_value_t = 0.0)]
    latency_ms: f64,
    /// Feeds MACs, orders and chances.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is mounted on this machine is mounted in PVE's eyes.
    #[arg(long)]
    real_mounts: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => run(&serve),
        Command::Ctl { control, verb } => ctl(control, &verb),
        Command::Distil { file } => distil(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("fake-pve: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

fn run(serve: &Serve) -> Done {
    for stale in ["address", "control-address"] {
        // A script must not find the addresses of the run before.
        let _ = std::fs::remove_file(serve.dir.join(stale));
    }
    let fake = FakePve::start(Options {
        listen: serve.listen,
        control: Some(serve.control),
        dir: Some(serve.dir.clone()),
        node: serve.node.clone(),
        seed: serve.seed,
        task_time: Duration::from_millis(serve.task_ms),
        latency: Duration::from_secs_f64(serve.latency_ms.max(0.0) / 1000.0),
        auth_delay: Duration::from_secs(3),
        lock_timeout: Duration::from_secs(10),
        broadcast_period: Duration::from_secs(10),
        real_mounts: serve.real_mounts,
        ..Options::default()
    })?;
    fake.control().set_drives(&Drive::usual())?;
    write_addresses(&fake)?;
    println!("API      {}/api2/json ({} calls)", fake.base_url(), fake.calls_supported());
    if let Some(control) = fake.control_address() {
        println!("control  {control}");
    }
    println!("pin      {}", fake.cert_path().display());
    println!("token    in {}", serve.dir.join("token").display());
    match fake.schema_source() {
        SchemaSource::Official(path) => println!("schema   official, {}", path.display()),
        SchemaSource::BuiltIn => println!("schema   built in (the official one is not here)"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(until_interrupted())?;
    fake.shutdown();
    Ok(())
}

async fn until_interrupted() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// One request and its answer need no HTTP library.
fn ctl(control: SocketAddr, verb: &Verb) -> Done {
    let body = serde_json::to_string(verb)?;
    let mut stream = TcpStream::connect(control)?;
    write!(
        stream,
        "POST /control HTTP/1.1\r\nHost: fake-pve\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let value: serde_json::Value = serde_json::from_str(body)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(value["error"].as_str().unwrap_or("refused").to_owned().into());
    }
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

fn distil(file: &PathBuf) -> Done {
    let api = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    print!("{}", fake_pve::distil(&api));
    Ok(())
}
