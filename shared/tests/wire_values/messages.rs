//! Events, polls, envelopes and errors.

use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, Generation, HostId, OutboxId};
use felhom_shared::wire::{ApiError, ControlEnvelope, EventsPost, PollAnswer, PollQuery};
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
    PollQuery { have: Some(Generation(7)), digest: Some("5e".repeat(32)), wait: 50 }
}

/// The document's own spaces and order are part of it.
pub(crate) fn poll_answer() -> PollAnswer {
    let document = r#"{"version":1,  "guests":[],"identity":{"name":"box"}}"#;
    PollAnswer {
        host_id: HostId(uuid(0xf0)),
        generation: Generation(8),
        desired: RawValue::from_string(document.to_owned()).unwrap(),
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

pub(crate) fn api_error() -> ApiError {
    ApiError {
        code: "events_gap".to_owned(),
        message: "event 9 came where 7 was expected: send the outbox from 7".to_owned(),
    }
}
