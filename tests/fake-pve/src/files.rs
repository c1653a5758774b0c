//! Files of the double's directory: written whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::StartError;

/// Replaces `path` in one step.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    replace(path, bytes, 0o644)
}

/// As `write_atomic`, readable by the owner alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    replace(path, bytes, 0o600)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StartError> {
    let failed = |source| StartError::File { path: path.to_owned(), source };
    let fresh = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    drop(file);
    fs::rename(&fresh, path).map_err(failed)
}
