//! Waiting after failures: each item on its own, longer each time, never for ever.
//!
//! Kept in memory only. A restarted agent tries once more at once, which is what a person who restarts it wants.

use std::collections::BTreeMap;

use felhom_shared::report::Failure;
use jiff::{SignedDuration, Timestamp};

use crate::item::ItemId;

const FIRST_WAIT_S: i64 = 30;
const LONGEST_WAIT_S: i64 = 3600;

/// Items whose last step failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    waits: BTreeMap<ItemId, Wait>,
}

/// One item's wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Failures in a row.
    pub failures: u32,
    /// Not before this time.
    pub next_try: Timestamp,
    /// The last failure.
    pub failure: Failure,
}

impl Backoff {
    /// The wait that is still on for an item.
    #[must_use]
    pub fn waits(&self, item: &ItemId, now: Timestamp) -> Option<&Wait> {
        self.waits.get(item).filter(|wait| now < wait.next_try)
    }

    /// Notes a failure and returns when the next try is due. The wait doubles; up to a quarter is taken off by
    /// the item's own name, so that those that failed together do not all come back together.
    pub fn failed(&mut self, item: ItemId, failure: Failure, now: Timestamp) -> Timestamp {
        let failures = self.waits.get(&item).map_or(0, |wait| wait.failures).saturating_add(1);
        let doublings = (failures - 1).min(16);
        let wait_s = (FIRST_WAIT_S << doublings).min(LONGEST_WAIT_S);
        let jitter_s = wait_s * i64::from(own_number(&item)) / (4 * 256);
        let next_try = now.saturating_add(SignedDuration::from_secs(wait_s - jitter_s)).unwrap_or(now);
        self.waits.insert(item, Wait { failures, next_try, failure });
        next_try
    }

    /// Forgets an item's failures.
    pub fn succeeded(&mut self, item: &ItemId) {
        self.waits.remove(item);
    }

    /// A new document may have changed what failed: everything may be tried again.
    pub fn clear(&mut self) {
        self.waits.clear();
    }

    /// The earliest time at which a waiting item may be tried again.
    #[must_use]
    pub fn next_try(&self) -> Option<Timestamp> {
        self.waits.values().map(|wait| wait.next_try).min()
    }
}

/// The same for the same item at every start.
fn own_number(item: &ItemId) -> u8 {
    match item {
        ItemId::Guest(guest_id) => guest_id.0.as_bytes()[15],
        ItemId::Tunnel => 0,
        ItemId::Storage(storage) => storage.as_str().bytes().fold(0, u8::wrapping_add),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_end_with_success() {
        let guest = ItemId::Guest(felhom_shared::id::GuestId(uuid::Uuid::nil()));
        let failure = Failure { code: "x".to_owned(), text: "y".to_owned() };
        let now = Timestamp::UNIX_EPOCH;
        let mut backoff = Backoff::default();
        let waits: Vec<i64> = (0..10)
            .map(|_| backoff.failed(guest.clone(), failure.clone(), now).duration_since(now).as_secs())
            .collect();
        assert_eq!(waits[..4], [30, 60, 120, 240]);
        assert_eq!(waits[9], 3600);
        assert!(backoff.waits(&guest, now).is_some());
        backoff.succeeded(&guest);
        assert!(backoff.waits(&guest, now).is_none());
    }
}
