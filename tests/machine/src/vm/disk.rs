//! A disk whose writes lie beside what it began as, and that forgets, when the power goes, what it was not told to keep.
//!
//! qcow2 keeps its tables in qemu's memory until the guest flushes. A killed qemu loses them, and with them every block
//! that was written since to a place not used before: that is a disk's volatile write cache. After the cut the overlay
//! is folded into its base, so that in the next round every place is unused again.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk image of a machine.
pub(crate) struct Overlay {
    base: PathBuf,
    pub(super) image: PathBuf,
}

impl Overlay {
    /// A disk that begins as `origin`, which stays as it is.
    pub(crate) fn over(origin: &Path, format: &str, image: &Path) -> Self {
        let base = image.with_extension("base.qcow2");
        create(&base, Some((origin, format)), None);
        create(image, Some((&base, "qcow2")), None);
        Self { base, image: image.to_owned() }
    }

    /// An empty disk of this size, in qemu-img's words.
    pub(crate) fn fresh(image: &Path, size: &str) -> Self {
        let base = image.with_extension("base.qcow2");
        create(&base, None, Some(size));
        create(image, Some((&base, "qcow2")), None);
        Self { base, image: image.to_owned() }
    }

    /// After a cut: what the disk had kept becomes what it begins as.
    pub(crate) fn settle(&self) {
        // Blocks without an entry in a table are what was lost. Nothing else may be wrong with the image.
        let checked = qemu_img(&["check", "-q", "-r", "leaks", &text(&self.image)]);
        assert!(checked.success(), "{} is damaged beyond its lost blocks", self.image.display());
        assert!(qemu_img(&["commit", "-q", &text(&self.image)]).success(), "{}", self.image.display());
        std::fs::remove_file(&self.image).expect("qemu-img has just written it");
        create(&self.image, Some((&self.base, "qcow2")), None);
    }
}

fn create(image: &Path, backing: Option<(&Path, &str)>, size: Option<&str>) {
    let mut args = vec!["create".to_owned(), "-q".to_owned(), "-f".to_owned(), "qcow2".to_owned()];
    if let Some((backing, format)) = backing {
        args.extend(["-b".to_owned(), text(backing), "-F".to_owned(), format.to_owned()]);
    }
    args.push(text(image));
    args.extend(size.map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(qemu_img(&args).success(), "qemu-img {}", args.join(" "));
}

fn qemu_img(args: &[&str]) -> std::process::ExitStatus {
    Command::new("qemu-img").args(args).status().expect("qemu-img is installed")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
