//! Format, lints, dependencies, documentation and the rules of the house.

use std::fs;
use std::path::Path;

use clap::Args as ClapArgs;

use crate::process::{cargo, must, target_dir};
use crate::{Failed, root, units};

/// Arguments of `cargo xtask check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<(), Failed> {
    must(&mut cargo(&["fmt", "--all", "--check"]))?;
    must(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    must(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    dependencies()?;
    units::check()?;
    tidy()
}

/// The parts of cargo-deny that need no network, but for the crates of every platform that the lock names: a build
/// fetches its own platform's only, and `--offline` would then refuse to look at the rest.
fn dependencies() -> Result<(), Failed> {
    let tools = target_dir().join("tools");
    let deny = tools.join("bin/cargo-deny");
    if !deny.exists() {
        println!("building cargo-deny, once");
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--quiet", "--root"]);
        must(install.arg(&tools).arg("--target-dir").arg(tools.join("build")))?;
    }
    must(&mut cargo(&["fetch", "--locked", "--quiet"]))?;
    let mut check = std::process::Command::new(deny);
    must(check.args(["--log-level", "error", "--offline", "check", "bans", "licenses", "sources"]))
}

/// What no lint sees: every invariant has a test of its name, and no stub or machine path is left behind.
fn tidy() -> Result<(), Failed> {
    let mut sources = Vec::new();
    collect(root(), &mut sources)?;
    let architecture = read(&root().join("ARCHITECTURE.md"))?;
    let mut missing = Vec::new();
    for name in invariants(&architecture) {
        let test = format!("fn {name}");
        if !sources.iter().any(|(_, text)| text.contains(&test)) {
            missing.push(format!("ARCHITECTURE.md names the invariant {name}, and no test has that name"));
        }
    }
    for (path, text) in &sources {
        if !text.trim_start().starts_with("//!") && !path.ends_with("tests.rs") && !path.contains("/tests/") {
            missing.push(format!("{path} does not open with why it exists (`//!`)"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failed::said(missing.join("\n"))) }
}

/// Names in the table of invariants that are said to hold now: `| `name` | … |`.
fn invariants(architecture: &str) -> Vec<&str> {
    let rows = architecture.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name);
    names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect()
}

fn collect(folder: &Path, sources: &mut Vec<(String, String)>) -> Result<(), Failed> {
    let list = fs::read_dir(folder).map_err(|source| Failed::File { path: folder.to_owned(), source })?;
    for entry in list.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            sources.push((shown, read(&path)?));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|source| Failed::File { path: path.to_owned(), source })
}
