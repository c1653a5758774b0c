//! The wire as it is, frozen: every message serialises to its file byte for byte and reads back to the same value.
//!
//! A file that no longer fits is a protocol change. If it is meant, `FELHOM_GOLDEN=write cargo test -p
//! felhom-shared --test golden` writes the files anew; the diff then belongs into the review and docs/protocol.md.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on says so and ends")]

use std::fmt::Debug;
use std::path::PathBuf;

use felhom_shared::desired::DesiredState;
use felhom_shared::event::Event;
use felhom_shared::report::HostReport;
use felhom_shared::wire::{
    ApiError, ControlEnvelope, EventsAck, EventsPost, OpReceipt, PollAnswer, PollQuery,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

mod wire_values;

use wire_values::{desired, messages, report};

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("wire values have string keys");
    text.push('\n');
    text
}

/// The frozen text, after checking that `value` still serialises to it.
fn frozen(name: &str, value: &impl Serialize) -> String {
    let (path, now) = (golden_path(name), pretty(value));
    if std::env::var("FELHOM_GOLDEN").is_ok_and(|word| word == "write") {
        println!("FELHOM_GOLDEN=write: {name} is written anew, not compared");
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; a new message is frozen with FELHOM_GOLDEN=write", path.display())
    });
    assert_eq!(now, then, "{name} has changed; if that is meant, freeze it with FELHOM_GOLDEN=write");
    then
}

fn is_frozen<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let text = frozen(name, value);
    let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(again, *value, "{name} reads back as something else");
}

#[test]
fn desired_state_with_every_field_is_frozen() {
    let value = desired::everything();
    is_frozen("desired_v1.json", &value);
    let text = std::fs::read(golden_path("desired_v1.json")).unwrap();
    assert_eq!(DesiredState::from_json(&text).unwrap(), value, "the strict reader reads the same");
}

#[test]
fn defaults_of_the_desired_state_are_frozen() {
    let value = desired::least();
    let text = std::fs::read(golden_path("desired_v1_least.json")).unwrap();
    assert_eq!(DesiredState::from_json(&text).unwrap(), value);
    is_frozen("desired_v1_defaults.json", &value);
}

#[test]
fn reports_with_every_outcome_reading_and_note_are_frozen() {
    is_frozen::<HostReport>("report_present.json", &report::present());
    is_frozen::<HostReport>("report_unreadable.json", &report::unreadable());
}

#[test]
fn events_are_frozen() {
    is_frozen::<Event>("event_of_guest.json", &messages::event_of_guest());
    is_frozen::<Event>("event_of_host.json", &messages::event_of_host());
    is_frozen::<EventsPost>("events_post.json", &messages::events_post());
    is_frozen::<EventsAck>("events_ack.json", &EventsAck { acked_seq: 18 });
}

#[test]
fn poll_and_its_answer_are_frozen() {
    is_frozen::<PollQuery>("poll_query.json", &messages::poll_query());
    is_frozen::<PollQuery>("poll_query_first.json", &PollQuery::default());
    let answer = messages::poll_answer();
    let text = frozen("poll_answer.json", &answer);
    let again: PollAnswer = serde_json::from_str(&text).unwrap();
    assert_eq!(pretty(&again), text);
    assert_eq!(
        again.desired.unwrap().get(),
        answer.desired.unwrap().get(),
        "the document passes byte for byte"
    );
}

#[test]
fn what_becomes_of_an_operation_is_frozen() {
    let text = frozen("poll_answer_of_ops.json", &messages::poll_answer_of_ops());
    assert_eq!(pretty(&serde_json::from_str::<PollAnswer>(&text).unwrap()), text);
    is_frozen::<OpReceipt>("op_receipt.json", &messages::op_receipt());
    is_frozen::<OpReceipt>("op_receipt_applied.json", &messages::op_receipt_applied());
}

#[test]
fn control_envelope_and_errors_are_frozen() {
    is_frozen::<ControlEnvelope>("control_envelope.json", &messages::control_envelope());
    is_frozen::<ControlEnvelope>("control_envelope_first.json", &messages::control_envelope_first());
    is_frozen::<ApiError>("api_error.json", &messages::api_error());
}

#[test]
fn what_a_newer_agent_adds_to_a_report_is_tolerated() {
    let text = std::fs::read_to_string(golden_path("report_present.json")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let places = ["", "/metrics", "/metrics/cycle", "/state", "/state/node", "/state/generation"];
    let in_lists =
        ["/state/guests/0", "/state/guests/0/observed", "/state/unmanaged/0", "/state/guests/7/notes/0"];
    for place in places.iter().chain(&in_lists) {
        let part = value.pointer_mut(place).unwrap_or_else(|| panic!("no {place} in the report"));
        part["since_version_9"] = serde_json::json!({"deep": [1, 2]});
    }
    let read: HostReport = serde_json::from_value(value).expect("a newer agent is still heard");
    assert_eq!(read, report::present());
}
