//! One attempt after another on one house: the hub speaks, the whole agent lives with it, and then it must show where
//! it was told to look, and nothing may be lost.

use std::time::{Duration, Instant};

use felhom_shared::report::{HostReport, Outcome, Receipt, ReceiptState};
use felhom_shared::signed::OpId;
use felhom_tests::{House, Keyring, wait_until};

use crate::ground::{Ground, furnish, good};
use crate::hub::{Answer, Hub};
use crate::log::Log;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Where an attempt shows.
#[derive(Debug, Clone)]
pub(crate) enum Sign {
    /// The report says the document was refused under this code.
    Refused(&'static str),
    /// The report notes this code on the guest at a VMID.
    Note(u32, &'static str),
    /// The report shows a step on the guest at a VMID that failed.
    Failed(u32),
    /// The report lists the guest at a VMID as none of ours.
    Unmanaged(u32),
    /// The report has a receipt of the envelope under this code.
    Receipt(OpId, &'static str),
    /// The report says that the operation was done.
    Applied(OpId),
    /// The report says that this document is in force and everything is as it says.
    Reached(u64),
    /// The hub was posted an event of this kind whose text has these words.
    Event(&'static str, String),
    /// A line of the log has these words.
    Logged(Vec<String>),
    /// The agent has reported this often.
    Reported(usize),
}

/// One way to destroy something.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) name: String,
    pub(crate) signs: Vec<Sign>,
}

impl Attempt {
    pub(crate) fn new(name: &str, signs: impl IntoIterator<Item = Sign>) -> Self {
        Self { name: name.to_owned(), signs: signs.into_iter().collect() }
    }

    /// An envelope or keyset that is refused shows in report, events and log.
    pub(crate) fn refused(name: &str, envelope: &str, code: &'static str) -> Self {
        let op_id = OpId::of(envelope.as_bytes());
        let short = op_id.as_str()[..12].to_owned();
        let logged = Sign::Logged(vec![op_id.to_string(), code.to_owned()]);
        Self::new(name, [Sign::Receipt(op_id, code), Sign::Event("op_rejected", short), logged])
    }
}

/// What was told and logged before an attempt.
#[derive(Debug, Clone, Copy)]
struct Mark {
    reports: usize,
    events: usize,
    log: usize,
}

/// A house under attack.
pub(crate) struct Siege {
    pub(crate) house: House,
    pub(crate) hub: Hub,
    pub(crate) ground: Ground,
    pub(crate) keyring: Keyring,
    pub(crate) attempts: Vec<String>,
    log: Log,
    generation: u64,
}

impl Siege {
    /// A house that is as its document says, trusts its keyring, and has something to lose.
    pub(crate) fn lay() -> Self {
        let keyring = Keyring::new();
        let (house, hub) = (House::new().trusting(&keyring), Hub::start());
        let (log, generation) = (Log::listen(), 1);
        hub.say([Answer::document(generation, &json(&good()))]);
        let agent = house.run(&hub.at());
        wait_until("the house is as it should be", PATIENCE, || {
            hub.told().reports.iter().any(|report| is_reached(report, generation))
        });
        agent.stop();
        hub.expect_another_agent();
        furnish(&house);
        let ground = Ground::of(&house);
        Self { house, hub, ground, keyring, attempts: Vec::new(), log, generation }
    }

    /// The next generation's number.
    pub(crate) fn next(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// The number of the document that was published last.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Lets the hub speak and the agent live until everything shows; then starts the agent anew on what is on disk and
    /// lets it run whatever it may have put off.
    #[track_caller]
    pub(crate) fn withstand(&mut self, says: impl IntoIterator<Item = Answer>, attempts: Vec<Attempt>) {
        let mark = self.mark();
        self.hub.say(says);
        self.live(mark, &attempts);
        self.rest();
        for attempt in attempts {
            self.unharmed(&attempt.name);
            self.attempts.push(attempt.name);
        }
    }

    /// The same for a document, after which the good one comes again: the agent started anew runs what it may have put
    /// off before it hears of that.
    #[track_caller]
    pub(crate) fn endure(&mut self, says: impl IntoIterator<Item = Answer>, attempt: Attempt) {
        self.hear(says, std::slice::from_ref(&attempt));
        self.restore();
        self.unharmed(&attempt.name);
        self.attempts.push(attempt.name);
    }

    /// The agent, until every attempt shows.
    #[track_caller]
    fn live(&self, mark: Mark, attempts: &[Attempt]) {
        let agent = self.house.run(&self.hub.at());
        let deadline = Instant::now() + PATIENCE;
        let all: Vec<(&str, &Sign)> =
            attempts.iter().flat_map(|of| of.signs.iter().map(|sign| (of.name.as_str(), sign))).collect();
        loop {
            let silent = self.hub.has_something_to_say();
            let missing: Vec<_> = all.iter().filter(|(_, sign)| !self.shows(mark, sign)).collect();
            if missing.is_empty() && !silent {
                break;
            }
            assert!(Instant::now() < deadline, "{missing:#?} did not show; {}", self.seen_since(mark));
            std::thread::sleep(PAUSE);
        }
        agent.stop();
        self.hub.expect_another_agent();
    }

    /// The agent from what is on disk, for one cycle before it hears the hub and one after.
    #[track_caller]
    pub(crate) fn rest(&self) {
        let mark = self.mark();
        self.hub.say([Answer::poll("")]);
        self.live(mark, &[Attempt::new("a rest", [Sign::Reported(2)])]);
        assert!(self.house.control().wait_idle(PATIENCE), "a task of the node does not end");
    }

    /// Lets the hub speak and the agent live until everything shows: how a scene is set.
    #[track_caller]
    pub(crate) fn hear(&self, says: impl IntoIterator<Item = Answer>, signs: &[Attempt]) {
        let mark = self.mark();
        self.hub.say(says);
        self.live(mark, signs);
    }

    /// Publishes a document and waits until the house is as it says.
    #[track_caller]
    pub(crate) fn restore(&mut self) {
        let generation = self.next();
        let signs = [Sign::Reported(2), Sign::Reached(generation)];
        let again = Attempt::new("the good document again", signs);
        self.hear([Answer::document(generation, &json(&good()))], &[again]);
    }

    #[track_caller]
    pub(crate) fn unharmed(&self, name: &str) {
        let harm = self.ground.harm(&self.house);
        assert!(harm.is_empty(), "{name}:\n  {}", harm.join("\n  "));
    }

    fn seen_since(&self, mark: Mark) -> String {
        let told = self.hub.told();
        let last = told.reports[mark.reports..].last().map(|report| &report.state);
        let log = self.log.since(mark.log);
        format!("the last report: {last:#?}\nevents: {:#?}\nlog: {log:#?}", &told.events[mark.events..])
    }

    fn mark(&self) -> Mark {
        let told = self.hub.told();
        Mark { reports: told.reports.len(), events: told.events.len(), log: self.log.end() }
    }

    fn shows(&self, mark: Mark, sign: &Sign) -> bool {
        let told = self.hub.told();
        let mut reports = told.reports[mark.reports..].iter().filter(|report| is_final(report));
        match sign {
            Sign::Refused(code) => reports.any(|report| {
                let told = &report.state.generation;
                told.refused.as_ref().is_some_and(|refused| {
                    // What was there before stays in force, under its own number.
                    let another = told.received != Some(refused.generation);
                    refused.code == *code && (another || *code == "generation_same_other_bytes")
                })
            }),
            Sign::Note(vmid, code) => reports.any(|report| {
                let mut guests = report.state.guests.iter().filter(|guest| guest.vmid.get() == *vmid);
                guests.any(|guest| guest.notes.iter().any(|note| note.code == *code))
            }),
            Sign::Failed(vmid) => reports.any(|report| {
                let mut guests = report.state.guests.iter().filter(|guest| guest.vmid.get() == *vmid);
                guests.any(|guest| guest.steps.iter().any(|step| step.error.is_some()))
            }),
            Sign::Unmanaged(vmid) => {
                reports.any(|report| report.state.unmanaged.iter().any(|guest| guest.vmid.get() == *vmid))
            }
            Sign::Receipt(op_id, code) => reports
                .any(|report| receipt(report, op_id).is_some_and(|of| of.code.as_deref() == Some(*code))),
            Sign::Applied(op_id) => reports
                .any(|report| receipt(report, op_id).is_some_and(|of| of.state == ReceiptState::Applied)),
            Sign::Reached(generation) => reports.any(|report| is_reached(report, *generation)),
            Sign::Event(kind, words) => told.events[mark.events..]
                .iter()
                .any(|event| event.kind == *kind && event.text.contains(words)),
            Sign::Logged(words) => {
                let lines = self.log.since(mark.log);
                lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
            }
            Sign::Reported(times) => reports.count() >= *times,
        }
    }
}

/// Sent after a cycle, not in the middle of one.
pub(crate) fn is_final(report: &HostReport) -> bool {
    report.metrics.cycle.requests > 0
}

fn receipt<'a>(report: &'a HostReport, op_id: &OpId) -> Option<&'a Receipt> {
    report.state.ops.receipts.iter().find(|receipt| receipt.op_id == op_id.as_str())
}

fn is_reached(report: &HostReport, generation: u64) -> bool {
    let received = report.state.generation.received.is_some_and(|received| received.0 == generation);
    let guests = &report.state.guests;
    received && !guests.is_empty() && guests.iter().all(|guest| guest.outcome == Outcome::Converged)
}

pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data with string keys")
}
