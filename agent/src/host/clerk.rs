//! `felhom-host`: does what the agent asks for drives and the tunnel. Root, without a network, started by systemd when something is asked.
//!
//! It believes nothing of a request but what it names. The drive is looked for again, and is left alone when it cannot be
//! told from another, belongs to the box, is held by anything or is mounted elsewhere. It unmounts only what is mounted
//! below `/mnt/felhom`, and overwrites no file on a drive.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use felhom_shared::desired::Filesystem;
use felhom_shared::drive::{Content, DriveReport, DurableId};
use felhom_shared::id::StorageId;
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::report::Failure;

use super::block::{BlockDevices, Mounted, other_holder};
use super::command::{ANSWERS, Answer, HostCommand, MarkDrive, MountDrive, REQUESTS};
use super::format::Trust;
use super::marker::{FILE_NAME, Marker, mount_point};
use super::{mount_unit, remove_if_there};
use crate::observe::Reading;
use crate::resources::storage::detect;

pub(crate) const UNITS: &str = "etc/systemd/system";
/// More than any request has: an envelope, and the keysets before it.
const REQUEST_BYTES_MAX: u64 = 64 * ENVELOPE_BYTES_MAX as u64;

/// Runs a tool of the host: what it prints, or its words when it fails.
pub type RunTool<'a> = &'a dyn Fn(&str, &[&str]) -> Result<String, String>;

/// Who does it.
pub struct Clerk<'a> {
    /// `/`, but in tests.
    pub root: &'a Path,
    /// `systemctl`, `chattr`, and what makes file systems.
    pub tool: RunTool<'a>,
    /// Whose signature formats a drive; none where nobody's does.
    pub trust: Option<&'a Trust>,
}

/// Runs a tool and waits for it.
pub fn run_tool(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {} ({})", args.join(" "), said.trim(), output.status))
}

