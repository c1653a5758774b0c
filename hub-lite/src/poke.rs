//! How the command line tells a running hub that it has changed something: a socket in the data folder.
//!
//! Carries no data and no authority. A poke says "look again", and whoever may write the folder may say that; a
//! hub that does not run is simply not told, and reads everything when it starts.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::state::AppState;
use felhom_shared::text::chain;

/// Where the socket lies.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("hub.sock")
}

/// Tells the hub on this folder to look again, if one runs.
pub fn poke(folder: &Path) {
    let Ok(mut socket) = UnixStream::connect(path(folder)) else { return };
    // The connection itself is the poke; the byte only makes sure that it was taken.
    let _ = socket.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = socket.write_all(b".");
}

pub(crate) fn listen(folder: &Path) -> std::io::Result<UnixListener> {
    let path = path(folder);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

pub(crate) async fn answer(listener: UnixListener, state: AppState, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.changed() => return,
            accepted = listener.accept() => accepted,
        };
        if accepted.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        state.keys.forget();
        if let Err(error) = state.reload_all().await {
            tracing::error!("the hub was told to look again and could not: {}", chain(&error));
        }
    }
}
