//! What a step is done to: a guest, a storage or the tunnel. The journal, the back-off and the report speak of items alike.

use std::fmt;
use std::str::FromStr;

use felhom_shared::desired::GuestKind;
use felhom_shared::id::{GuestId, InvalidId, StorageId, Vmid};

/// Who it is, for good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemId {
    /// A guest of the document.
    Guest(GuestId),
    /// A storage of the document.
    Storage(StorageId),
    /// The box's one tunnel.
    Tunnel,
}

/// Who it is and, for a guest, where it was when the step began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A guest.
    Guest {
        /// Identity.
        guest_id: GuestId,
        /// Number on the node.
        vmid: Vmid,
        /// Container or virtual machine.
        kind: GuestKind,
    },
    /// A storage.
    Storage(StorageId),
    /// The tunnel.
    Tunnel,
}

impl Item {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> ItemId {
        match self {
            Self::Guest { guest_id, .. } => ItemId::Guest(*guest_id),
            Self::Storage(storage) => ItemId::Storage(storage.clone()),
            Self::Tunnel => ItemId::Tunnel,
        }
    }

    /// Number and kind, where it is a guest.
    #[must_use]
    pub fn guest(&self) -> Option<(Vmid, GuestKind)> {
        match self {
            Self::Guest { vmid, kind, .. } => Some((*vmid, *kind)),
            Self::Storage(_) | Self::Tunnel => None,
        }
    }
}

impl From<GuestId> for ItemId {
    fn from(guest_id: GuestId) -> Self {
        Self::Guest(guest_id)
    }
}

const STORAGE: &str = "storage/";
const TUNNEL: &str = "tunnel";

/// As the journal stores it: a guest by its id alone, as it always did.
impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(guest_id) => guest_id.fmt(f),
            Self::Storage(storage) => write!(f, "{STORAGE}{storage}"),
            Self::Tunnel => f.write_str(TUNNEL),
        }
    }
}

impl FromStr for ItemId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text == TUNNEL {
            return Ok(Self::Tunnel);
        }
        if let Some(storage) = text.strip_prefix(STORAGE) {
            return StorageId::new(storage).map(Self::Storage);
        }
        text.parse().map(Self::Guest).map_err(|_| InvalidId {
            kind: "item",
            value: text.to_owned(),
            reason: "it is neither a guest's id, nor storage/ and a name, nor the tunnel",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_read_back_as_they_were_written() {
        for text in ["0d9be3f7-7b55-4d43-a7d5-6d4f4c3b2a10", "storage/backup-usb", "tunnel"] {
            assert_eq!(text.parse::<ItemId>().unwrap().to_string(), text);
        }
        assert!("storage/".parse::<ItemId>().is_err() && "web".parse::<ItemId>().is_err());
    }
}
