//! How a guest on the node is recognised as ours, and how a document's keys are spelt in PVE's.

use std::collections::BTreeSet;

use felhom_shared::desired::{GuestKind, GuestSpec};
use felhom_shared::id::GuestId;
use felhom_shared::ordered;

use crate::observe::ListRow;
use crate::pve::GuestReading;

/// The tag that every managed guest carries beside its mark.
pub(super) const OWNER_TAG: &str = "felhom";

/// The description a clone is born with: PVE copies the source's tags and takes no others, so until the next
/// step sets them this line is the mark.
#[must_use]
pub fn clone_mark(guest_id: GuestId) -> String {
    format!("felhom guest {guest_id}")
}

/// Whether the guest at a VMID is the one with this id.
#[must_use]
pub fn is_ours(guest_id: GuestId, entry: &ListRow, config: Option<&GuestReading>) -> bool {
    if entry.tags.contains(&guest_id.mark()) {
        return true;
    }
    let description = config.and_then(|config| config.current.get("description"));
    description.is_some_and(|text| text.trim() == clone_mark(guest_id))
}

/// All tags of a managed guest: the document's, the owner tag and the mark.
pub(super) fn tags(spec: &GuestSpec) -> BTreeSet<String> {
    let own = [OWNER_TAG.to_owned(), spec.guest_id.mark()];
    ordered::set(spec.tags.iter().map(|tag| tag.as_str().to_owned()).chain(own))
}

/// `hostname` for a container, `name` for a virtual machine.
pub(super) fn name_key(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Lxc => "hostname",
        GuestKind::Qemu => "name",
    }
}
