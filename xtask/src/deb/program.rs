//! The programs as they are shipped, and what they need of the machine they run on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{cargo, must, output};
use crate::{Failed, root, small};

/// Debian 12, on which Proxmox VE 8 stands, has this glibc.
const GLIBC_MAX: (u32, u32) = (2, 36);
/// The agent's promise.
const AGENT_BYTES_MAX: u64 = 4_000_000;

/// Where the built programs lie.
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds all three, in a target folder of their own: other flags than elsewhere, and nobody else's lock.
    pub(super) fn build(folder: &Path) -> Result<Self, Failed> {
        let programs = Self { folder: folder.join("build") };
        small::build_for_shipping(&programs.folder, &remap())?;
        let mut release =
            cargo(&["build", "--quiet", "--release", "-p", "felhom-hub", "-p", "felhom-sign", "--bins"]);
        must(
            release
                .arg("--target-dir")
                .arg(&programs.folder)
                .env("CARGO_ENCODED_RUSTFLAGS", remap().join("\x1f")),
        )?;
        let agent = programs.path("felhom-agent");
        let bytes = fs::metadata(&agent).map_err(|source| Failed::File { path: agent, source })?.len();
        println!("felhom-agent has {bytes} bytes of at most {AGENT_BYTES_MAX}");
        if bytes > AGENT_BYTES_MAX {
            return Err(Failed::said("the agent has outgrown its promise"));
        }
        Ok(programs)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        let small = ["felhom-agent", "felhom-host"].contains(&name);
        self.folder.join(if small { "small" } else { "release" }).join(name)
    }

    /// The packages that a program's shared libraries come from.
    pub(super) fn depends(&self, name: &str) -> Result<Vec<String>, Failed> {
        let headers = output(Command::new("objdump").arg("-p").arg(self.path(name)))?;
        let glibc = glibc(&headers);
        if glibc > GLIBC_MAX {
            return Err(Failed::said(format!(
                "{name} needs glibc {}.{}, and Debian 12 has {}.{}: build on Debian 12",
                glibc.0, glibc.1, GLIBC_MAX.0, GLIBC_MAX.1
            )));
        }
        let mut depends = vec![format!("libc6 (>= {}.{})", glibc.0, glibc.1)];
        for library in headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim) {
            match library {
                "libc.so.6" | "libm.so.6" | "ld-linux-x86-64.so.2" => {}
                "libgcc_s.so.1" => depends.push("libgcc-s1 (>= 4.2)".to_owned()),
                other => {
                    return Err(Failed::said(format!("{name} needs {other}, of which no package is known")));
                }
            }
        }
        Ok(depends)
    }
}

/// The newest glibc that a program's version references name.
fn glibc(headers: &str) -> (u32, u32) {
    let words = headers.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    let versions = words.filter_map(|word| {
        // Packed relocations carry a name in place of a number; the loader knows them since 2.36.
        if word == "ABI_DT_RELR" {
            return Some((2, 36));
        }
        let mut numbers = word.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.max().unwrap_or((2, 0))
}

/// Names of folders on this machine have no business in a program: neither of use to anybody nor the same elsewhere.
fn remap() -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let registry = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let folders = [(registry.as_path(), "/cargo"), (root(), "/felhom")];
    folders.map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_counts_also_where_it_has_a_name() {
        let headers = "  NEEDED  libc.so.6\n 0x09 0x00 03 GLIBC_2.2.5\n 0x0 0x00 07 GLIBC_2.34\n 0x0 0x00 07 GLIBC_2.9\n";
        assert_eq!(glibc(headers), (2, 34));
        assert_eq!(glibc(&format!("{headers} 0x0 0x00 21 GLIBC_ABI_DT_RELR")), (2, 36));
        assert!(glibc("GLIBC_2.38") > GLIBC_MAX);
    }
}
