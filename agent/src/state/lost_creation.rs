//! Creations that PVE's task did not bring to a good end: what the journal knows of a guest that is half there.

use std::collections::BTreeMap;

use felhom_shared::desired::DesiredState;
use felhom_shared::id::{GuestId, Vmid};
use felhom_shared::report::StepOutcome;

use super::journal::{damaged, read_word};
use super::{State, StateError};
use crate::host::unfinished::is_served;
use crate::observe::ObservedHost;
use crate::pve::Upid;
use crate::resources::guest::unfinished::is_being_made;
use crate::step::Step;

/// More tries at clearing than anybody will make within the time the journal is kept.
const LOOK_BACK: u32 = 1000;

/// A create or clone of ours whose task did not end well, and after which nothing else was done to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCreation {
    /// The number it was to have.
    pub vmid: Vmid,
    /// PVE's task.
    pub task: Upid,
}

impl State {
    /// Lost creations among the guests that PVE shows as being made. The journal is asked for those only, and there are
    /// hardly ever any; without somebody who can clear them, none.
    pub fn lost_creations(
        &self,
        desired: &DesiredState,
        observed: &ObservedHost,
    ) -> Result<BTreeMap<GuestId, LostCreation>, StateError> {
        let being_made = |vmid| observed.guests.get(&vmid).is_some_and(is_being_made);
        let mut lost = BTreeMap::new();
        for spec in desired.guests.iter().filter(|spec| being_made(spec.vmid)) {
            if let Some(creation) = self.lost_creation(spec.guest_id)?.filter(|_| is_served(&self.folder)) {
                lost.insert(spec.guest_id, creation);
            }
        }
        Ok(lost)
    }

    /// The lost creation of a guest, if that is the last that was done to it.
    fn lost_creation(&self, guest_id: GuestId) -> Result<Option<LostCreation>, StateError> {
        let sql = self.sql();
        let mut statement = sql.prepare_cached(
            "SELECT step, outcome, vmid, upid FROM journal WHERE item = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let mut rows = statement.query((guest_id.to_string(), LOOK_BACK))?;
        while let Some(row) = rows.next()? {
            let step: Step = serde_json::from_str(&row.get::<_, String>(0)?).map_err(damaged)?;
            let outcome = row.get::<_, Option<String>>(1)?.map(|word| read_word(&word)).transpose()?;
            let upid =
                row.get::<_, Option<String>>(3)?.map(|upid| upid.parse()).transpose().map_err(damaged)?;
            let badly = matches!(outcome, Some(StepOutcome::Interrupted | StepOutcome::Failed));
            return Ok(match (step, upid) {
                // A try at clearing that came to nothing has changed nothing.
                (Step::ClearUnfinished(_), _) if badly => continue,
                (Step::CreateGuest(_) | Step::CloneGuest(_), Some(task)) if badly => {
                    let vmid = Vmid::new(row.get(2)?).map_err(damaged)?;
                    Some(LostCreation { vmid, task })
                }
                _ => None,
            });
        }
        Ok(None)
    }
}
