//! What of a host waits for a signature, and what became of what was signed: the hub's queue beside the box's words.
//!
//! Everything here that a box wrote is shown and nothing of it is believed; who signs is shown it again by
//! felhom-sign, from its own reading.

use std::collections::HashMap;

use felhom_shared::id::GuestId;
use felhom_shared::report::{LedgerHead, OpsState, PendingOp, Receipt};
use serde_json::Value;

use crate::config::Config;
use crate::store::hosts::Host;
use crate::store::ledger_heads::Remembered;
use crate::store::signed_ops::SignedOp;
use crate::web::badge::{Badge, Tone};
use crate::web::moment::{Clock, Moment};
use crate::web::shown::Shown;

const SHORT: usize = 12;

/// The two sections.
pub(super) struct Signing {
    pub(super) waiting: Vec<WaitingRow>,
    /// What to run to sign them.
    pub(super) command: Shown,
    /// Whether the box trusts any key.
    pub(super) trusts: bool,
    pub(super) facts: Vec<Fact>,
    pub(super) ops: Vec<OpRow>,
    pub(super) csrf: String,
}

/// A held step.
pub(super) struct WaitingRow {
    pub(super) op: Shown,
    pub(super) guest: Option<Shown>,
    pub(super) address: Option<Shown>,
    /// What would be done and what would be lost, in the agent's words.
    pub(super) text: Shown,
    pub(super) code: Shown,
}

/// Whom the box trusts and how far its ledger goes.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) code: Option<Shown>,
    pub(super) tone: Tone,
    pub(super) marked: bool,
}

/// An operation in the queue, or one of which only the box tells.
pub(super) struct OpRow {
    pub(super) op_id: Shown,
    pub(super) short: Shown,
    pub(super) what: Option<Shown>,
    pub(super) guest: Option<Shown>,
    pub(super) queue: Option<QueueCell>,
    pub(super) said: Option<SaidCell>,
    /// Sentence and code.
    pub(super) why: Option<(Shown, Shown)>,
}

pub(super) struct QueueCell {
    pub(super) badge: Badge,
    pub(super) changed: Moment,
    pub(super) uploaded: Moment,
    pub(super) by: Shown,
}

pub(super) struct SaidCell {
    pub(super) badge: Badge,
    pub(super) at: Moment,
}

/// What the store knows of it.
pub(super) struct Known {
    pub(super) ops: Vec<SignedOp>,
    pub(super) newest_keyset: u64,
    pub(super) ledger: Option<Remembered>,
}

impl Signing {
    /// `names` gives a guest's name where it is known.
    pub(super) fn new(
        known: &Known,
        reported: Option<&OpsState>,
        names: &HashMap<String, Shown>,
        (command, csrf, clock): (String, &str, &Clock),
    ) -> Self {
        let nothing = OpsState::default();
        let reported = reported.unwrap_or(&nothing);
        Self {
            waiting: reported.pending.iter().map(|step| WaitingRow::new(step, names)).collect(),
            command: Shown::new(&command),
            trusts: reported.keyset_version.is_some(),
            facts: facts(known, reported),
            ops: rows(&known.ops, &reported.receipts, names, clock),
            csrf: csrf.to_owned(),
        }
    }
}

/// The command that signs what a host holds. A name that a shell could read otherwise is not put into it.
pub(super) fn command(host: &Host, config: &Config) -> String {
    let url = config.public_url.clone().unwrap_or_else(|| match config.listen {
        any if any.ip().is_unspecified() => format!("https://HUB:{}", any.port()),
        address => format!("https://{address}"),
    });
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_plain = host.name.chars().all(plain) && !host.name.starts_with('-') && !host.name.is_empty();
    let name = if is_plain { host.name.clone() } else { host.host_id.to_string() };
    format!(
        "felhom-sign --pending --hub {url} --ca hub-cert.pem --key-file operator-key --key ops --host {name}"
    )
}

impl WaitingRow {
    fn new(step: &PendingOp, names: &HashMap<String, Shown>) -> Self {
        let expect = &step.params["expect"];
        let id = step.target["guest_id"].as_str();
        let name = id.and_then(|id| names.get(id).cloned());
        let told = || expect["name"].as_str().or(id).map(Shown::new);
        Self {
            op: Shown::new(&step.op),
            guest: name.or_else(told),
            address: expect["vmid"].as_u64().map(|vmid| address(vmid, &step.params)),
            text: Shown::new(&step.text),
            code: Shown::new(&step.code),
        }
    }
}

