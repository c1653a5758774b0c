//! Whose work a package is: ours, and every crate that is linked into its program.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::package::Package;
use crate::Failed;
use crate::process::{cargo, output};

const HEAD: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: felhom
Comment:
 The program has these Rust crates linked into it, each under the licence that
 stands beside it; sqlite and zstd come with libsqlite3-sys and zstd-sys and
 are in the public domain and under BSD-3-Clause.
 .
";
const OURS: &str = "
Files: *
Copyright: 2026 the felhom maintainers
License: Apache-2.0
 On Debian systems the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
";

/// The copyright file, in Debian's format.
pub(super) fn text(package: &Package) -> Result<String, Failed> {
    let mut tree = cargo(&["tree", "--offline", "--edges", "normal,no-proc-macro", "--prefix", "none"]);
    tree.args(["--format", "{p} | {l}", "--package", package.name]);
    let mut text = HEAD.to_owned();
    for line in crates(&output(&mut tree)?) {
        let _ = writeln!(text, " {line}");
    }
    Ok(text + OURS)
}

/// Crates from elsewhere, once each. A crate of this workspace stands with its folder.
fn crates(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    let others = lines.filter(|line| !line.is_empty() && !line.contains("(/"));
    others.map(|line| line.replace(" | ", ": ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_from_elsewhere_are_listed() {
        let tree = "felhom-agent v0.1.0 (/a/b) | Apache-2.0\nbytes v1.0.0 | MIT\nbytes v1.0.0 | MIT (*)\n";
        assert_eq!(crates(tree).into_iter().collect::<Vec<_>>(), ["bytes v1.0.0: MIT"]);
    }
}
