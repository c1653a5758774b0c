//! When and what: the last commit gives version and time, so that the same commit gives the same package.

use std::process::Command;

use jiff::Timestamp;

use super::changelog::is_released;
use crate::Failed;
use crate::process::output;

/// Version and time of a build.
pub(super) struct Stamp {
    /// Seconds since 1970 of the last commit.
    pub(super) epoch_s: i64,
    /// The Debian version.
    pub(super) version: String,
}

impl Stamp {
    pub(super) fn read() -> Result<Self, Failed> {
        let git = |args: &[&str]| output(Command::new("git").args(args));
        let epoch_s = git(&["log", "-1", "--format=%ct"])?.trim().parse().map_err(|_| {
            Failed::said("git does not say when the last commit was made; packages are built from a checkout")
        })?;
        let commit = git(&["log", "-1", "--format=%h", "--abbrev=10"])?;
        let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let version = version(env!("CARGO_PKG_VERSION"), is_released()?, epoch_s, (commit.trim(), dirty));
        Ok(Self { epoch_s, version })
    }

    /// As Debian's changelogs write it.
    pub(super) fn date(&self) -> String {
        let moment = Timestamp::from_second(self.epoch_s).expect("git's commit times are moments");
        moment.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }
}

/// The workspace's version once the changelog has a section for it. Before that, one that sorts below the release and by
/// the time of the commit, so that a newer build is an upgrade.
fn version(release: &str, released: bool, epoch_s: i64, (commit, dirty): (&str, bool)) -> String {
    let dirt = if dirty { "+dirty" } else { "" };
    if released && !dirty {
        return release.to_owned();
    }
    let moment = Timestamp::from_second(epoch_s).unwrap_or_default().strftime("%Y%m%d%H%M%S").to_string();
    format!("{release}~git{moment}.{commit}{dirt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_released_sorts_below_the_release() {
        assert_eq!(version("0.1.0", true, 0, ("abc", false)), "0.1.0");
        assert_eq!(version("0.1.0", false, 0, ("abc", false)), "0.1.0~git19700101000000.abc");
        assert_eq!(version("0.1.0", true, 60, ("abc", true)), "0.1.0~git19700101000100.abc+dirty");
    }
}
