//! `cargo xtask demo`: the main job on one machine, for a person to look at and to play with.
//!
//! Real programs on loopback, nothing simulated but the Proxmox node: a hub, an agent, and the fake node with
//! room for twenty guests. `--once` puts them through what must hold and ends with a table.

mod house;
mod once;
mod signing;
mod tunnel;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::Args as ClapArgs;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::Value;

use crate::process::wait_for;
use crate::{Failed, root};
use house::House;

/// Arguments of `cargo xtask demo`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Check convergence, a quiet second cycle, a repaired drift and a killed agent; then end.
    #[arg(long)]
    once: bool,
    /// Another desired-state file.
    #[arg(long)]
    desired: Option<PathBuf>,
    /// Keep the demo's folder when it ends.
    #[arg(long)]
    keep: bool,
    /// Port of the hub; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

impl Args {
    /// What the tests run.
    pub(crate) fn once() -> Self {
        Self { once: true, desired: None, keep: false, port: 0 }
    }
}

const CONVERGE_PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let example = args.desired.clone().unwrap_or_else(|| root().join("docs/examples/desired.json"));
    house::build()?;
    let mut house = House::start(args.port)?;
    let desired = house.folder().join("desired.json");
    copy(&example, &desired)?;
    if args.desired.is_none() {
        add_storage(&desired)?;
        tunnel::add(&house, &desired)?;
    }
    println!("publishing {}", example.strip_prefix(root()).unwrap_or(&example).display());
    let began = Instant::now();
    house.publish(&desired)?;
    follow(&mut house)?;
    let converged_in = began.elapsed();
    println!("converged in {:.1} s", converged_in.as_secs_f64());
    if args.once {
        once::run(&mut house, &desired, converged_in)?;
    } else {
        if args.desired.is_none() {
            let keys = house.keys();
            signing::give_one_up(&mut house, &keys, &desired)?;
        }
        stay(&mut house, &desired)?;
    }
    house.end(args.keep)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    std::fs::copy(from, to).map_err(|source| Failed::File { path: from.to_owned(), source })?;
    Ok(())
}

/// The example is any box's; the double has a drive for this one.
fn add_storage(desired: &Path) -> Result<(), Failed> {
    let storage = read(&root().join("docs/examples/storage.json"))?;
    edit(desired, |document| {
        document["storage"] = storage;
        Ok(())
    })
    .map(drop)
}

fn read(path: &Path) -> Result<Value, Failed> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Failed::File { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|error| Failed::said(format!("{}: {error}", path.display())))
}

/// Changes a document as a person with an editor would, and returns it.
fn edit(desired: &Path, change: impl FnOnce(&mut Value) -> Result<(), Failed>) -> Result<Value, Failed> {
    let mut document = read(desired)?;
    change(&mut document)?;
    std::fs::write(desired, format!("{document:#}\n"))
        .map_err(|source| Failed::File { path: desired.to_owned(), source })?;
    Ok(document)
}

/// Prints what each guest is doing until all of them are where the newest generation wants them.
fn follow(house: &mut House) -> Result<(), Failed> {
    let mut shown = String::new();
    wait_for("convergence", CONVERGE_PATIENCE, || {
        house.check()?;
        let Some(status) = house.agent_status()? else { return Ok(None) };
        let words = words(&status);
        if words != shown {
            shown.clone_from(&words);
            println!("  {words}");
        }
        Ok(is_converged(&status, house.generation()).then_some(()))
    })
}

/// Whether the agent says that everything of `generation` is as desired.
fn is_converged(status: &Value, generation: u64) -> bool {
    status["generation"]["reached"].as_u64() == Some(generation)
}

/// `photos ready · tunnel connected · nextcloud converged · dns converging`
fn words(status: &Value) -> String {
    let guests = status["guests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |guest: &Value| {
        format!("{} {}", guest["name"].as_str().unwrap_or("?"), guest["outcome"].as_str().unwrap_or("?"))
    };
    let storage = status["storage"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = |storage: &Value| {
        format!(
            "{} {}",
            storage["storage"].as_str().unwrap_or("?"),
            storage["readiness"].as_str().unwrap_or("?")
        )
    };
    let tunnel = status["tunnel"]["readiness"].as_str().map(|readiness| format!("tunnel {readiness}"));
    storage.iter().map(ready).chain(tunnel).chain(guests.iter().map(word)).collect::<Vec<_>>().join(" · ")
}

/// Stays up, publishing the file again whenever it is saved, until Ctrl-C.
fn stay(house: &mut House, desired: &Path) -> Result<(), Failed> {
    let broken = |error: nix::Error| Failed::said(format!("signals cannot be waited for: {error}"));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(broken)?;
    let waiting = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK).map_err(broken)?;
    house.welcome(desired);
    let mut saved = modified(desired);
    loop {
        if waiting.read_signal().map_err(broken)?.is_some() {
            println!("\nending the demo");
            return Ok(());
        }
        house.check()?;
        let now = modified(desired);
        if now != saved {
            saved = now;
            publish_edit(house, desired)?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A bad edit is for the person who made it; it does not end the demo.
fn publish_edit(house: &mut House, desired: &Path) -> Result<(), Failed> {
    println!("{} was saved", desired.display());
    match house.publish(desired) {
        Ok(()) => match follow(house) {
            Ok(()) => println!("converged"),
            Err(error) => println!("not converged: {error}; the page says why"),
        },
        Err(error) => println!("not published: {error}"),
    }
    house.check()
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
