//! ZFS for the machines' kernel. Debian has it as source only (contrib), because its licence and the kernel's may not be
//! handed out as one; so the modules are built here, once, in a root that is thrown away.

use std::path::Path;
use std::process::Command;

use super::Suite;
use crate::Failed;
use crate::process::must;

/// What is installed besides the modules: the tools, and the daemon that tells ZFS of drives that come and go, as on a
/// Proxmox host.
pub(super) const TOOLS: &str = "zfsutils-linux,zfs-zed";
/// Installing the source builds it for the kernel whose headers are there.
const SOURCE: &str = "linux-headers-cloud-amd64,zfs-dkms";

/// Makes a root with the modules. They are kept beside it, for the next one; Debian may have another kernel by then.
pub(super) fn with_modules(
    suite: Suite,
    folder: &Path,
    make: impl Fn(&Path) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let modules = folder.with_extension("zfs.tar");
    if modules.exists() {
        match make(&modules) {
            Ok(()) => return Ok(()),
            Err(failed) => println!("not with the modules that were kept ({failed})"),
        }
    }
    build(suite, &modules)?;
    make(&modules)
}

/// Builds the modules; a tree of them as a tar file.
fn build(suite: Suite, modules: &Path) -> Result<(), Failed> {
    println!("building ZFS for its kernel; that takes some minutes, once");
    let keep = format!("cd \"$1/usr\" && tar -cf '{}' lib/modules/*/updates", modules.display());
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", "--components=main,contrib", "--format=null"]);
    mmdebstrap.arg(format!("--include={SOURCE}")).arg(format!("--customize-hook={keep}"));
    must(mmdebstrap.arg(suite.name()).arg("-"))
}

/// Lays them into a root whose kernel they were built for.
pub(super) fn hook(modules: &Path) -> String {
    let modules = modules.display();
    format!(
        "tar -C \"$1/usr\" -xf '{modules}' && for kernel in \"$1\"/usr/lib/modules/*; do \
         test -d \"$kernel/kernel\" || {{ echo \"ZFS was built for ${{kernel##*/}}, and the root has another kernel\" >&2; exit 1; }}; \
         chroot \"$1\" depmod \"${{kernel##*/}}\" || exit 1; done"
    )
}