impl Clerk<'_> {
    /// Takes every request from the desk, in the order of their names, and answers where there is something to say.
    pub fn serve(&self, state_dir: &Path) -> io::Result<()> {
        let (requests, answers) = (state_dir.join(REQUESTS), state_dir.join(ANSWERS));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&answers)?;
        let mut names: Vec<_> =
            fs::read_dir(&requests)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort_unstable();
        for name in names {
            let request = requests.join(&name);
            let answer = answers.join(&name);
            let said = self.take(&request).unwrap_or_else(|failure| {
                tracing::warn!(code = failure.code, "{}: {}", request.display(), failure.text);
                Answer::Failed(failure)
            });
            let told = if said == Answer::Done {
                Ok(())
            } else {
                fs::write(&answer, serde_json::to_vec(&said).expect("an answer is plain data"))
            };
            // Asked and answered, or asked by nobody we know. Also where the answer has no room: what stays would be done again.
            match remove(&request) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            told?;
        }
        Ok(())
    }

    fn take(&self, request: &Path) -> Result<Answer, Failure> {
        let size = fs::symlink_metadata(request).map_err(|error| unread(&error))?;
        if !size.is_file() || size.len() > REQUEST_BYTES_MAX {
            return Err(failed("host_command_unknown", "it is no request".to_owned()));
        }
        let bytes = fs::read(request).map_err(|error| unread(&error))?;
        let command: HostCommand = serde_json::from_slice(&bytes)
            .map_err(|error| failed("host_command_unknown", format!("it cannot be read: {error}")))?;
        self.execute(&command)
    }

    /// Does one thing, or says why not.
    pub fn execute(&self, command: &HostCommand) -> Result<Answer, Failure> {
        match command {
            HostCommand::Tunnel(tunnel) => return self.tunnel(tunnel),
            HostCommand::ReadHead(read) => return self.read_head(&read.durable_id).map(Answer::Head),
            HostCommand::FormatDrive(format) => self.format(format)?,
            HostCommand::MountDrive(mount) => self.mount(mount)?,
            HostCommand::ReleaseDrive(release) => self.release(&release.storage)?,
            HostCommand::RemarkDrive(mark) => self.remark(mark)?,
            HostCommand::UnmountDrive(unmount) => {
                let at = mount_point(Path::new("/"), &unmount.storage);
                self.run("systemctl", &["stop", "--", &mount_unit::name(&unmount.storage)])?;
                if self.is_mounted(&at)? {
                    let text =
                        format!("{} is still mounted: `systemctl status` of its unit says why", at.display());
                    return Err(failed("unmount_failed", text));
                }
            }
            HostCommand::MarkDrive(mark) => self.mark(mark)?,
        }
        Ok(Answer::Done)
    }

    fn mount(&self, mount: &MountDrive) -> Result<(), Failure> {
        let at = mount_point(Path::new("/"), &mount.storage);
        let parts = self.find(&mount.id)?;
        if let Some(other) =
            parts.iter().find(|part| part.format.as_deref() != Some(mount.filesystem.on_drive()))
        {
            let found = other.format.as_deref().unwrap_or("nothing that is known");
            return Err(failed("filesystem_differs", format!("{} holds {found}", other.name)));
        }
        let in_use = self.is_mounted(&at)?;
        if !in_use {
            self.seal(&mount_point(self.root, &mount.storage))?;
        }
        let files = if mount.filesystem == Filesystem::Zfs {
            mount_unit::pool_file(&mount.storage, &self.import(&parts, &mount.id, in_use)?)
        } else {
            let points = parts.iter().flat_map(|part| part.mounted_at.iter().map(move |point| (part, point)));
            if let Some((part, elsewhere)) = points.into_iter().find(|(_, point)| Path::new(point) != at) {
                let text = format!("{} is mounted at {elsewhere}: unmount it there first", part.name);
                return Err(failed("drive_mounted_elsewhere", text));
            }
            mount_unit::files(&mount.storage, mount.filesystem, mount.id.contents().unwrap_or_default())
        };
        let mut written = false;
        for file in files {
            written |= put(&self.root.join(UNITS).join(&file.path), &file.text).map_err(|error| {
                failed("mount_failed", format!("the unit {} cannot be written: {error}", file.path))
            })?;
        }
        let unit = mount_unit::name(&mount.storage);
        if written {
            self.run("systemctl", &["daemon-reload"])?;
        }
        self.run("systemctl", &["--quiet", "enable", "--", &unit])?;
        self.run("systemctl", &["start", "--", &unit])
    }

    /// The empty folder, which nobody may write to: what is meant for the drive must not end up under it.
    fn seal(&self, folder: &Path) -> Result<(), Failure> {
        let made = fs::create_dir_all(folder);
        made.map_err(|error| {
            failed("mount_failed", format!("{} cannot be made: {error}", folder.display()))
        })?;
        // Not every root file system knows this; PVE's own look at the mount point is there as well.
        if let Err(said) = (self.tool)("chattr", &["+i", "--", &folder.display().to_string()]) {
            tracing::debug!("{said}");
        }
        Ok(())
    }

    /// The unit goes, and what it mounted. What is on the drive stays, its marker too.
    fn release(&self, storage: &StorageId) -> Result<(), Failure> {
        let unit = mount_unit::name(storage);
        let mounted = self.devices().mounted_at(&mount_point(Path::new("/"), storage));
        let mounted = mounted.map_err(|error| unread(&error))?;
        match &mounted {
            Mounted::Nothing => {}
            Mounted::Pool(pool) if pool.is_suspended() => {
                let text =
                    format!("the pool {} waits for its drives: plug them in, and it is let go", pool.name);
                return Err(failed("pool_suspended", text));
            }
            Mounted::Pool(_) | Mounted::Other => self.run("systemctl", &["stop", "--", &unit])?,
        }
        let path = self.root.join(UNITS).join(&unit);
        if path.exists() {
            self.run("systemctl", &["--quiet", "disable", "--", &unit])?;
            fs::remove_file(&path).map_err(|error| {
                failed("unmount_failed", format!("{} cannot be removed: {error}", path.display()))
            })?;
            self.run("systemctl", &["daemon-reload"])?;
        }
        if let Mounted::Pool(pool) = &mounted { self.export(pool) } else { Ok(()) }
    }

    /// Only the role changes: the drive must carry the same marker otherwise.
    fn remark(&self, mark: &MarkDrive) -> Result<(), Failure> {
        let folder = self.mounted_folder(mark)?;
        let Reading::Present(before) = Marker::read(&folder) else {
            return Err(failed("marker_gone", "the drive carries no marker to be changed".to_owned()));
        };
        if (Marker { role: mark.marker.role, ..before }) != mark.marker {
            return Err(failed("marker_differs", "the drive carries another marker".to_owned()));
        }
        replace_marker(&folder, &marker_text(&mark.marker)).map_err(|error| not_written(&error))
    }

    fn mark(&self, mark: &MarkDrive) -> Result<(), Failure> {
        let folder = self.mounted_folder(mark)?;
        if fs::symlink_metadata(folder.join(FILE_NAME)).is_ok() {
            return Err(failed("marker_not_written", "there is one already".to_owned()));
        }
        replace_marker(&folder, &marker_text(&mark.marker)).map_err(|error| not_written(&error))
    }

    /// Where the drive is mounted, if it is mounted where the marker's storage belongs.
    fn mounted_folder(&self, mark: &MarkDrive) -> Result<PathBuf, Failure> {
        let at = mount_point(Path::new("/"), &mark.marker.storage);
        let parts = self.find(&mark.id)?;
        if !parts.iter().flat_map(|part| &part.mounted_at).any(|point| Path::new(point) == at) {
            let text = format!("{} is not mounted at {}", mark.id, at.display());
            return Err(failed("drive_not_mounted", text));
        }
        Ok(mount_point(self.root, &mark.marker.storage))
    }

    /// The one file system that is known so, or the members of the pool, on drives that may be used.
    fn find(&self, id: &DurableId) -> Result<Vec<Content>, Failure> {
        let drives = self.drives()?;
        let mut parts = Vec::new();
        for drive in &drives {
            for content in drive.contents.iter().filter(|content| content.known_by.contains(id)) {
                may_be_used(drive, content)?;
                parts.push(content.clone());
            }
        }
        if parts.is_empty() {
            let text = format!("no drive that is known by {id} is attached, or several are");
            return Err(failed("drive_not_found", text));
        }
        Ok(parts)
    }

    pub(super) fn drives(&self) -> Result<Vec<DriveReport>, Failure> {
        let devices = self.devices().read().map_err(|error| unread(&error))?;
        Ok(detect(&devices))
    }

    fn is_mounted(&self, at: &Path) -> Result<bool, Failure> {
        self.devices().is_mount_point(at).map_err(|error| unread(&error))
    }

    pub(super) fn devices(&self) -> BlockDevices {
        BlockDevices::new(self.root)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<(), Failure> {
        (self.tool)(program, args).map(drop).map_err(|said| failed("mount_failed", said))
    }
}

