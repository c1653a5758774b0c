//! Events, polls, envelopes and errors.

use std::collections::BTreeMap;

use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, Generation, HostId, OutboxId};
use felhom_shared::report::LedgerHead;
use felhom_shared::secret::{SecretName, SecretValue};
use felhom_shared::signed::OpId;
use felhom_shared::wire::{
    ApiError, ControlEnvelope, EventsPost, OpReceipt, PollAnswer, PollQuery, QueueState, QueuedOp,
};
use serde_json::value::RawValue;

use super::{at, guest_id, uuid};

pub(crate) fn event_of_guest() -> Event {
    Event {
        seq: 17,
        event_id: EventId(uuid(0x17)),
        at: at("2026-11-24T02:10:00.25Z"),
        kind: "guest_changed".to_owned(),
        severity: Severity::Info,
        guest_id: Some(guest_id(1)),
        text: "nextcloud (vmid 101): create_guest, start_guest".to_owned(),
    }
}

pub(crate) fn event_of_host() -> Event {
    Event {
        seq: 18,
        event_id: EventId(uuid(0x18)),
        guest_id: None,
        ..told(Severity::Error, "pve_unreadable")
    }
}

pub(crate) fn events_post() -> EventsPost {
    let warning = Event { seq: 19, event_id: EventId(uuid(0x19)), ..told(Severity::Warning, "guest_held") };
    EventsPost { outbox_id: OutboxId(uuid(0xb0)), events: vec![event_of_guest(), event_of_host(), warning] }
}

fn told(severity: Severity, kind: &str) -> Event {
    let text = "árvíztűrő tükörfúrógép".to_owned();
    Event { severity, kind: kind.to_owned(), text, ..event_of_guest() }
}

pub(crate) fn poll_query() -> PollQuery {
    PollQuery { have: Some(Generation(7)), digest: Some("5e".repeat(32)), keyset: Some(2), wait: 50 }
}

/// The document's own spaces and order are part of it.
pub(crate) fn poll_answer() -> PollAnswer {
    let document = r#"{"version":1,  "guests":[],"identity":{"name":"box"}}"#;
    PollAnswer {
        host_id: HostId(uuid(0xf0)),
        generation: Some(Generation(8)),
        desired: Some(RawValue::from_string(document.to_owned()).unwrap()),
        secrets: [(SecretName::new("tunnel-token").unwrap(), SecretValue::new("eyJhIjoi").unwrap())].into(),
        ops: vec![QueuedOp { op_id: OpId::of(b"an envelope"), blob: "an envelope".to_owned() }],
        keysets: vec!["another".to_owned()],
        ledger_seen: Some(LedgerHead { seq: 12, head: "1e".repeat(32) }),
        poll_interval_s: 60,
        blocked: true,
    }
}

pub(crate) fn control_envelope() -> ControlEnvelope {
    let desired_generation = Some(Generation(8));
    ControlEnvelope { desired_generation, has_ops: true, poll_interval_s: 60, blocked: true }
}

pub(crate) fn control_envelope_first() -> ControlEnvelope {
    ControlEnvelope { desired_generation: None, has_ops: false, poll_interval_s: 5, blocked: false }
}

/// Only an operation: the box has the document.
pub(crate) fn poll_answer_of_ops() -> PollAnswer {
    PollAnswer {
        generation: None,
        desired: None,
        secrets: BTreeMap::new(),
        keysets: Vec::new(),
        ledger_seen: None,
        blocked: false,
        ..poll_answer()
    }
}

pub(crate) fn op_receipt() -> OpReceipt {
    OpReceipt {
        state: QueueState::Rejected,
        code: Some("expect_mismatch".to_owned()),
        text: Some("the guest is no longer what was signed for".to_owned()),
    }
}

pub(crate) fn op_receipt_applied() -> OpReceipt {
    OpReceipt { state: QueueState::Applied, code: None, text: None }
}

pub(crate) fn api_error() -> ApiError {
    ApiError {
        code: "events_gap".to_owned(),
        message: "event 9 came where 7 was expected: send the outbox from 7".to_owned(),
    }
}
