//! Which of the attached drives an entry of the document means. Pure.
//!
//! Exactly one, told from every other, and fit to be used as it is: everything else has a reason by name.

use felhom_shared::desired::{Filesystem, StorageSpec};
use felhom_shared::drive::{Content, DriveReport, DurableId};
use felhom_shared::report::Failure;
use uuid::Uuid;

/// What became of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The file system to use.
    One(Target),
    /// No drive says that of itself.
    Unplugged,
    /// It is there, and it is not taken.
    Unfit(Failure),
}

/// A file system that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Where it is today, e.g. `sda1`.
    pub name: String,
    /// Of the file system.
    pub uuid: Uuid,
    /// Its kind.
    pub filesystem: Filesystem,
    /// Where it is mounted.
    pub mounted_at: Vec<String>,
}

/// Looks for the drive of an entry.
#[must_use]
pub(super) fn resolve(spec: &StorageSpec, drives: &[DriveReport]) -> Found {
    let drive = match drive_of(spec, drives) {
        Ok(drive) => drive,
        Err(found) => return found,
    };
    match content_of(drive, spec).and_then(|content| fit(drive, content, spec)) {
        Ok(target) => Found::One(target),
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
    let usable = |content: &&Content| {
        content.format.as_deref().is_some_and(|word| Filesystem::of_word(word).is_some())
    };
    let mut file_systems = drive.contents.iter().filter(usable);
    match (file_systems.next(), file_systems.next()) {
        (Some(content), None) if drive.contents.len() == 1 => Ok(content),
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

fn words(content: &Content) -> String {
    let id = content.known_by.first().map(|id| format!(", {id}")).unwrap_or_default();
    format!("{} {}{id}", content.name, content.format.as_deref().unwrap_or("unknown"))
}

fn fit(drive: &DriveReport, content: &Content, spec: &StorageSpec) -> Result<Target, Reason> {
    if let Some(problem) = drive.problems.first() {
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
    if let Some(holder) = content.held_by.first() {
        return Err(("drive_held", format!("{} is held by {holder}", content.name)));
    }
    let Some(word) = content.format.as_deref() else {
        return Err(("drive_empty", format!("nothing is recognised on {}", content.name)));
    };
    let filesystem = Filesystem::of_word(word).ok_or_else(|| {
        ("filesystem_unsupported", format!("{} holds {word}; ext4 and xfs can be used", content.name))
    })?;
    if let Some(wanted) = spec.filesystem.filter(|wanted| *wanted != filesystem) {
        let text = format!("the document says {} and {} holds {word}", wanted.word(), content.name);
        return Err(("filesystem_differs", text));
    }
    let uuid = content.known_by.iter().find_map(|id| id.as_str().strip_prefix("contents:")?.parse().ok());
    let uuid = uuid.ok_or_else(|| {
        ("filesystem_without_identity", format!("the file system on {} has no UUID of its own", content.name))
    })?;
    Ok(Target { name: content.name.clone(), uuid, filesystem, mounted_at: content.mounted_at.clone() })
}
