//! As much of a reported state as the hub acts on and lists.
//!
//! Reading all of it would be the most expensive part of taking a report in, and the rest is for the host's page,
//! which reads the report as it was stored. A word that the hub does not know is no hindrance where it is not read.

use felhom_shared::id::HostId;
use felhom_shared::report::{GenerationState, LedgerHead, NodeState, Outcome};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::store::host_state::{Summary, tally};

/// A [`felhom_shared::report::HostState`] without its details.
#[derive(Deserialize)]
pub(super) struct Known {
    pub(super) host_id: HostId,
    pub(super) generation: GenerationState,
    #[serde(default)]
    pub(super) ops: Ops,
    agent_version: String,
    node: NodeState,
    guests: Vec<Item>,
    #[serde(default)]
    storage: Vec<Item>,
    #[serde(default)]
    tunnel: Option<Tunnel>,
    #[serde(default)]
    unmanaged: Vec<IgnoredAny>,
    #[serde(default)]
    journal_open: u64,
}

/// A [`felhom_shared::report::OpsState`] without its details.
#[derive(Default, Deserialize)]
pub(super) struct Ops {
    pub(super) ledger: Option<LedgerHead>,
    #[serde(default)]
    pending: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Tunnel {
    #[serde(default)]
    outcome: Option<Outcome>,
}

#[derive(Deserialize)]
struct Item {
    outcome: Outcome,
}

impl Known {
    /// What [`Summary::of`] says of the whole state.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            agent_version: self.agent_version.clone(),
            node_unreadable: match &self.node {
                NodeState::Present { .. } => None,
                NodeState::Unreadable { text, .. } => Some(text.clone()),
            },
            outcomes: tally(self.guests.iter().map(|guest| guest.outcome)),
            tunnel: self.tunnel.as_ref().and_then(|tunnel| tunnel.outcome),
            storage: tally(self.storage.iter().map(|storage| storage.outcome)),
            unmanaged: u32::try_from(self.unmanaged.len()).unwrap_or(u32::MAX),
            journal_open: self.journal_open,
            to_sign: u32::try_from(self.ops.pending.len()).unwrap_or(u32::MAX),
            refused: self.generation.refused.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use felhom_shared::report::HostState;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_short_form_is_that_of_the_whole_state() {
        let guest = |outcome| {
            json!({
                "guest_id": "5c1a9a0e-2d0f-4c5e-8a50-5d6a5f1d9b11", "vmid": 101, "kind": "lxc", "name": "web",
                "outcome": outcome, "observed": {"reading": "absent"},
            })
        };
        let pending = json!({"op": "guest.destroy", "target": {}, "params": {}, "code": "held", "text": ""});
        let refused = json!({"generation": 9, "code": "generation_older", "text": "older"});
        let state = json!({
            "host_id": "0d9be3f7-7b55-4d43-a7d5-6d4f4c3b2a10", "agent_version": "0.1.0",
            "generation": {"received": 8, "reached": 7, "refused": refused},
            "node": {"reading": "unreadable", "code": "pve_down", "text": "it does not answer"},
            "guests": [guest("converged"), guest("held"), guest("held")],
            "storage": [{"storage": "photos", "durable_id": "contents:a", "role": "files", "outcome": "waiting",
                "readiness": "unplugged"}],
            "unmanaged": [{"vmid": 200, "kind": "qemu", "name": "other", "status": "running"}], "journal_open": 3,
            "ops": {"pending": [pending], "ledger": {"seq": 4, "head": "a".repeat(64)}},
        })
        .to_string();
        let whole: HostState = serde_json::from_str(&state).unwrap();
        let known: Known = serde_json::from_str(&state).unwrap();
        assert_eq!(known.summary(), Summary::of(&whole));
        assert_eq!((known.host_id, known.generation), (whole.host_id, whole.generation));
        assert_eq!(known.ops.ledger, whole.ops.ledger);
    }
}
