//! A box that holds what this hub does not: `desired_conflict`, `desired_conflict_over`.
//!
//! That happens when the hub was restored from a backup. Nothing is decided here; the operator is told once, and
//! publishing waits for a person who says which document is right.

use felhom_shared::event::Severity;
use felhom_shared::id::HostId;
use rusqlite::Connection;

use crate::store::{StoreError, events, hosts};

/// Tells of a conflict that began or ended, in the transaction that began or ended it.
pub fn check(sql: &Connection, host_id: HostId) -> Result<(), StoreError> {
    let Some(host) = hosts::get(sql, host_id)? else { return Ok(()) };
    let conflict = host.in_conflict();
    if conflict == host.told_conflict {
        return Ok(());
    }
    hosts::set_told_conflict(sql, host_id, conflict)?;
    if !conflict {
        let text = format!("{} and this hub agree again", host.name);
        return events::tell(sql, host_id, "desired_conflict_over", Severity::Info, &text);
    }
    let text = format!(
        "{} has received {}, this hub holds {}: was the hub restored from a backup? `felhom-hub desired resume {}`",
        host.name,
        held(host.received),
        held(host.desired),
        host.name
    );
    events::tell(sql, host_id, "desired_conflict", Severity::Error, &text)
}

/// A generation in a sentence.
#[must_use]
pub fn held(generation: Option<felhom_shared::id::Generation>) -> String {
    generation.map_or_else(|| "nothing".to_owned(), |generation| format!("generation {generation}"))
}