/// Where and which one, as far as an operation of today says it.
fn address(vmid: u64, params: &Value) -> Shown {
    let which = ["snapshot", "volid"].into_iter().find_map(|key| Some((key, params[key].as_str()?)));
    let which = which.map(|(key, value)| format!(", {key} {value}")).unwrap_or_default();
    Shown::new(&format!("vmid {vmid}{which}"))
}

fn short(hash: &str) -> Shown {
    let end = hash.char_indices().nth(SHORT).map_or(hash.len(), |(end, _)| end);
    Shown::new(&hash[..end])
}

fn facts(known: &Known, reported: &OpsState) -> Vec<Fact> {
    let fact = |name, text, code, tone| Fact { name, text, code, tone, marked: tone != Tone::Quiet };
    let newest = known.newest_keyset;
    let behind = newest > reported.keyset_version.unwrap_or(0);
    let trusted = match reported.keyset_version {
        Some(version) => format!("version {version}"),
        None => "none".to_owned(),
    };
    let tone = if behind { Tone::Warn } else { Tone::Quiet };
    let mut facts =
        vec![fact("Keyset the box trusts", trusted, reported.keyset_digest.as_deref().map(short), tone)];
    let held = if newest == 0 { "none".to_owned() } else { format!("version {newest}") };
    facts.push(fact("Newest keyset here", held, None, Tone::Quiet));
    let row = |head: &LedgerHead| (format!("row {}", head.seq), Some(short(&head.head)));
    let rolled_back = known.ledger.as_ref().is_some_and(|ledger| ledger.rolled_back);
    if let Some(head) = &reported.ledger {
        let (text, code) = row(head);
        facts.push(fact("Ledger ends at", text, code, if rolled_back { Tone::Bad } else { Tone::Quiet }));
    }
    if let Some(remembered) = known.ledger.as_ref().filter(|_| rolled_back) {
        let (text, code) = row(&remembered.furthest);
        facts.push(fact("It was seen at", text, code, Tone::Quiet));
    }
    facts
}

/// The queue, newest first, each with the box's receipt; then the receipts of which the queue knows nothing.
fn rows(ops: &[SignedOp], receipts: &[Receipt], names: &HashMap<String, Shown>, clock: &Clock) -> Vec<OpRow> {
    let by_id: HashMap<&str, &Receipt> =
        receipts.iter().map(|receipt| (receipt.op_id.as_str(), receipt)).collect();
    let queued: HashMap<&str, ()> = ops.iter().map(|op| (op.op_id.as_str(), ())).collect();
    let of_queue =
        ops.iter().map(|op| OpRow::new((Some(op), by_id.get(op.op_id.as_str()).copied()), names, clock));
    let others = receipts.iter().rev().filter(|receipt| !queued.contains_key(receipt.op_id.as_str()));
    of_queue.chain(others.map(|receipt| OpRow::new((None, Some(receipt)), names, clock))).collect()
}

impl OpRow {
    fn new(
        (op, receipt): (Option<&SignedOp>, Option<&Receipt>),
        names: &HashMap<String, Shown>,
        clock: &Clock,
    ) -> Self {
        let op_id = op.map(|op| op.op_id.as_str()).or(receipt.map(|receipt| receipt.op_id.as_str()));
        let guest = |id: GuestId| {
            let id = id.to_string();
            names.get(&id).cloned().unwrap_or_else(|| Shown::new(&id))
        };
        let what = receipt.map(|receipt| receipt.op.as_str()).filter(|what| !what.is_empty());
        // The receipt in the report is newer than the word in the queue, and says more.
        let code = receipt.and_then(|receipt| receipt.code.as_ref()).or(op.and_then(|op| op.code.as_ref()));
        let text = receipt.and_then(|receipt| receipt.text.as_ref()).or(op.and_then(|op| op.text.as_ref()));
        let shown = |text: Option<&String>| text.map(|text| Shown::new(text)).unwrap_or_default();
        Self {
            op_id: op_id.map(Shown::new).unwrap_or_default(),
            short: op_id.map(short).unwrap_or_default(),
            what: what.map(Shown::new),
            guest: receipt.and_then(|receipt| receipt.guest_id).map(guest),
            queue: op.map(|op| QueueCell {
                badge: op.state.into(),
                changed: clock.at_ms(op.changed_at_ms),
                uploaded: clock.at_ms(op.uploaded_at_ms),
                by: Shown::new(&op.uploaded_by),
            }),
            said: receipt.map(|receipt| SaidCell { badge: receipt.state.into(), at: clock.at(receipt.at) }),
            why: (code.is_some() || text.is_some()).then(|| (shown(text), shown(code))),
        }
    }
}
