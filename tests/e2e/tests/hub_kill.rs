//! `hub_kill_9_loses_nothing_acknowledged`: two hundred boxes talk, the hub is killed in the middle and comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use felhom_agent::hub::Hub;
use felhom_agent::tls::{PinSource, client_config, parse_pin};
use felhom_hub::store::{host_reports, host_state};
use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, HostId, OutboxId};
use felhom_shared::key::ApiKey;
use felhom_shared::report::{
    GenerationState, HostReport, HostState, Metrics, NodeState, OpsState, REPORT_VERSION,
};
use felhom_tests::{Enrolled, HubProgram};
use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

const BOXES: u128 = 200;
const TALKING: Duration = Duration::from_secs(5);
const UNTIL_KILLED: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(300);

/// What a box was told is durable.
struct Acknowledged {
    host_id: HostId,
    outbox_id: OutboxId,
    /// Numbers of reports.
    reports: BTreeSet<u64>,
    /// Events up to here.
    events: u64,
    failures: u32,
}

/// Every report says something new: its number.
fn report(host_id: HostId, number: u64) -> HostReport {
    let state = HostState {
        host_id,
        agent_version: "0.1.0".to_owned(),
        generation: GenerationState::default(),
        node: NodeState::Unreadable { code: "test".to_owned(), text: "no node".to_owned() },
        guests: vec![],
        unmanaged: vec![],
        journal_open: number,
        ops: OpsState::default(),
    };
    HostReport { version: REPORT_VERSION, sent_at: Timestamp::now(), metrics: Metrics::default(), state }
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        event_id: EventId(Uuid::new_v4()),
        at: Timestamp::now(),
        kind: "test".to_owned(),
        severity: Severity::Info,
        guest_id: None,
        text: format!("event {seq}"),
    }
}

/// Talks as an agent does: what was not acknowledged is said again.
async fn talk(hub: Hub, host_id: HostId, until: Instant) -> Acknowledged {
    let outbox_id = OutboxId(Uuid::new_v4());
    let mut heard = Acknowledged { host_id, outbox_id, reports: BTreeSet::new(), events: 0, failures: 0 };
    let (mut number, mut untold) = (1, Vec::<Event>::new());
    while Instant::now() < until {
        match hub.report(&report(host_id, number)).await {
            Ok(_) => {
                heard.reports.insert(number);
                number += 1;
            }
            Err(_) => heard.failures += 1,
        }
        let next = heard.events + u64::try_from(untold.len()).unwrap() + 1;
        untold.extend([event(next), event(next + 1)]);
        match hub.events(outbox_id, untold.clone()).await {
            Ok(ack) => {
                heard.events = ack.acked_seq;
                untold.retain(|event| event.seq > ack.acked_seq);
            }
            Err(_) => heard.failures += 1,
        }
        tokio::time::sleep(BETWEEN).await;
    }
    heard
}

fn client(known: &Enrolled, (url, pin): &(String, String)) -> Hub {
    let tls = client_config(PinSource::SpkiPins(vec![parse_pin(pin).unwrap()])).unwrap();
    Hub::new(url, &ApiKey::parse(&known.key).unwrap(), tls).unwrap()
}

fn check(sql: &Connection, heard: &Acknowledged) {
    let stored = host_reports::recent(sql, heard.host_id, u32::MAX).unwrap();
    let numbers: Vec<u64> = stored
        .iter()
        .map(|stored| serde_json::from_slice::<HostReport>(&stored.body.plain().unwrap()).unwrap())
        .map(|report| report.state.journal_open)
        .collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "a report is there twice: {numbers:?}");
    let lost: Vec<_> = heard.reports.difference(&distinct).collect();
    assert!(lost.is_empty(), "acknowledged reports are lost: {lost:?}");
    let latest = host_state::latest(sql, heard.host_id).unwrap().map(|latest| latest.state.journal_open);
    assert_eq!(latest, distinct.last().copied(), "the latest state is not the newest report");

    let mut statement = sql
        .prepare("SELECT seq, event FROM events WHERE host_id = ?1 AND outbox_id = ?2 ORDER BY seq")
        .unwrap();
    let ids = [heard.host_id.to_string(), heard.outbox_id.to_string()];
    let events: Vec<(i64, String)> = statement
        .query_map(ids, |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(events.iter().zip(1..).all(|((seq, _), expected)| *seq == expected), "there is a gap");
    assert!(u64::try_from(events.len()).unwrap() >= heard.events, "acknowledged events are lost");
    let distinct: BTreeSet<EventId> =
        events.iter().map(|(_, text)| serde_json::from_str::<Event>(text).unwrap().event_id).collect();
    assert_eq!(distinct.len(), events.len(), "an event is there twice");
}

#[test]
fn hub_kill_9_loses_nothing_acknowledged() {
    let mut hub = HubProgram::start(BOXES);
    let runtime =
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    let begun = Instant::now();
    let talks: Vec<_> = hub
        .enrolled
        .iter()
        .map(|known| runtime.spawn(talk(client(known, &hub.at()), known.host_id, begun + TALKING)))
        .collect();
    std::thread::sleep(UNTIL_KILLED);
    hub.kill();
    hub.restart();
    let heard: Vec<Acknowledged> = runtime
        .block_on(async { futures_util::future::join_all(talks).await })
        .into_iter()
        .map(Result::unwrap)
        .collect();

    let sql = hub.stop_and_look();
    heard.iter().for_each(|heard| check(&sql, heard));
    let reports: usize = heard.iter().map(|heard| heard.reports.len()).sum();
    let events: u64 = heard.iter().map(|heard| heard.events).sum();
    let failures: u32 = heard.iter().map(|heard| heard.failures).sum();
    println!("{reports} reports and {events} events acknowledged, {failures} calls failed around the kill");
    assert!(failures > 0, "the kill hit nobody, so nothing was tested");
    assert!(
        heard.iter().all(|heard| heard.reports.len() >= 3 && heard.events > 0),
        "somebody was never heard"
    );
}
