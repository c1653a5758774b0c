//! What is under test, as every machine sees it below `/opt/felhom`: the packages and the doubles.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::root::disk;
use crate::Failed;
use crate::process::{built, must, target_dir};

/// Always the same size: a sleeping VM remembers it.
const DISK: &str = "256M";

pub(super) fn lay_out(folder: &Path) -> Result<(), Failed> {
    let payload = folder.join("payload");
    let at = payload.join("opt/felhom");
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| Failed::File { path, source }
    };
    if payload.exists() {
        fs::remove_dir_all(&payload).map_err(file(&payload))?;
    }
    fs::create_dir_all(&at).map_err(file(&at))?;
    for name in ["felhom-hub", "felhom-agent", "felhom-sign"] {
        let deb = newest_deb(name)?;
        let target = at.join(deb.file_name().unwrap_or_default());
        fs::copy(&deb, &target).map_err(file(&deb))?;
    }
    for double in ["fake-pve", "fake-cloudflared"] {
        must(Command::new("strip").arg("-o").arg(at.join(double)).arg(built(double)))?;
    }
    disk(&at, "payload", DISK, &folder.join("payload.ext4"))
}

fn newest_deb(name: &str) -> Result<PathBuf, Failed> {
    let folder = target_dir().join("deb");
    let listed = fs::read_dir(&folder).map_err(|source| Failed::File { path: folder.clone(), source })?;
    let begins = format!("{name}_");
    let mut found: Vec<(SystemTime, PathBuf)> = listed
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins))
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "deb"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, path)| path);
    newest.ok_or_else(|| {
        Failed::said(format!("no {name} package in {}: run `cargo xtask deb`", folder.display()))
    })
}
