//! Files as this tool reads and writes them: bounded when read, and never over something that is there.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum FileError {
    #[error("{0} is there already; it is not overwritten: name another file")]
    Exists(PathBuf),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} has more than {bytes_max} bytes: is it the right file?")]
    TooLong { path: PathBuf, bytes_max: usize },
    #[error("{0} is not text")]
    NotText(PathBuf),
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only its owner: keys.
    Owner,
    /// Whoever the umask allows: what was signed is no secret.
    Anyone,
}

/// Reads at most `bytes_max` bytes.
pub fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    // Room for all of it at once: a buffer that grows leaves copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(FileError::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

/// Reads text of at most `bytes_max` bytes.
pub fn read_text(path: &Path, bytes_max: usize) -> Result<String, FileError> {
    let bytes = read(path, bytes_max)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| FileError::NotText(path.to_owned()))
}

/// Writes a file that was not there, whole or not at all, durably.
pub fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    if path.symlink_metadata().is_ok() {
        return Err(FileError::Exists(path.to_owned()));
    }
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Anyone => 0o644,
    };
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".new-{}", uuid::Uuid::new_v4().simple()));
    let new = PathBuf::from(new);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    // A link fails where there is a file by now; a rename would replace it.
    let linked = written.and_then(|()| std::fs::hard_link(&new, path));
    let _ = std::fs::remove_file(&new);
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(FileError::Exists(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
        Ok(()) => sync_folder(path).map_err(failed),
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// `path` with `suffix` after its whole name: `op.json` becomes `op.json.signed`.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_not_even_a_dangling_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, b"first", Readers::Owner).unwrap();
        assert!(matches!(write_new(&path, b"second", Readers::Owner), Err(FileError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(matches!(write_new(&link, b"x", Readers::Owner), Err(FileError::Exists(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, [b'a'; 9]).unwrap();
        assert!(matches!(read(&path, 8), Err(FileError::TooLong { .. })));
        assert_eq!(read(&path, 9).unwrap().len(), 9);
    }
}
