//! The operator's own list of hosts and guests: the only names that are believed.
//!
//! A hub that shows the name of one box beside the id of another is what this is against; so the file is kept by
//! hand, and nothing here writes to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use felhom_shared::id::{GuestId, HostId};
use serde::Deserialize;

use crate::files::{self, FileError};

const INVENTORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Names by id.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inventory {
    /// Boxes.
    pub hosts: BTreeMap<HostId, String>,
    /// Guests.
    pub guests: BTreeMap<GuestId, String>,
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum InventoryError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is not an inventory: {text}")]
    Form { path: PathBuf, text: String },
}

impl Inventory {
    /// Reads the file; without one, nothing is known.
    pub fn read(path: Option<&Path>) -> Result<Self, InventoryError> {
        let Some(path) = path else { return Ok(Self::default()) };
        toml::from_str(&files::read_text(path, INVENTORY_BYTES_MAX)?)
            .map_err(|error| InventoryError::Form { path: path.to_owned(), text: error.to_string() })
    }

    /// The host that the operator means: one of this list by its name, or whatever else was typed.
    #[must_use]
    pub fn host(&self, typed: &str) -> String {
        let named = self.hosts.iter().find(|(_, name)| *name == typed);
        named.map_or_else(|| typed.to_owned(), |(id, _)| id.to_string())
    }
}
