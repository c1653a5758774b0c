//! `cargo xtask deb`: the three packages, from this tree, usable on Proxmox VE 8 (Debian 12) and 9 (Debian 13).
//!
//! One build serves both because it needs no glibc newer than Debian 12's; a build that does is refused, not shipped
//! with a dependency nobody can meet. Packing is done by `dpkg-deb` on a tree made here, twice, and the two must be the
//! same bytes. Publishes nothing and signs nothing.

mod changelog;
mod copyright;
mod package;
mod program;
mod stamp;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args as ClapArgs;

use crate::need::LINTIAN;
use crate::process::{cargo, must, output, target_dir};
use crate::{Failed, units};
use package::{PACKAGES, Package};
use program::Programs;
use stamp::Stamp;

/// Arguments of `cargo xtask deb`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A part that may be skipped where this machine cannot run it: `lintian`.
    #[arg(long, value_name = "NAME")]
    allow_missing: Vec<String>,
}

impl Args {
    /// As another command of this program wants it.
    pub(crate) fn allowing(allow_missing: &[String]) -> Self {
        Self { allow_missing: allow_missing.to_vec() }
    }
}

/// What every package is made from.
struct Materials {
    stamp: Stamp,
    programs: Programs,
    /// Man pages and completions.
    pages: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let lintian = LINTIAN.meet(&args.allow_missing)?;
    units::check()?;
    let folder = target_dir().join("deb");
    make_folder(&folder)?;
    let materials =
        Materials { stamp: Stamp::read()?, programs: Programs::build(&folder)?, pages: pages(&folder)? };
    let mut made = Vec::new();
    for package in &PACKAGES {
        made.push(pack(package, &materials, &folder)?);
    }
    for deb in &made {
        let bytes = fs::metadata(deb).map_err(|source| Failed::File { path: deb.clone(), source })?.len();
        print!("{:>8} KiB  {}", bytes.div_ceil(1024), output(Command::new("sha256sum").arg(deb))?);
    }
    println!("built twice from the same programs: the same bytes");
    if lintian {
        must(Command::new("lintian").args(["--fail-on", "error", "--tag-display-limit", "0"]).args(&made))?;
        println!("lintian: no errors");
    }
    units::print_scores()
}

/// Makes the package twice and keeps one.
fn pack(package: &Package, materials: &Materials, folder: &Path) -> Result<PathBuf, Failed> {
    let name = format!("{}_{}_amd64.deb", package.name, materials.stamp.version);
    let (deb, again) = (folder.join(&name), folder.join(format!("{name}.again")));
    for target in [&deb, &again] {
        let tree = package.lay_out(materials, &folder.join("tree").join(package.name))?;
        tree.pack(materials.stamp.epoch_s, target)?;
    }
    let read = |path: &PathBuf| fs::read(path).map_err(|source| Failed::File { path: path.clone(), source });
    if read(&deb)? != read(&again)? {
        return Err(Failed::said(format!("{name} is not reproducible: compare it with {}", again.display())));
    }
    fs::remove_file(&again).map_err(|source| Failed::File { path: again, source })?;
    Ok(deb)
}

/// Man pages and completions from the command lines themselves, by an example program of this crate: the shipped
/// programs carry none of it.
fn pages(folder: &Path) -> Result<PathBuf, Failed> {
    let pages = folder.join("pages");
    if pages.exists() {
        fs::remove_dir_all(&pages).map_err(|source| Failed::File { path: pages.clone(), source })?;
    }
    make_folder(&pages)?;
    must(cargo(&["run", "--quiet", "-p", "xtask", "--example", "pages", "--"]).arg(&pages))?;
    Ok(pages)
}

fn make_folder(path: &Path) -> Result<(), Failed> {
    fs::create_dir_all(path).map_err(|source| Failed::File { path: path.to_owned(), source })
}
