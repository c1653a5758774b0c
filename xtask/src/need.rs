//! Debian packages that a part needs: installed with apt when root, named otherwise.

use std::path::Path;
use std::process::Command;

use crate::Failed;
use crate::process::{must, run};

/// A program from a Debian package.
pub(crate) struct Need {
    /// The name `--allow-missing` takes.
    pub(crate) name: &'static str,
    /// Where the program lies once installed.
    pub(crate) program: &'static str,
    /// The packages that bring it.
    pub(crate) packages: &'static [&'static str],
}

/// A real browser for the pages.
pub(crate) const BROWSER: Need =
    Need { name: "browser", program: "/usr/bin/chromium", packages: &["chromium", "chromium-driver"] };

/// The rival of the agent's footprint.
pub(crate) const NODE_EXPORTER: Need = Need {
    name: "node-exporter",
    program: "/usr/bin/prometheus-node-exporter",
    packages: &["prometheus-node-exporter"],
};

/// Debian's judge of packages.
pub(crate) const LINTIAN: Need =
    Need { name: "lintian", program: "/usr/bin/lintian", packages: &["lintian", "dpkg-dev"] };

/// The judge of metrics and alert rules.
pub(crate) const PROMTOOL: Need =
    Need { name: "promtool", program: "/usr/bin/promtool", packages: &["prometheus"] };

/// Debian roots.
pub(crate) const MMDEBSTRAP: Need =
    Need { name: "machine", program: "/usr/bin/mmdebstrap", packages: &["mmdebstrap"] };

/// Containers that boot.
pub(crate) const NSPAWN: Need =
    Need { name: "machine", program: "/usr/bin/systemd-nspawn", packages: &["systemd-container"] };

/// Emulated machines.
pub(crate) const QEMU: Need =
    Need { name: "vm", program: "/usr/bin/qemu-system-x86_64", packages: &["qemu-system-x86"] };

/// Their disks.
pub(crate) const QEMU_IMG: Need =
    Need { name: "vm", program: "/usr/bin/qemu-img", packages: &["qemu-utils"] };

impl Need {
    /// Makes the program available. `false`: it is missing and may be.
    pub(crate) fn meet(&self, allow_missing: &[String]) -> Result<bool, Failed> {
        if Path::new(self.program).exists() {
            return Ok(true);
        }
        let allowed = allow_missing.iter().any(|name| name == self.name);
        if !nix::unistd::geteuid().is_root() {
            return self.missing(allowed, "this user may not install packages");
        }
        println!("installing {} with apt", self.packages.join(", "));
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        let mut install = Command::new("apt-get");
        install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(self.packages);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        match must(&mut install) {
            Ok(()) if Path::new(self.program).exists() => Ok(true),
            Ok(()) => self.missing(allowed, "apt installed the packages, but the program is not there"),
            Err(_) => self.missing(allowed, "apt could not install it"),
        }
    }

    fn missing(&self, allowed: bool, why: &str) -> Result<bool, Failed> {
        let packages = self.packages.join(" ");
        if allowed {
            println!("SKIPPED {}: {why}; install {packages} to run it", self.name);
            return Ok(false);
        }
        Err(Failed::said(format!(
            "{} is missing ({why}): run `apt install {packages}`, or allow it with `--allow-missing {}`",
            self.program, self.name
        )))
    }
}
