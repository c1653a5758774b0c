//! Which of the attached drives an entry of the document means. Pure.
//!
//! Exactly one, told from every other, and fit to be used as it is: everything else has a reason by name.

use felhom_shared::desired::{Filesystem, StorageRole, StorageSpec};
use felhom_shared::drive::{Content, DriveReport, DurableId, is_pool_name};
use felhom_shared::report::Failure;
use uuid::Uuid;

use crate::host::block::other_holder;

/// What became of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The file system to use.
    One(Box<Target>),
    /// No drive says that of itself.
    Unplugged,
    /// It is there, and it is not taken.
    Unfit(Failure),
}

/// A file system that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Where it is today, and where it is mounted.
    pub content: Content,
    /// Of the file system, or of the whole pool.
    pub id: DurableId,
    /// Its kind.
    pub filesystem: Filesystem,
}

impl Target {
    /// Where it is today, e.g. `sda1`.
    pub(super) fn name(&self) -> &str {
        &self.content.name
    }

    /// The name of the pool, where it is one.
    pub(super) fn pool(&self) -> Option<&str> {
        self.content.label.as_deref().filter(|_| self.filesystem == Filesystem::Zfs)
    }

    /// Whether it was made under a signature that gave it this name.
    pub(super) fn was_made_as(&self, made: Uuid) -> bool {
        was_made_as(&self.content, made)
    }
}

/// A pool draws its number itself; one that was made under a signature is known by its partition.
pub(super) fn was_made_as(content: &Content, made: Uuid) -> bool {
    let made = made.to_string();
    let id = match content.pool_id() {
        Some(_) => DurableId::of_partition(&made),
        None => DurableId::of_contents(&made, None),
    };
    id.is_some_and(|id| content.known_by.contains(&id))
}

/// Looks for the drive of an entry.
#[must_use]
pub(super) fn resolve(spec: &StorageSpec, drives: &[DriveReport]) -> Found {
    let drive = match drive_of(spec, drives) {
        Ok(drive) => drive,
        Err(found) => return found,
    };
    match content_of(drive, spec).and_then(|content| fit((drive, drives), content, spec)) {
        Ok(target) => Found::One(Box::new(target)),
        Err((code, text)) => Found::Unfit(Failure { code: code.to_owned(), text }),
    }
}

/// The drive that an entry names, whatever is on it.
pub(super) fn drive_of<'a>(spec: &StorageSpec, drives: &'a [DriveReport]) -> Result<&'a DriveReport, Found> {
    let id = &spec.durable_id;
    if let Some(drive) = drives.iter().find(|drive| says(drive, id)) {
        return Ok(drive);
    }
    // Two that say the same of themselves have lost that name, and are no longer found by it.
    let mut problems = drives.iter().flat_map(|drive| &drive.problems);
    let clash = problems.find(|problem| problem.text.contains(id.as_str()));
    Err(clash.map_or(Found::Unplugged, |problem| Found::Unfit(problem.clone())))
}

/// A drive of another kind than the document says is taken for a mistake.
pub(super) fn other_class(drive: &DriveReport, spec: &StorageSpec) -> Option<Failure> {
    let class = spec.class.filter(|class| class.word() != drive.kind)?;
    let text = format!(
        "the document says {} and {} is {}: is it the right drive?",
        class.word(),
        drive.name,
        drive.kind
    );
    Some(Failure { code: "drive_class_differs".to_owned(), text })
}

fn says(drive: &DriveReport, id: &DurableId) -> bool {
    drive.durable_id.as_ref() == Some(id)
        || drive.contents.iter().any(|content| content.known_by.contains(id))
}

type Reason = (&'static str, String);

/// The part that is meant. A whole drive means the only file system on it.
fn content_of<'a>(drive: &'a DriveReport, spec: &StorageSpec) -> Result<&'a Content, Reason> {
    if let Some(content) = drive.contents.iter().find(|content| content.known_by.contains(&spec.durable_id)) {
        return Ok(content);
    }
    let usable =
        |content: &&Content| content.format.as_deref().is_some_and(|word| Filesystem::found(word).is_some());
    let mut file_systems = drive.contents.iter().filter(usable);
    match (file_systems.next(), file_systems.next()) {
        (Some(content), None) if is_alone(content, drive) => Ok(content),
        (None, _) if drive.contents.iter().all(|content| content.format.is_none()) => Err((
            "drive_empty",
            format!("nothing is recognised on {}: adopt takes what is there, format makes new", drive.name),
        )),
        _ => {
            let names: Vec<String> = drive.contents.iter().map(words).collect();
            let text = format!(
                "{} holds several things ({}): name the file system that is meant",
                drive.name,
                names.join(", ")
            );
            Err(("drive_ambiguous", text))
        }
    }
}

