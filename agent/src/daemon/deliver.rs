//! What the agent tells the hub: reports, receipts of operations, and the outbox. What cannot be told now is kept.

use std::convert::Infallible;

use felhom_shared::id::NodeName;
use felhom_shared::limits::EVENTS_PER_POST_MAX;
use felhom_shared::report::{CycleCost, HostReport, HostState, REPORT_VERSION};
use jiff::Timestamp;
use tokio::sync::watch;

use super::Daemon;
use crate::cycle::CycleEnd;
use crate::hub::{Hub, HubError};
use crate::node::Gauges;
use crate::pulse::Pulse;
use crate::pve::Pve;
use crate::state::{Boundary, StateError};

impl Daemon {
    /// Tells the hub's queue what became of operations. What cannot be told now is told later.
    pub(super) async fn send_receipts(&mut self, pulse: &Pulse<'_>) -> Result<(), StateError> {
        let ops = self.cycle.ops().clone();
        while let Some((op_id, receipt)) = self.receipts.first() {
            if let Err(error) = self.hub.op_state(op_id, receipt).await {
                tracing::warn!(code = error.code(), "receipt not delivered, it is kept: {error}");
                return Ok(());
            }
            pulse.beat();
            self.receipts.remove(0);
        }
        for (standing, receipt) in ops.untold()? {
            self.state.boundary(Boundary::BeforeTold);
            if let Err(error) = self.hub.op_state(&standing.op_id, &receipt).await {
                tracing::warn!(code = error.code(), "receipt not delivered, it is kept: {error}");
                return Ok(());
            }
            pulse.beat();
            self.state.boundary(Boundary::AfterTold);
            self.state.told_standing(&standing.op_id, standing.state)?;
        }
        Ok(())
    }

    /// Sends the outbox, oldest first, until it is empty or the hub does not answer.
    pub(super) async fn send_events(&self, pulse: &Pulse<'_>) -> Result<(), StateError> {
        let mut begun_anew = false;
        loop {
            let events = self.state.untold(EVENTS_PER_POST_MAX)?;
            let Some(newest) = events.last().map(|event| event.seq) else { return Ok(()) };
            let ack = match self.hub.events(self.state.outbox_id()?, events).await {
                Ok(ack) => ack,
                Err(HubError::Refused { answer, .. }) if answer.code == "events_gap" && !begun_anew => {
                    // The hub has lost what it once acknowledged: what is still here begins a new outbox. Once: a
                    // hub that refuses that too must not keep the box from everything else.
                    begun_anew = true;
                    tracing::warn!(
                        code = answer.code,
                        "the hub has lost events of this box: {}",
                        answer.message
                    );
                    self.state.begin_new_outbox()?;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(code = error.code(), "events not delivered, they are kept: {error}");
                    return Ok(());
                }
            };
            pulse.beat();
            self.state.acknowledged(ack.acked_seq.min(newest))?;
            if ack.acked_seq < newest {
                return Ok(());
            }
        }
    }
}

/// Reports each state that a running cycle shows, the newest first where the hub is slow. Never ends by itself.
pub(super) async fn report_progress(
    hub: &Hub,
    (pve, gauges): (&Pve, &mut Gauges),
    node: Option<NodeName>,
    mut under_way: watch::Receiver<Option<HostState>>,
) -> Infallible {
    while under_way.changed().await.is_ok() {
        let Some(state) = under_way.borrow_and_update().clone() else { continue };
        let report = report(
            pve,
            gauges,
            node.as_ref(),
            CycleEnd { state, cost: CycleCost::default(), tunnel_connections: None },
        )
        .await;
        if let Err(error) = hub.report(&report).await {
            tracing::debug!(code = error.code(), "progress not delivered: {error}");
        }
    }
    std::future::pending().await
}

pub(super) async fn report(
    pve: &Pve,
    gauges: &mut Gauges,
    node: Option<&NodeName>,
    end: CycleEnd,
) -> HostReport {
    let mut metrics = gauges.read(pve, node, end.cost).await;
    metrics.tunnel_connections = end.tunnel_connections;
    HostReport { version: REPORT_VERSION, sent_at: Timestamp::now(), metrics, state: end.state }
}
