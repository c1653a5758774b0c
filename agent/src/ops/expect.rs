//! Is the guest still what was signed for? Pure; asked once when planning and again right before the effect.

use felhom_shared::id::GuestId;
use felhom_shared::report::Failure;
use felhom_shared::signed::{Expect, Rejection};

use crate::observe::{Reading, SeenGuest};
use crate::resources::guest::is_ours;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is.
    Same,
    /// It is not, and what was signed is void.
    Other(Rejection),
    /// It cannot be said now.
    Unreadable(Failure),
}

/// Compares what was signed with what is there.
#[must_use]
pub fn compare(guest_id: GuestId, expect: &Expect, seen: &Reading<SeenGuest>) -> Match {
    let other = |what: &'static str| Match::Other(Rejection::ExpectMismatch(what));
    let (guest, digest) = match (seen, &expect.config_digest) {
        (Reading::Unreadable(failure), _) => return Match::Unreadable(failure.clone()),
        (Reading::Absent, None) => return Match::Same,
        (Reading::Absent, Some(_)) => return other("there is no guest at its vmid"),
        (Reading::Present(_), None) => return other("there is a guest at its vmid, and there must be none"),
        (Reading::Present(guest), Some(digest)) => (guest, digest),
    };
    let config = match &guest.config {
        Reading::Present(config) => config,
        Reading::Absent => return other("it has no configuration"),
        Reading::Unreadable(failure) => return Match::Unreadable(failure.clone()),
    };
    if guest.entry.vmid != expect.vmid {
        return other("it has another vmid");
    }
    if !is_ours(guest_id, &guest.entry, Some(config)) {
        return other("it does not carry the guest's mark");
    }
    if guest.entry.name != expect.name.as_str() {
        return other("it has another name");
    }
    if config.digest != digest.as_str() {
        return other("its configuration has changed");
    }
    Match::Same
}
