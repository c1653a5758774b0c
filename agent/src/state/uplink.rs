//! The documents under which the hub was heard through its guests, and those that were taken back: whole and as they came,
//! because the entry of one guest is read from a document everywhere else too.

use felhom_shared::desired::{DesiredState, GuestSpec};
use felhom_shared::id::GuestId;
use rusqlite::params;

use super::{State, StateError};
use crate::resources::guest::uplink::Known;
use crate::trial::Again;

const PROVEN: &str = "uplink_proven:";
const TRIED: &str = "uplink_tried:";
const AGAIN: &str = "uplink_again:";

impl State {
    /// Guests through which the hub was reached.
    pub fn uplinks(&self) -> Result<Vec<(GuestId, Known)>, StateError> {
        let sql = self.sql();
        let mut select = sql.prepare_cached("SELECT name, value FROM ledger WHERE name GLOB 'uplink_*'")?;
        let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut all = Vec::<(GuestId, Known)>::new();
        for row in rows {
            let (name, value) = row?;
            let (kind, guest_id) = name.split_at(name.find(':').map_or(0, |colon| colon + 1));
            let Ok(guest_id) = guest_id.parse::<GuestId>() else { continue };
            let at = all.iter().position(|(other, _)| *other == guest_id).unwrap_or_else(|| {
                all.push((guest_id, Known::default()));
                all.len() - 1
            });
            let one = &mut all[at].1;
            match kind {
                PROVEN => one.proven = entry(&value, guest_id)?,
                TRIED => one.tried = entry(&value, guest_id)?,
                AGAIN => one.again = again(&value),
                _ => {}
            }
        }
        Ok(all)
    }

    /// The hub was heard under the document in force.
    pub fn uplink_proven(&self, guest_id: GuestId) -> Result<(), StateError> {
        self.forget_uplink(guest_id)?;
        self.keep_document(PROVEN, guest_id)
    }

    /// What the document in force wants of a guest is taken back.
    pub fn uplink_taken_back(&self, guest_id: GuestId, again: &Again) -> Result<(), StateError> {
        self.keep_document(TRIED, guest_id)?;
        let text = format!("{} {}", again.failures, again.next_try);
        self.sql().execute(
            "INSERT INTO ledger (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            params![format!("{AGAIN}{guest_id}"), text],
        )?;
        Ok(())
    }

    /// The hub is not reached through it any more.
    pub fn forget_uplink(&self, guest_id: GuestId) -> Result<(), StateError> {
        self.sql().execute("DELETE FROM ledger WHERE name GLOB ?1", [format!("uplink_*:{guest_id}")])?;
        Ok(())
    }

    fn keep_document(&self, kind: &str, guest_id: GuestId) -> Result<(), StateError> {
        self.sql().execute(
            "INSERT INTO ledger (name, value) SELECT ?1, CAST(bytes AS TEXT) FROM document WHERE id = 1
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [format!("{kind}{guest_id}")],
        )?;
        Ok(())
    }
}

fn entry(document: &str, guest_id: GuestId) -> Result<Option<GuestSpec>, StateError> {
    let desired = DesiredState::from_json(document.as_bytes())
        .map_err(|error| StateError::Damaged { what: "uplink", text: error.to_string() })?;
    Ok(desired.guests.into_iter().find(|guest| guest.guest_id == guest_id))
}

fn again(text: &str) -> Option<Again> {
    let (failures, next_try) = text.split_once(' ')?;
    Some(Again { failures: failures.parse().ok()?, next_try: next_try.parse().ok()? })
}
