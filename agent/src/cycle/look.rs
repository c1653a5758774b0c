//! One look at the host: what is open is settled, everything is read, and the plan is made of it.

use std::collections::BTreeMap;

use felhom_shared::desired::DesiredState;
use felhom_shared::id::GuestId;
use felhom_shared::ordered;
use felhom_shared::report::{Note, NoteKind, Outcome};
use jiff::{SignedDuration, Timestamp};

use super::Cycle;
use crate::adopt::{Unsettled, adopt};
use crate::item::Item;
use crate::observe::ObservedHost;
use crate::plan::{Limits, Plan, plan};
use crate::resources::storage::observe::{Place, SeenStorages, observe};
use crate::resources::tunnel::observe::SeenTunnel;
use crate::state::StateError;

impl Cycle {
    /// Settles what is open, reads the node, and plans.
    pub(super) async fn look(
        &mut self,
        desired: &DesiredState,
        blocked: bool,
    ) -> Result<(ObservedHost, Plan), StateError> {
        let unsettled = self.adopt_open().await?;
        let mut observed = self.observer.observe(desired).await;
        observed.storages = self.see_storages(desired).await?;
        observed.tunnel = self.see_tunnel(desired).await?;
        let mut plan = self.plan(desired, &observed, blocked)?;
        self.remember_marks(&plan)?;
        let of_storage = plan.storage.iter().filter_map(|storage| storage.void.as_ref());
        for (op_id, rejection) in plan.guests.iter().filter_map(|guest| guest.void.as_ref()).chain(of_storage)
        {
            self.ops.end_if_waiting(op_id, rejection, Timestamp::now())?;
        }
        withhold_unsettled(&mut plan, &unsettled);
        self.uplinks.annotate(&mut plan);
        self.uplinks.saw(&plan.guests, |_| false);
        self.lacks_secret = plan.tunnel.as_ref().is_some_and(|tunnel| tunnel.lacks_secret);
        Ok((observed, plan))
    }

    /// The drives, and what the document makes of them. Mounts come and go without an event, so where it makes anything of
    /// them they are read in every pass.
    async fn see_storages(&mut self, desired: &DesiredState) -> Result<Option<SeenStorages>, StateError> {
        if !desired.storage.is_empty() {
            self.drives.look_again();
        }
        self.drives.refreshed(&self.pve, self.observer.node()).await;
        if desired.storage.is_empty() {
            return Ok(None);
        }
        let place = Place { root: &self.root, state_dir: self.state.folder() };
        let known = (self.host_id, self.drives.reading(), self.state.drive_marks()?);
        let mut seen = observe(&self.pve, place, &desired.storage, known).await;
        self.heads.read(self.state.folder(), &desired.storage, &mut seen).await;
        Ok(Some(seen))
    }

    async fn see_tunnel(&mut self, desired: &DesiredState) -> Result<Option<SeenTunnel>, StateError> {
        let Some(watch) = &mut self.tunnel else { return Ok(None) };
        let attempt = match &desired.tunnel {
            Some(_) => self.state.tunnel_attempt()?,
            None => None,
        };
        let known = (self.state.folder(), &self.secrets, attempt);
        Ok(watch.look(desired.tunnel.as_ref(), known).await)
    }

    fn remember_marks(&self, plan: &Plan) -> Result<(), StateError> {
        let proven = plan
            .storage
            .iter()
            .filter_map(|storage| Some((storage.storage.clone(), storage.proven.clone()?)));
        let mut marks = self.state.drive_marks()?;
        if marks.learn(proven) {
            self.state.put_drive_marks(&marks)?;
        }
        Ok(())
    }

    async fn adopt_open(&mut self) -> Result<BTreeMap<GuestId, Unsettled>, StateError> {
        let open = self.state.open_entries()?;
        if open.is_empty() {
            return Ok(BTreeMap::new());
        }
        match self.observer.find_node().await {
            Ok((node, _)) => adopt(&self.pve, &node, &self.state).await,
            Err(_) => {
                let guests = open.into_iter().filter_map(|entry| match entry.item {
                    Item::Guest { guest_id, .. } => Some((guest_id, Unsettled::Unknown)),
                    Item::Storage(_) | Item::Tunnel => None,
                });
                Ok(ordered::map(guests))
            }
        }
    }

    fn plan(
        &self,
        desired: &DesiredState,
        observed: &ObservedHost,
        blocked: bool,
    ) -> Result<Plan, StateError> {
        let now = Timestamp::now();
        let hour_ago = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(Timestamp::UNIX_EPOCH);
        let spent = self.state.changes_since(hour_ago)?;
        let budget_left = self.budget_per_hour.saturating_sub(spent);
        let grants = self.ops.grants(desired, now)?;
        let lost = self.state.lost_creations(desired, observed)?;
        let goes_back = |guest_id| self.uplinks.goes_back(guest_id);
        let backoff = &self.backoff;
        let limits =
            Limits { now, budget_left, backoff, grants: &grants, lost: &lost, blocked, at_once: &goes_back };
        Ok(plan(desired, observed, limits))
    }
}

/// A guest whose last step may still be running is left alone until that is known.
fn withhold_unsettled(plan: &mut Plan, unsettled: &BTreeMap<GuestId, Unsettled>) {
    for guest in &mut plan.guests {
        let (outcome, code, text) = match unsettled.get(&guest.guest_id) {
            None => continue,
            Some(Unsettled::Running) => (
                Outcome::Converging,
                "task_running",
                "PVE's task for the last step still runs; the rest follows",
            ),
            Some(Unsettled::Unknown) => {
                let text =
                    "what became of the last step cannot be read from PVE; nothing else is done until it can";
                (Outcome::Interrupted, "step_unsettled", text)
            }
        };
        guest.steps.clear();
        guest.outcome = outcome;
        guest.notes.push(Note { kind: NoteKind::Waiting, code: code.to_owned(), text: text.to_owned() });
    }
}
