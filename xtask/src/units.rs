//! What systemd and dpkg will run, looked at without running it: units, their hardening, maintainer scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{must, output};
use crate::{Failed, root};

/// Units with the exposure that `systemd-analyze security` may find at most.
const UNITS: [(&str, f32); 3] =
    [("felhom-agent.service", 5.0), ("felhom-hub.service", 3.0), ("felhom-tunnel.service", 2.0)];

/// Cheap enough for `cargo xtask check`: syntax of scripts, and units where systemd can judge them.
pub(crate) fn check() -> Result<(), Failed> {
    for script in scripts()? {
        must(Command::new("sh").arg("-n").arg(&script))?;
    }
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        println!("SKIPPED units: systemd-analyze is not here");
        return Ok(());
    }
    for (unit, most) in UNITS {
        verify(unit)?;
        let exposure = exposure(unit)?;
        if exposure > most {
            return Err(Failed::said(format!(
                "{unit} has an exposure of {exposure}, at most {most} was promised"
            )));
        }
    }
    Ok(())
}

/// Prints what `systemd-analyze security` says.
pub(crate) fn print_scores() -> Result<(), Failed> {
    if Path::new("/usr/bin/systemd-analyze").exists() {
        for (unit, most) in UNITS {
            println!("{unit}: exposure {} of at most {most}", exposure(unit)?);
        }
    }
    Ok(())
}

/// Our program need not be installed for its unit to be right, so another stands in for it.
fn verify(unit: &str) -> Result<(), Failed> {
    let path = root().join("systemd").join(unit);
    let text = fs::read_to_string(&path).map_err(|source| Failed::File { path, source })?;
    let folder = tempfile::tempdir().map_err(|source| Failed::File { path: std::env::temp_dir(), source })?;
    let copy = folder.path().join(unit);
    fs::write(&copy, standing_in(&text)).map_err(|source| Failed::File { path: copy.clone(), source })?;
    let said = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
    let said = said.map_err(|source| Failed::Start { what: "systemd-analyze".to_owned(), source })?;
    // It ends well also where it ignored a line, and then says so.
    let text = String::from_utf8_lossy(&said.stderr);
    let ours: Vec<&str> = text.lines().filter(|line| line.contains(unit)).collect();
    if said.status.success() && ours.is_empty() { Ok(()) } else { Err(Failed::said(text.into_owned())) }
}

/// The unit's text, with another program in its program's place.
fn standing_in(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("ExecStart=").and_then(|call| call.split_once(' ')) {
        Some((_, arguments)) => format!("ExecStart=/usr/bin/true {arguments}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn exposure(unit: &str) -> Result<f32, Failed> {
    let path = root().join("systemd").join(unit);
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager"]).arg(path).env("NO_COLOR", "1");
    let text = output(&mut analyze)?;
    read_exposure(&text).ok_or_else(|| Failed::said("systemd-analyze gives no exposure level"))
}

fn read_exposure(text: &str) -> Option<f32> {
    let line = text.lines().find(|line| line.contains("Overall exposure level"))?;
    line.rsplit_once(": ")?.1.split_whitespace().next()?.parse().ok()
}

/// Every script that a package brings.
fn scripts() -> Result<Vec<PathBuf>, Failed> {
    let mut scripts = Vec::new();
    let mut folders = vec![root().join("packaging")];
    while let Some(folder) = folders.pop() {
        let failed = |source| Failed::File { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"#!/bin/sh\n")) {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    Ok(scripts)
}

#[cfg(test)]
mod tests;
