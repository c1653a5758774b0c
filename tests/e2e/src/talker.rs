//! A box that talks to a hub without pause and remembers what was acknowledged, so that nothing acknowledged can be lost
//! unnoticed. It runs no agent: the calls are the agent's own, what it says is only numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use felhom_agent::hub::{Hub, HubError};
use felhom_agent::tls::{PinSource, client_config, parse_pin};
use felhom_hub::store::{host_reports, host_state};
use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, HostId, OutboxId};
use felhom_shared::key::ApiKey;
use felhom_shared::report::{
    GenerationState, HostReport, HostState, Metrics, NodeState, OpsState, REPORT_VERSION,
};
use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use crate::Enrolled;

const BETWEEN: Duration = Duration::from_millis(300);
/// A hub that is away for long is told no more than this at once.
const UNTOLD_MAX: usize = 50;

/// What a box was told is durable.
#[derive(Debug)]
pub struct Acknowledged {
    host_id: HostId,
    outbox_id: OutboxId,
    /// Numbers of reports.
    pub reports: BTreeSet<u64>,
    /// Events up to here.
    pub events: u64,
    /// Calls without an answer.
    pub failures: u32,
    /// Why the last of them had none.
    pub last_failure: Option<String>,
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
        storage: Vec::new(),
        drives: Vec::new(),
        tunnel: None,
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
///
/// # Panics
/// When the box's key or the hub's pin is none.
pub async fn talk(known: Enrolled, at: (String, String), go_on: impl Fn() -> bool) -> Acknowledged {
    let (hub, host_id) = (client(&known, &at), known.host_id);
    let outbox_id = OutboxId(Uuid::new_v4());
    let mut heard = Acknowledged {
        host_id,
        outbox_id,
        reports: BTreeSet::new(),
        events: 0,
        failures: 0,
        last_failure: None,
    };
    let (mut number, mut untold) = (1, Vec::<Event>::new());
    while go_on() {
        match hub.report(&report(host_id, number)).await {
            Ok(_) => {
                heard.reports.insert(number);
                number += 1;
            }
            Err(error) => heard.missed(&error),
        }
        let next = heard.events + u64::try_from(untold.len()).expect("few events") + 1;
        if untold.len() < UNTOLD_MAX {
            untold.extend([event(next), event(next + 1)]);
        }
        match hub.events(outbox_id, untold.clone()).await {
            Ok(ack) => {
                heard.events = ack.acked_seq;
                untold.retain(|event| event.seq > ack.acked_seq);
            }
            Err(error) => heard.missed(&error),
        }
        tokio::time::sleep(BETWEEN).await;
    }
    heard
}

fn client(known: &Enrolled, (url, pin): &(String, String)) -> Hub {
    let pins = vec![parse_pin(pin).expect("the hub's own pin")];
    let tls = client_config(PinSource::SpkiPins(pins)).expect("a pin is enough");
    Hub::new(url, &ApiKey::parse(&known.key).expect("the hub's own key"), tls).expect("the hub's own address")
}

impl Acknowledged {
    fn missed(&mut self, error: &HubError) {
        self.failures += 1;
        self.last_failure = Some(error.to_string());
    }

    /// Everything acknowledged is in the hub's database, and nothing is there twice.
    ///
    /// # Panics
    /// When that is not so, or when this is no hub's database.
    pub fn is_all_in(&self, sql: &Connection) {
        self.reports_are_in(sql);
        self.events_are_in(sql);
    }

    fn reports_are_in(&self, sql: &Connection) {
        let stored = host_reports::recent(sql, self.host_id, u32::MAX).expect("a table of reports");
        let number = |body: Vec<u8>| {
            let report: HostReport = serde_json::from_slice(&body).expect("it was sent as a report");
            report.state.journal_open
        };
        let numbers: Vec<u64> =
            stored.iter().map(|stored| number(stored.body.plain().expect("it was sent as zstd"))).collect();
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len(), "a report is there twice: {numbers:?}");
        let lost: Vec<_> = self.reports.difference(&distinct).collect();
        assert!(lost.is_empty(), "acknowledged reports are lost: {lost:?}");
        let latest = host_state::latest(sql, self.host_id).expect("a table of states");
        let latest = latest.map(|latest| latest.state.journal_open);
        assert_eq!(latest, distinct.last().copied(), "the latest state is not the newest report");
    }

    fn events_are_in(&self, sql: &Connection) {
        let select = "SELECT seq, event FROM events WHERE host_id = ?1 AND outbox_id = ?2 ORDER BY seq";
        let mut statement = sql.prepare(select).expect("a table of events");
        let ids = [self.host_id.to_string(), self.outbox_id.to_string()];
        let rows = statement.query_map(ids, |row| Ok((row.get(0)?, row.get(1)?)));
        let events: Vec<(i64, String)> =
            rows.and_then(Iterator::collect).expect("events as the hub writes them");
        assert!(events.iter().zip(1..).all(|((seq, _), expected)| *seq == expected), "there is a gap");
        let stored = u64::try_from(events.len()).expect("a count");
        assert!(stored >= self.events, "{stored} events are there, {} were acknowledged", self.events);
        let id = |text: &str| serde_json::from_str::<Event>(text).expect("it was sent as an event").event_id;
        let distinct: BTreeSet<EventId> = events.iter().map(|(_, text)| id(text)).collect();
        assert_eq!(distinct.len(), events.len(), "an event is there twice");
    }
}
