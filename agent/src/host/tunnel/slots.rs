//! Where a tunnel lies on disk: what runs, what ran before while a change is tried, and moves that survive being cut short.
//!
//! A slot is a folder with everything that one run of the tunnel takes: program, token, unit. An empty one means that
//! nothing is to run. Slots change places by renaming only, so that after a power cut there is always a whole one, and
//! [`Slots::settle`] ends what was begun.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use felhom_shared::id::Sha256Hex;
use felhom_shared::report::Failure;
use felhom_shared::secret::SecretValue;

use crate::observe::Reading;

/// Below the root.
const FOLDER: &str = "var/lib/felhom-tunnel";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";
const FAILED: &str = "failed";
/// Lies there while a change is tried.
const TRIAL: &str = "trial";

/// Within a slot: the program,
pub const PROGRAM: &str = "cloudflared";
/// its token,
pub const TOKEN: &str = "token";
/// and its unit.
pub const UNIT: &str = "felhom-tunnel.service";

/// The folder of the tunnel.
#[derive(Debug, Clone)]
pub struct Slots {
    folder: PathBuf,
}

impl Slots {
    /// Those of the host below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { folder: root.join(FOLDER) }
    }

    /// What runs.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.at(CURRENT)
    }

    /// Whether a change is being tried.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.at(TRIAL).exists()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An empty slot for what is to come.
    pub(super) fn begin(&self) -> io::Result<PathBuf> {
        let next = self.at(NEXT);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&next)?;
        Ok(next)
    }

    /// What was put into the empty slot is whole: from now on it is on trial. It comes into its place by `settle`.
    pub(super) fn offer(&self) -> io::Result<()> {
        File::open(self.at(NEXT))?.sync_all()?;
        File::create(self.at(TRIAL))?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// The change stays.
    pub(super) fn keep(&self) -> io::Result<()> {
        remove_file(&self.at(TRIAL))?;
        self.settle()
    }

    /// What was there before comes back.
    pub(super) fn revert(&self) -> io::Result<()> {
        if self.on_trial() && self.current().exists() {
            fs::rename(self.current(), self.at(FAILED))?;
        }
        self.settle()
    }

    /// Ends what was begun and cut short.
    pub(super) fn settle(&self) -> io::Result<()> {
        if self.at(FAILED).exists() {
            if self.at(PREVIOUS).exists() {
                fs::rename(self.at(PREVIOUS), self.current())?;
            }
            remove_file(&self.at(TRIAL))?;
            fs::remove_dir_all(self.at(FAILED))?;
        } else if self.on_trial() && self.at(NEXT).exists() {
            if self.current().exists() {
                fs::rename(self.current(), self.at(PREVIOUS))?;
            }
            fs::rename(self.at(NEXT), self.current())?;
        } else if self.at(NEXT).exists() {
            fs::remove_dir_all(self.at(NEXT))?;
        }
        if !self.on_trial() {
            if self.at(PREVIOUS).exists() {
                fs::remove_dir_all(self.at(PREVIOUS))?;
            }
            // Goes where it is empty, i.e. where it is settled that nothing is to run.
            let _ = fs::remove_dir(self.current());
        }
        if self.folder.exists() { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    /// The token that is installed. Only whoever may use it can read it.
    pub fn token(&self) -> Reading<SecretValue> {
        match fs::read_to_string(self.current().join(TOKEN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Absent,
            Err(error) => Reading::Unreadable(unread(&error.to_string())),
            Ok(text) => {
                let text = zeroize::Zeroizing::new(text);
                SecretValue::new(&text)
                    .map_or_else(|error| Reading::Unreadable(unread(&error.to_string())), Reading::Present)
            }
        }
    }

    /// SHA-256 of the unit that is installed.
    #[must_use]
    pub fn unit_sha256(&self) -> Option<Sha256Hex> {
        fs::read(self.current().join(UNIT)).ok().map(|text| Sha256Hex::of(&text))
    }
}

fn unread(why: &str) -> Failure {
    Failure {
        code: "tunnel_unreadable".to_owned(),
        text: format!("the tunnel's files below /{FOLDER} cannot be read: {why}"),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(slots: &Slots, token: &str) {
        let next = slots.begin().unwrap();
        fs::write(next.join(TOKEN), token).unwrap();
        slots.offer().unwrap();
    }

    fn runs(slots: &Slots) -> Option<String> {
        slots.token().present().map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_change_is_kept_or_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::below(folder.path());
        slots.settle().unwrap();
        put(&slots, "first");
        slots.settle().unwrap();
        assert!(slots.on_trial());
        slots.keep().unwrap();
        assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (Some("first"), false));
        put(&slots, "second");
        slots.settle().unwrap();
        assert_eq!(runs(&slots).as_deref(), Some("second"));
        slots.revert().unwrap();
        assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (Some("first"), false));
        // Nothing is to run: an empty slot, which may be taken back as well.
        slots.begin().unwrap();
        slots.offer().unwrap();
        slots.settle().unwrap();
        assert_eq!(runs(&slots), None);
        slots.revert().unwrap();
        assert_eq!(runs(&slots).as_deref(), Some("first"));
        slots.begin().unwrap();
        slots.offer().unwrap();
        slots.settle().unwrap();
        slots.keep().unwrap();
        assert_eq!(fs::read_dir(slots.at(CURRENT).parent().unwrap()).unwrap().count(), 0);
        put(&slots, "third");
        slots.settle().unwrap();
        slots.keep().unwrap();
        assert_eq!(fs::read_dir(slots.current().parent().unwrap()).unwrap().count(), 1);
    }

    /// Every order in which the moves can be cut short ends in a slot that is whole.
    #[test]
    fn whatever_is_cut_short_is_ended_by_the_next_look() {
        for (there, runs_then, tried) in [
            (&["current", "next"][..], "current", false),
            (&["current", "next", "trial"], "next", true),
            (&["previous", "next", "trial"], "next", true),
            (&["previous", "current", "trial"], "current", true),
            (&["previous", "current"], "current", false),
            (&["previous", "failed", "trial"], "previous", false),
            (&["current", "failed", "trial"], "current", false),
            (&["current", "failed"], "current", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let slots = Slots::below(folder.path());
            slots.begin().unwrap();
            fs::remove_dir(slots.at(NEXT)).unwrap();
            for name in there {
                if *name == TRIAL {
                    File::create(slots.at(TRIAL)).unwrap();
                } else {
                    fs::create_dir(slots.at(name)).unwrap();
                    fs::write(slots.at(name).join(TOKEN), name).unwrap();
                }
            }
            slots.settle().unwrap();
            assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (Some(runs_then), tried), "{there:?}");
            assert!(!slots.at(NEXT).exists() && !slots.at(FAILED).exists(), "{there:?}");
            assert_eq!(slots.at(PREVIOUS).exists(), tried && there.len() > 1, "{there:?}");
        }
    }
}
