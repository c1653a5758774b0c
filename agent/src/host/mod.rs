//! The only place that touches the system under Proxmox. What is asked of it is a small closed set of things, each of
//! which somebody with more rights looks at once more before doing it: the process that reads the network has none.

pub mod block;
pub mod clerk;
pub mod command;
mod desk;
pub mod device_events;
pub mod format;
pub mod marker;
mod mount_unit;
mod pool;
pub mod tunnel;
pub mod unfinished;

pub(crate) use desk::clear_drafts;

/// Removes a file. That there is none is no failure.
fn remove_if_there(path: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