fn may_be_used(drive: &DriveReport, content: &Content) -> Result<(), Failure> {
    if let Some(problem) = drive.clash() {
        return Err(problem.clone());
    }
    if drive.system {
        return Err(failed("drive_of_the_system", format!("the box itself runs from {}", drive.name)));
    }
    match other_holder(content) {
        Some(holder) => Err(failed("drive_held", format!("{} is held by {holder}", content.name))),
        None => Ok(()),
    }
}

/// What stays on the desk would start us for ever.
fn remove(request: &Path) -> io::Result<()> {
    if fs::symlink_metadata(request)?.is_dir() {
        fs::remove_dir_all(request)
    } else {
        fs::remove_file(request)
    }
}

/// Writes a file unless it says that already; whether it did.
pub(super) fn put(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(false);
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    // After a power cut it is whole or not there.
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(true)
}

fn marker_text(marker: &Marker) -> String {
    serde_json::to_string_pretty(marker).expect("a marker is plain data")
}

fn not_written(error: &io::Error) -> Failure {
    failed("marker_not_written", format!("{FILE_NAME}: {error}"))
}

/// The drive's files are a customer's: a link that lies there must lead nowhere.
fn replace_marker(folder: &Path, text: &str) -> io::Result<()> {
    let (path, draft) = (folder.join(FILE_NAME), folder.join(format!("{FILE_NAME}.new")));
    remove_if_there(&draft)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    fs::File::open(folder)?.sync_all()
}

pub(super) fn failed(code: &str, text: String) -> Failure {
    Failure { code: code.to_owned(), text }
}

pub(super) fn unread(error: &io::Error) -> Failure {
    failed("drives_unreadable", format!("the host's drives or the request cannot be read: {error}"))
}
