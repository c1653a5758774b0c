//! Where a tunnel lies on disk: what runs, what ran before while a change is tried, and moves that survive being cut short.
//!
//! A slot is a folder with everything that one run of the tunnel takes: program, token, unit. An empty one means that
//! nothing is to run. What is on trial says so by a file in its own slot, and two slots change places in one move, so that
//! after a power cut there is always a whole one where systemd looks, and it is known which it is. `settle` ends
//! what was begun.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use felhom_shared::report::Failure;
use felhom_shared::secret::SecretValue;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::host::remove_if_there;
use crate::observe::Reading;

/// Below the root.
const FOLDER: &str = "var/lib/felhom-tunnel";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";
/// Only where a file system cannot exchange two folders.
const ASIDE: &str = "aside";
/// Lies in a slot while it is tried.
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

    /// Whether what runs is being tried.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.current().join(TRIAL).exists()
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

    /// What was put into the empty slot is whole: it will be on trial.
    pub(super) fn offer(&self) -> io::Result<()> {
        File::create(self.at(NEXT).join(TRIAL))?.sync_all()?;
        File::open(self.at(NEXT))?.sync_all()
    }

    /// Puts it in the place of what ran until now, which is kept.
    pub(super) fn place(&self) -> io::Result<()> {
        if self.current().exists() {
            self.exchange(NEXT, CURRENT)?;
        } else {
            fs::rename(self.at(NEXT), self.current())?;
        }
        self.settle()
    }

    /// The change stays.
    pub(super) fn keep(&self) -> io::Result<()> {
        remove_if_there(&self.current().join(TRIAL))?;
        self.settle()
    }

    /// What was there before comes back.
    pub(super) fn revert(&self) -> io::Result<()> {
        if self.on_trial() && self.at(PREVIOUS).exists() {
            self.exchange(PREVIOUS, CURRENT)?;
        } else if self.on_trial() {
            fs::rename(self.current(), self.at(NEXT))?;
        }
        self.settle()
    }

    /// Ends what was begun and cut short.
    pub(super) fn settle(&self) -> io::Result<()> {
        let there = |name: &&str| self.at(name).exists();
        if !self.current().exists()
            && let Some(before) = [PREVIOUS, ASIDE].into_iter().find(there)
        {
            fs::rename(self.at(before), self.current())?;
        }
        if self.on_trial() {
            let before = [ASIDE, NEXT].into_iter().find(there);
            if let Some(before) = before.filter(|_| !there(&PREVIOUS)) {
                fs::rename(self.at(before), self.at(PREVIOUS))?;
            }
        } else {
            for over in [NEXT, PREVIOUS, ASIDE].into_iter().filter(there) {
                fs::remove_dir_all(self.at(over))?;
            }
            // Goes where it is empty, i.e. where it is settled that nothing is to run.
            let _ = fs::remove_dir(self.current());
        }
        if self.folder.exists() { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    /// Two slots change places. ZFS before 2.2 cannot do that in one move.
    fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        let (one, other) = (self.at(one), self.at(other));
        match renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                fs::rename(&other, self.at(ASIDE))?;
                fs::rename(&one, &other)?;
                fs::rename(self.at(ASIDE), &one)
            }
            done => Ok(done?),
        }
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
}

fn unread(why: &str) -> Failure {
    Failure {
        code: "tunnel_unreadable".to_owned(),
        text: format!("the tunnel's files below /{FOLDER} cannot be read: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(slots: &Slots, token: &str) {
        let next = slots.begin().unwrap();
        fs::write(next.join(TOKEN), token).unwrap();
        slots.offer().unwrap();
        slots.place().unwrap();
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
        assert!(slots.on_trial());
        slots.keep().unwrap();
        assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (Some("first"), false));
        put(&slots, "second");
        assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (Some("second"), true));
        slots.revert().unwrap();
        assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (Some("first"), false));
        // Nothing is to run: an empty slot, which may be taken back as well.
        for kept in [false, true] {
            slots.begin().unwrap();
            slots.offer().unwrap();
            slots.place().unwrap();
            assert_eq!((runs(&slots), slots.on_trial()), (None, true));
            if kept {
                slots.keep().unwrap();
            } else {
                slots.revert().unwrap();
            }
            assert_eq!(runs(&slots).as_deref(), (!kept).then_some("first"));
        }
        assert_eq!(fs::read_dir(&slots.folder).unwrap().count(), 0);
        // The first of all, taken back, leaves nothing.
        put(&slots, "third");
        slots.revert().unwrap();
        assert_eq!(fs::read_dir(&slots.folder).unwrap().count(), 0);
    }

    /// Every order in which the moves can be cut short ends in a slot that is whole, and it is known which. A `*`: on trial.
    #[test]
    fn whatever_is_cut_short_is_ended_by_the_next_look() {
        for (there, runs_then, tried) in [
            (&["current", "next"][..], Some("current"), false),
            (&["current", "next*"], Some("current"), false),
            (&["next*"], None, false),
            (&["current*", "next"], Some("current"), true),
            (&["current*", "previous"], Some("current"), true),
            (&["current", "previous"], Some("current"), false),
            (&["current", "previous*"], Some("current"), false),
            // Where folders cannot be exchanged.
            (&["aside", "next*"], Some("aside"), false),
            (&["current*", "aside"], Some("current"), true),
            (&["aside*", "previous"], Some("previous"), false),
            (&["current", "aside*"], Some("current"), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let slots = Slots::below(folder.path());
            for name in there {
                let plain = name.trim_end_matches('*');
                fs::create_dir_all(slots.at(plain)).unwrap();
                fs::write(slots.at(plain).join(TOKEN), plain).unwrap();
                if plain != *name {
                    fs::write(slots.at(plain).join(TRIAL), "").unwrap();
                }
            }
            for _again in 0..2 {
                slots.settle().unwrap();
                assert_eq!((runs(&slots).as_deref(), slots.on_trial()), (runs_then, tried), "{there:?}");
                assert!(!slots.at(NEXT).exists() && !slots.at(ASIDE).exists(), "{there:?}");
                assert_eq!(slots.at(PREVIOUS).exists(), tried, "{there:?}");
            }
        }
    }
}
