//! Answers: the hub's side of the protocol as nobody would write it, and numbers that are lies.

use std::time::Duration;

use felhom_shared::report::StepOutcome;
use felhom_tests::{House, document, lxc, wait_until};

use crate::ground::good;
use crate::hub::{Answer, Hub};
use crate::operations::{carrying, without};
use crate::siege::{Attempt, PATIENCE, Siege, Sign, is_final, json};

/// More than the agent may keep of ten thousand envelopes.
const KEPT_BYTES_MAX: u64 = 256 * 1024;

fn logged(word: &str) -> Sign {
    Sign::Logged(vec![word.to_owned()])
}

/// Tries everything that is not a document, an envelope or a keyset.
pub(crate) fn attack(siege: &mut Siege) {
    commands(siege);
    noise(siege);
    replies(siege);
    flood(siege);
    pause(siege);
    elsewhere(siege);
    budget(siege);
}

/// Orders beside what the protocol has. Unknown members are skipped, so they show only in that nothing follows.
fn commands(siege: &mut Siege) {
    let generation = siege.generation();
    let empty = r#"{"version":1,"identity":{"name":"test-house"},"guests":[]}"#;
    for (name, members) in [
        ("a command to run", r#""exec":["sh","-c","pct destroy 101 --purge"],"#.to_owned()),
        (
            "steps to run",
            r#""steps":[{"destroy_guest":{"grant":""}}],"guarded":false,"signed":true,"#.to_owned(),
        ),
        (
            "an agent to become",
            r#""upgrade":{"url":"https://evil.test/agent","version":"0.0.1"},"#.to_owned(),
        ),
        ("a document without a number", format!(r#""desired":{empty},"#)),
        ("a number without a document", format!(r#""generation":{},"#, generation + 1)),
        ("no document at all", format!(r#""generation":{},"desired":null,"#, generation + 1)),
        ("a document under two numbers, of which one is good", r#""Generation":1,"Desired":{},"#.to_owned()),
    ] {
        siege.house.control().reset_requests();
        let attempt = Attempt::new(name, [Sign::Reported(2), Sign::Reached(generation)]);
        siege.withstand([Answer::poll(&members)], vec![attempt]);
        assert!(siege.house.changes().is_empty(), "{name}: {:?}", siege.house.changes());
    }
}

/// Answers to a poll that are none.
fn noise(siege: &mut Siege) {
    let whole = |text: &str| Answer::new(200, text.to_owned());
    let here = felhom_tests::host_id();
    for (name, answer, code) in [
        ("words", whole("destroy everything"), "hub_malformed"),
        ("bytes", Answer::new(200, vec![0xff; 4096]), "hub_malformed"),
        ("nested without end", whole(&"[".repeat(1 << 20)), "hub_malformed"),
        ("a gibibyte of pieces", Answer::endless(), "hub_malformed"),
        ("nobody's answer", whole(r#"{"poll_interval_s":5}"#), "hub_malformed"),
        (
            "a pause of less than nothing",
            whole(&format!(r#"{{"host_id":"{here}","poll_interval_s":-1}}"#)),
            "hub_malformed",
        ),
        (
            "operations that are none",
            Answer::poll(r#""ops":[{"op_id":"../../etc","blob":""}],"#),
            "hub_malformed",
        ),
        ("a refusal", Answer::new(403, r#"{"code":"gone","message":"destroy yourself"}"#), "hub_refused"),
        ("a breakdown", Answer::new(500, ""), "hub_refused"),
    ] {
        siege.withstand([answer], vec![Attempt::new(name, [logged(code), Sign::Reported(1)])]);
    }
}

/// Answers to what the agent tells: orders, losses, and acknowledgements of what was never sent.
fn replies(siege: &mut Siege) {
    let order =
        r#"{"desired_generation":99,"has_ops":true,"poll_interval_s":5,"destroy":[101],"blocked":false}"#;
    let held = [Sign::Reported(2)];
    for (name, report, events, signs) in [
        ("an order in the answer to a report", Some(Answer::new(200, order)), None, held.to_vec()),
        (
            "noise in the answer to a report",
            Some(Answer::new(200, "destroy")),
            None,
            vec![logged("report not delivered")],
        ),
        (
            "a report sent elsewhere",
            Some(Answer::elsewhere("https://evil.test/")),
            None,
            vec![logged("report not delivered")],
        ),
        (
            "events that were never sent are acknowledged",
            None,
            Some(Answer::new(200, r#"{"acked_seq":18446744073709551615}"#)),
            held.to_vec(),
        ),
        (
            "the events so far are said to be lost",
            None,
            Some(Answer::new(500, r#"{"code":"broken","message":""}"#)),
            vec![logged("events not delivered")],
        ),
    ] {
        siege.hub.answer_reports(report);
        siege.hub.answer_events(events);
        let generation = siege.next();
        let answers = [Answer::document(generation, &json(&without(102))), Answer::poll("")];
        siege.withstand(answers, vec![Attempt::new(name, signs)]);
        siege.hub.answer_reports(None);
        siege.hub.answer_events(None);
        // What the hub was told badly it is told again, and what comes later is not swallowed.
        let generation = siege.next();
        let told =
            Attempt::new(name, [Sign::Event("generation_reached", format!("generation {generation} "))]);
        siege.hear([Answer::document(generation, &json(&good()))], &[told]);
    }
    gap(siege);
}

/// The hub says that it has lost the events it acknowledged. What was not acknowledged must come under another id.
fn gap(siege: &mut Siege) {
    siege.hub.answer_events(Some(Answer::new(500, "")));
    let generation = siege.next();
    let signs = [Sign::Note(102, "destroy_needs_signature"), logged("events not delivered")];
    let kept = Attempt::new("events are kept", signs);
    siege.hear([Answer::document(generation, &json(&without(102)))], &[kept]);
    let lost = Answer::new(409, r#"{"code":"events_gap","message":"the hub holds this outbox up to 0"}"#);
    siege.hub.answer_events(Some(lost));
    let gap = Attempt::new("the events of a box are said to be lost, for ever", [logged("events_gap")]);
    siege.hear([Answer::poll("")], &[gap]);
    siege.hub.answer_events(None);
    let told = [
        Sign::Event("guest_held", "files".to_owned()),
        Sign::Event("document_accepted", format!("{generation}")),
    ];
    let name = "the events of a box are said to be lost, to make it forget them";
    siege.withstand([Answer::poll("")], vec![Attempt::new(name, told)]);
    siege.restore();
}

/// Ten thousand envelopes of rubbish, while no event is ever acknowledged: the box's disk must not fill.
fn flood(siege: &mut Siege) {
    siege.hub.answer_events(Some(Answer::new(500, "")));
    let before = siege.kept_bytes();
    let rubbish: Vec<String> = (0..10_000).map(|number| format!("{{\"op\":\"{number}\"}}\n")).collect();
    let signs = [logged("10000 operations"), logged("signature_count")];
    siege.withstand([carrying(&rubbish)], vec![Attempt::new("ten thousand operations at once", signs)]);
    siege.hub.answer_events(None);
    let grown = siege.kept_bytes().saturating_sub(before);
    assert!(grown < KEPT_BYTES_MAX, "the agent's state grew by {grown} bytes");
    siege.rest();
}

/// A host is paused while it should change, and then hurried and slowed without measure.
fn pause(siege: &mut Siege) {
    let generation = siege.next();
    let mut larger = good();
    larger.guests[0].cores = 2;
    let members = format!(r#""generation":{generation},"desired":{},"blocked":true,"#, json(&larger));
    let attempt = Attempt::new("a pause while something is to be done", [Sign::Note(101, "host_paused")]);
    siege.withstand([Answer::poll(&members)], vec![attempt]);
    let here = felhom_tests::host_id();
    for (name, interval) in [("no pause between cycles", 0), ("a pause for ever", u64::MAX)] {
        let answer = Answer::new(200, format!(r#"{{"host_id":"{here}","poll_interval_s":{interval}}}"#));
        siege.withstand([answer], vec![Attempt::new(name, [Sign::Reported(2)])]);
    }
    siege.restore();
}

/// Sent to another hub, the agent does not go there.
fn elsewhere(siege: &mut Siege) {
    let other = Hub::start();
    other.say([Answer::document(siege.generation() + 1, &json(&without(101)))]);
    let answer = Answer::elsewhere(&format!("{}/api/v1/host/poll", other.at().0));
    siege.withstand([answer], vec![Attempt::new("another hub", [logged("hub_refused")])]);
    assert_eq!(other.told().polls, 0, "the agent has followed");
}

/// Two hundred guests at once: on a house of its own, because a few of them are made.
fn budget(siege: &mut Siege) {
    let (house, hub) = (House::new().with_budget(5), Hub::start());
    let agent = house.run(&hub.at());
    hub.say([Answer::document(1, &json(&document((201..=400).map(|vmid| lxc(vmid, &format!("g{vmid}"))))))]);
    wait_until("the change budget is spent", PATIENCE, || {
        let told = hub.told();
        told.reports.iter().filter(|report| is_final(report)).any(|report| {
            let waits = |guest: &&felhom_shared::report::GuestReport| {
                guest.notes.iter().any(|note| note.code == "change_budget_spent")
            };
            report.state.guests.iter().filter(waits).count() == 195
        })
    });
    std::thread::sleep(Duration::from_millis(200));
    agent.stop();
    assert_eq!(house.changes_to("POST", "/lxc"), 5);
    let reports = hub.told();
    let failed =
        reports.reports.iter().flat_map(|report| &report.state.guests).flat_map(|guest| &guest.steps);
    assert!(failed.clone().all(|step| step.outcome != StepOutcome::Failed));
    siege.attempts.push("two hundred guests at once".to_owned());
}

impl Siege {
    /// How much the agent keeps on disk.
    fn kept_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.house.state_dir()).expect("the agent's folder");
        files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }
}
