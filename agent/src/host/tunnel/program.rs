//! The box's own cloudflared: where it lies, its hash, and a copy of it. It is never fetched from anywhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use felhom_shared::id::Sha256Hex;
use nix::sys::statvfs::statvfs;
use sha2::{Digest, Sha256};

/// Where the package puts it, below the root.
const PROGRAMS: [&str; 2] = ["usr/bin/cloudflared", "usr/local/bin/cloudflared"];
const BYTES_MAX: u64 = 512 << 20;
/// Left free beside a copy.
const ROOM_LEFT: u64 = 64 << 20;

/// The program that the box's package brought, by where it lies.
#[must_use]
pub fn installed_program(root: &Path) -> Option<PathBuf> {
    PROGRAMS.iter().map(|path| root.join(path)).find(|path| path.is_file())
}

/// SHA-256 of a file, read piece by piece.
pub fn hash_file(path: &Path) -> io::Result<Sha256Hex> {
    let mut hasher = Sha256::new();
    read_pieces(path, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(Sha256Hex::of_digest(&hasher.finalize()))
}

fn read_pieces(path: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::open(path)?.take(BYTES_MAX);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read])?,
        }
    }
}

/// A full disk would stop more than the tunnel.
pub(super) fn has_room(folder: &Path, program: &Path) -> io::Result<bool> {
    let free = statvfs(folder)?;
    let free = free.blocks_available().saturating_mul(free.fragment_size());
    Ok(free > fs::metadata(program)?.len() + ROOM_LEFT)
}

/// Copies it, and says what was copied.
pub(super) fn copy_program(from: &Path, to: &Path) -> io::Result<Sha256Hex> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(to)?;
    let mut hasher = Sha256::new();
    read_pieces(from, |piece| {
        hasher.update(piece);
        file.write_all(piece)
    })?;
    file.sync_all()?;
    Ok(Sha256Hex::of_digest(&hasher.finalize()))
}
