//! How the command line tells a running hub that it has changed something: a socket in the data folder.
//!
//! Carries no authority and of data at most a name. A poke says "look again", at one host or at everything, and
//! whoever may write the folder may say that; a hub that does not run is simply not told, and reads everything when
//! it starts.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use felhom_shared::id::HostId;
use felhom_shared::text::chain;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::state::AppState;
use crate::store::StoreError;

/// In place of a host.
const EVERYTHING: &str = ".";
/// A host's id is shorter.
const WORD_BYTES_MAX: u64 = 64;
/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the socket lies.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("hub.sock")
}

/// Tells the hub on this folder, if one runs, to look again at what is wanted of this host; without a host, at
/// everything, keys included.
pub fn poke(folder: &Path, host_id: Option<HostId>) {
    let Ok(mut socket) = UnixStream::connect(path(folder)) else { return };
    let word = host_id.map_or_else(|| EVERYTHING.to_owned(), |host_id| host_id.to_string());
    // Whoever cannot be told looks again by the clock.
    let _ = socket.set_write_timeout(Some(PATIENCE));
    let _ = socket.write_all(word.as_bytes());
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
            _ = stopped.changed() => {
                // A socket that nobody answers would look like a hub; one that stays is replaced by the next.
                let _ = std::fs::remove_file(path(&state.config.data_dir));
                return;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Err(error) = look_again(&state, named(socket).await).await {
            tracing::error!("the hub was told to look again and could not: {}", chain(&error));
        }
    }
}

/// The host that a poke names. One that names none, or says nothing in time, means everything.
async fn named(socket: tokio::net::UnixStream) -> Option<HostId> {
    let mut word = String::new();
    let mut socket = socket.take(WORD_BYTES_MAX);
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut word)).await.ok()?.ok()?;
    word.parse().ok()
}

async fn look_again(state: &AppState, host_id: Option<HostId>) -> Result<(), StoreError> {
    if let Some(host_id) = host_id {
        return state.reload(host_id).await;
    }
    state.keys.forget();
    state.reload_all().await
}
