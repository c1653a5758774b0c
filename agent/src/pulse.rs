//! The sign of life: systemd hears that the agent lives when its loop has really come on, and never from a timer.
//!
//! What counts is a turn of the loop and, within a cycle, an exchange with PVE that has ended, whatever its answer: a
//! task that is waited for is looked at every two seconds. What goes on beside a cycle (the parked poll, the reports of
//! what is under way) counts for nothing, or it would keep an agent alive whose cycle is stuck.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A busy cycle ends many exchanges in a second, and systemd needs to hear of one.
const SPACING: Duration = Duration::from_secs(1);

/// Who is told, and when that was last done.
pub(crate) struct Pulse<'a> {
    tell: RefCell<&'a mut dyn FnMut()>,
    told_at: Cell<Option<Instant>>,
}

impl<'a> Pulse<'a> {
    pub(crate) fn new(tell: &'a mut dyn FnMut()) -> Self {
        Self { tell: RefCell::new(tell), told_at: Cell::new(None) }
    }

    /// The loop has come on.
    pub(crate) fn beat(&self) {
        if self.told_at.get().is_some_and(|at| at.elapsed() < SPACING) {
            return;
        }
        self.told_at.set(Some(Instant::now()));
        (self.tell.borrow_mut())();
    }

    /// Beats at each exchange that ends. Never ends by itself.
    pub(crate) async fn follow(&self, mut exchanges: watch::Receiver<u64>) -> Infallible {
        while exchanges.changed().await.is_ok() {
            self.beat();
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_alone_is_no_progress_and_many_exchanges_are_told_once_a_second() {
        let mut told = 0;
        let mut tell = || told += 1;
        let pulse = Pulse::new(&mut tell);
        let (ended, exchanges) = watch::channel(0);
        let work = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                ended.send_modify(|count| *count += 1);
            }
        };
        tokio::select! {
            () = work => {}
            never = pulse.follow(exchanges) => match never {},
        }
        assert_eq!(told, 3);
    }
}
