//! What systemd's watchdog hears of the hub: that a write has just come back from the committing writer, and a read from
//! the database beside it.
//!
//! Nothing else counts. A hub whose disk hangs still takes connections and wakes polls, and looks alive from outside while
//! nobody's report is kept; a timer that only says that the runtime turns would call that healthy. A full disk is no
//! silence: the writer answers, if only with an error, and a restart makes no room.

use std::time::Duration;

use tokio::sync::watch;

use crate::store::{Store, StoreError};

/// Beats three times within systemd's patience until the hub stops.
pub async fn beat(
    store: Store,
    patience: Duration,
    mut stopped: watch::Receiver<bool>,
    alive: impl Fn() + Send + 'static,
) {
    let mut ticks = tokio::time::interval(patience / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            _ = ticks.tick() => {}
        }
        let turned = tokio::select! {
            biased;
            _ = stopped.changed() => return,
            turned = turn(&store) => turned,
        };
        match turned {
            Ok(()) => alive(),
            Err(error) => tracing::error!("the watchdog is not told: {error}"),
        }
    }
}

/// One way through writer and reader.
async fn turn(store: &Store) -> Result<(), StoreError> {
    let written = store.write(|_| Ok(())).await;
    let read = store.read(|sql| Ok(sql.query_row("SELECT 1", [], |_| Ok(()))?)).await;
    // Too many waiting, or nobody there to answer: that is what being stuck looks like.
    let stuck = |error: &StoreError| matches!(error, StoreError::Busy | StoreError::Stopped);
    written.and(read).or_else(|error| if stuck(&error) { Err(error) } else { Ok(()) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::store::Commit;

    const PATIENCE: Duration = Duration::from_millis(150);

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_hub_whose_writer_is_stuck_falls_silent_and_is_heard_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Commit::default()).unwrap();
        let beats = Arc::new(AtomicU32::new(0));
        let (stop, stopped) = watch::channel(false);
        let heard = Arc::clone(&beats);
        let beating = tokio::spawn(beat(store.clone(), PATIENCE, stopped, move || {
            heard.fetch_add(1, Ordering::Relaxed);
        }));
        until("it beats", || beats.load(Ordering::Relaxed) > 2).await;

        // A disk that does not come back: the writer sits in somebody's write.
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let stuck = store.clone();
        let writing = tokio::spawn(async move {
            stuck
                .write(move |_| {
                    let _ = held.lock().unwrap().recv();
                    Ok(())
                })
                .await
        });
        // Beats that were on their way when it began still count; afterwards there are none.
        tokio::time::sleep(2 * PATIENCE).await;
        let before = beats.load(Ordering::Relaxed);
        tokio::time::sleep(4 * PATIENCE).await;
        assert_eq!(beats.load(Ordering::Relaxed), before, "a stuck hub was called healthy");

        release.send(()).unwrap();
        writing.await.unwrap().unwrap();
        until("it is heard again", || beats.load(Ordering::Relaxed) > before + 1).await;
        stop.send(true).unwrap();
        beating.await.unwrap();
    }
}
