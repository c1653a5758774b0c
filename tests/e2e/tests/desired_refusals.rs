//! A document that must not be accepted changes nothing: the last good one stays in force, the box is kept as it
//! says, and the refusal is told under its code. Over real TLS, from a hub that says anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use felhom_shared::id::Generation;
use felhom_shared::limits::GENERATION_STEP_MAX;
use felhom_shared::report::{HostReport, Outcome};
use felhom_tests::{Answer, HostileHub, House, document, host_id, lxc, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
const IN_FORCE: u64 = 7;

fn good() -> String {
    serde_json::to_string(&document([lxc(101, "web")])).unwrap()
}

fn refused(code: &str) -> impl Fn(&HostReport) -> bool {
    move |report| report.state.generation.refused.as_ref().is_some_and(|refused| refused.code == code)
}

fn converged(report: &HostReport) -> bool {
    let guests = &report.state.guests;
    !guests.is_empty() && guests.iter().all(|guest| guest.outcome == Outcome::Converged)
}

/// A box that has accepted the good document is offered another.
fn offer(code: &str, generation: u64, text: &str) {
    let (house, hub) = (House::new(), HostileHub::start());
    let _agent = house.run(&hub.at());
    hub.say(Answer::document(IN_FORCE, &good()));
    hub.next_report(PATIENCE, converged);

    hub.say(Answer::document(generation, text));
    let report = hub.next_report(PATIENCE, refused(code));

    assert!(converged(&report), "{code}: the good document is no longer in force");
    let told = report.state.generation;
    assert_eq!(told.received, Some(Generation(IN_FORCE)), "{code}: another document is in force");
    assert_eq!(told.refused.unwrap().generation, Generation(generation), "{code}");
    assert_eq!(house.control().snapshot().guests.len(), 2, "{code}: a refused document made a guest");
}

#[test]
fn desired_refusals() {
    let other = serde_json::to_string(&document([lxc(101, "web"), lxc(102, "files")])).unwrap();
    let empty = serde_json::to_string(&document([])).unwrap();
    let twins = serde_json::to_string(&document([lxc(101, "web"), lxc(101, "files")])).unwrap();
    let unknown = good().replacen("\"cores\"", "\"cpu_type\":\"host\",\"cores\"", 1);
    let large = good().replacen('{', &format!("{{{}", " ".repeat(1024 * 1024)), 1);
    let cases: [(&str, u64, &str); 8] = [
        ("generation_older", IN_FORCE - 1, &other),
        ("generation_same_other_bytes", IN_FORCE, &other),
        ("generation_jumped", IN_FORCE + GENERATION_STEP_MAX + 1, &other),
        ("empty_over_nonempty", IN_FORCE + 1, &empty),
        ("desired_unknown_field", IN_FORCE + 1, &unknown),
        ("desired_too_large", IN_FORCE + 1, &large),
        ("desired_malformed", IN_FORCE + 1, r#"["not a document"]"#),
        ("desired_invalid", IN_FORCE + 1, &twins),
    ];
    std::thread::scope(|scope| {
        for (code, generation, text) in cases {
            scope.spawn(move || offer(code, generation, text));
        }
    });
}

#[test]
fn the_last_good_document_stays_in_force_under_a_refused_one() {
    let (house, hub) = (House::new(), HostileHub::start());
    let _agent = house.run(&hub.at());
    hub.say(Answer::document(IN_FORCE, &good()));
    hub.next_report(PATIENCE, converged);

    house.control().edit_config(101, "memory", Some("64")).unwrap();
    house.control().set_running(101, false).unwrap();
    hub.say(Answer::document(IN_FORCE + 1, "{}"));
    hub.next_report(PATIENCE, refused("desired_malformed"));

    wait_until("the drift is repaired", PATIENCE, || {
        house.value(101, "memory").as_deref() == Some("512") && house.runs(101)
    });
    wait_until("the refusal is told as an event too", PATIENCE, || {
        hub.events().iter().any(|event| event.kind == "document_refused")
    });
}

#[test]
fn another_hosts_document_is_refused() {
    let (house, hub) = (House::new(), HostileHub::start());
    let _agent = house.run(&hub.at());
    let mut answer = Answer::document(IN_FORCE, &good());
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    answer.body = text.replace(&host_id().to_string(), "00000000-0000-4000-8000-00000000dead").into();
    hub.say(answer);
    let report = hub.next_report(PATIENCE, refused("other_host"));
    assert_eq!(report.state.generation.received, None);
    assert!(house.changes().is_empty());
}

#[test]
fn answers_that_are_no_answers_leave_the_agent_at_work() {
    let noise: [(u16, Vec<u8>); 5] = [
        (200, b"<html>captive portal</html>".to_vec()),
        (200, vec![0xff; 64]),
        (200, vec![b'['; 2 * 1024 * 1024]),
        (302, Vec::new()),
        (500, b"{}".to_vec()),
    ];
    std::thread::scope(|scope| {
        for (status, body) in noise {
            scope.spawn(move || {
                let (house, hub) = (House::new(), HostileHub::start());
                let _agent = house.run(&hub.at());
                hub.say(Answer { status, body: body.into() });
                wait_until("the noise is heard", PATIENCE, || !hub.has_something_to_say());
                hub.say(Answer::document(IN_FORCE, &good()));
                hub.next_report(PATIENCE, converged);
            });
        }
    });
}
