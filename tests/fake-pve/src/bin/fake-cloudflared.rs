//! `cloudflared`, as far as a unit calls it, and `edge`, what it connects to.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line's output is its purpose")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fake_pve::cloudflared::{Edge, Run, TunnelToken, run};

const TUNNEL: &str = "7a0e0001-0000-4000-8000-000000000001";

#[derive(Parser)]
#[command(name = "cloudflared", version = "2026.11.0 (a double)")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A tunnel.
    Tunnel(Tunnel),
    /// Not of the real one: prints a token, with the secret that follows from a word.
    Token {
        /// Any.
        word: String,
        /// One that cloudflared does not take.
        #[arg(long)]
        of_no_tunnel: bool,
    },
    /// Not of the real one: what tunnels connect to.
    Edge {
        /// Where.
        #[arg(long, default_value = "127.0.0.1:7844")]
        listen: SocketAddr,
        /// Secrets that are let in no more.
        #[arg(long)]
        refuse: Vec<String>,
    },
}

#[derive(Args)]
struct Tunnel {
    /// Do not replace the program.
    #[arg(long)]
    no_autoupdate: bool,
    /// Where `/ready` and `/metrics` are served.
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// For requests under way when it is told to end.
    #[arg(long)]
    grace_period: Option<String>,
    #[command(subcommand)]
    run: TunnelRun,
}

#[derive(Subcommand)]
enum TunnelRun {
    /// Run it.
    Run {
        /// Its token.
        #[arg(long)]
        token: Option<String>,
        /// A file with its token.
        #[arg(long)]
        token_file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Tunnel(tunnel) => {
            if !tunnel.no_autoupdate {
                eprintln!("INF cloudflared would replace itself within a day");
            }
            let _ = tunnel.grace_period;
            let TunnelRun::Run { token, token_file } = tunnel.run;
            run(&Run { token, token_file, metrics: tunnel.metrics })
        }
        Command::Token { word, of_no_tunnel } => {
            let tunnel = if of_no_tunnel { "no-tunnel" } else { TUNNEL };
            println!("{}", TunnelToken::new(tunnel, &word).text());
            ExitCode::SUCCESS
        }
        Command::Edge { listen, refuse } => match Edge::start(listen) {
            Ok(edge) => {
                refuse.iter().for_each(|secret| edge.refuse(secret));
                println!("edge on {}", edge.address());
                loop {
                    std::thread::park();
                }
            }
            Err(error) => {
                eprintln!("{listen}: {error}");
                ExitCode::FAILURE
            }
        },
    }
}