/// Nothing else is on the drive. ZFS, given a whole one, leaves 8 MiB of it unused, in a partition of its own.
fn is_alone(content: &Content, drive: &DriveReport) -> bool {
    const UNUSED_BYTES: u64 = 8 << 20;
    let is_tail = |other: &Content| {
        content.pool_id().is_some()
            && other.size_bytes == UNUSED_BYTES
            && other.format.is_none()
            && other.held_by.is_empty()
            && other.mounted_at.is_empty()
    };
    drive.contents.iter().all(|other| other.name == content.name || is_tail(other))
}

fn words(content: &Content) -> String {
    let id = content.known_by.first().map(|id| format!(", {id}")).unwrap_or_default();
    format!("{} {}{id}", content.name, content.format.as_deref().unwrap_or("unknown"))
}

fn fit(
    (drive, drives): (&DriveReport, &[DriveReport]),
    content: &Content,
    spec: &StorageSpec,
) -> Result<Target, Reason> {
    // A pool is as clear as all of its members.
    let pool = content.pool_id();
    let shares =
        |other: &&DriveReport| pool.is_some() && other.contents.iter().any(|one| one.pool_id() == pool);
    let mut involved = std::iter::once(drive).chain(drives.iter().filter(shares));
    if let Some(problem) = involved.find_map(DriveReport::clash) {
        return Err(("drive_unclear", problem.text.clone()));
    }
    if drive.system {
        return Err(("drive_of_the_system", format!("the box itself runs from {}", drive.name)));
    }
    if let Some(failure) = other_class(drive, spec) {
        return Err(("drive_class_differs", failure.text));
    }
    if drive.read_only {
        return Err((
            "drive_read_only",
            format!("the kernel lets nobody write to {}: a switch on it, or it is failing", drive.name),
        ));
    }
    if let Some(holder) = other_holder(content) {
        return Err(("drive_held", format!("{} is held by {holder}", content.name)));
    }
    let Some(word) = content.format.as_deref() else {
        return Err(("drive_empty", format!("nothing is recognised on {}", content.name)));
    };
    let filesystem = Filesystem::found(word).ok_or_else(|| {
        ("filesystem_unsupported", format!("{} holds {word}; ext4, xfs and ZFS can be used", content.name))
    })?;
    if let Some(wanted) = spec.filesystem.filter(|wanted| *wanted != filesystem) {
        let text = format!("the document says {} and {} holds {word}", wanted.word(), content.name);
        return Err(("filesystem_differs", text));
    }
    let id = pool.clone().or_else(|| content.known_by.iter().find(|id| id.contents().is_some()).cloned());
    let id = id.ok_or_else(|| {
        ("filesystem_without_identity", format!("the file system on {} has no UUID of its own", content.name))
    })?;
    if filesystem == Filesystem::Zfs {
        fit_pool(content, spec)?;
    }
    Ok(Target { content: content.clone(), id, filesystem })
}

/// PVE puts guests' volumes on a pool, and nothing else.
fn fit_pool(content: &Content, spec: &StorageSpec) -> Result<(), Reason> {
    let name = content.label.as_deref().unwrap_or_default();
    if !is_pool_name(name) {
        let text = format!(
            "{} belongs to a pool whose name ({name:?}) cannot be handed on: import it under another",
            content.name
        );
        return Err(("pool_name_unfit", text));
    }
    let wrong = spec.content.iter().find(|one| !Filesystem::Zfs.holds(**one));
    if wrong.is_some() || spec.role != StorageRole::Guests {
        let text = format!(
            "{} belongs to the ZFS pool {name}, which holds images and rootdir for guests, and no files or backups",
            content.name
        );
        return Err(("pool_holds_guests_only", text));
    }
    Ok(())
}
