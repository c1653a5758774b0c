//! Which report holds each host's latest state, and its short form. A mirror: shown, never taken for intent.

use std::collections::BTreeMap;

use felhom_shared::id::{Generation, HostId};
use felhom_shared::report::{
    DocumentRefusal, GenerationState, HostReport, HostState, LedgerHead, NodeState, Outcome,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::host_reports::{self, Body};

pub(super) const SCHEMA: &str = "
CREATE TABLE host_state (
    host_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    report_id BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    received_generation BIGINT,
    received_digest TEXT,
    reached_generation BIGINT,
    summary TEXT            -- NULL where this hub is too old to read the state
);";

/// A report that says something new.
#[derive(Debug)]
pub struct Changed {
    /// Whose.
    pub host_id: HostId,
    /// SHA-256 of its `state`.
    pub digest: [u8; 32],
    /// The report as it was sent.
    pub body: Body,
    /// How far the box has come, for the host's row.
    pub generation: GenerationState,
    /// Its short form; `None` where it could not be read in whole.
    pub summary: Option<Summary>,
    /// The end of the box's ledger, if it has one.
    pub ledger: Option<LedgerHead>,
    /// When it came.
    pub now_ms: i64,
}

/// A state in a few words, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The agent's version.
    pub agent_version: String,
    /// Why the node could not be read, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_unreadable: Option<String>,
    /// How many guests stand where.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// How many storages stand where.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<Outcome, u32>,
    /// Where the tunnel stands, where the document speaks of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Outcome>,
    /// Guests on the node that are not ours.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unmanaged: u32,
    /// Journal entries without an outcome.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub journal_open: u64,
    /// Steps that wait for a signature.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub to_sign: u32,
    /// The document that the box did not accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<DocumentRefusal>,
}

/// Left out of the row: the shorter it is, the fewer pages a batch of reports touches.
fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl Summary {
    /// The short form of a state.
    #[must_use]
    pub fn of(state: &HostState) -> Self {
        let outcomes = tally(state.guests.iter().map(|guest| guest.outcome));
        let storage = tally(state.storage.iter().map(|storage| storage.outcome));
        Self {
            agent_version: state.agent_version.clone(),
            node_unreadable: match &state.node {
                NodeState::Present { .. } => None,
                NodeState::Unreadable { text, .. } => Some(text.clone()),
            },
            outcomes,
            storage,
            tunnel: state.tunnel.as_ref().and_then(|tunnel| tunnel.outcome),
            unmanaged: u32::try_from(state.unmanaged.len()).unwrap_or(u32::MAX),
            journal_open: state.journal_open,
            to_sign: u32::try_from(state.ops.pending.len()).unwrap_or(u32::MAX),
            refused: state.generation.refused.clone(),
        }
    }
}

/// How often each outcome occurs.
pub fn tally(outcomes: impl Iterator<Item = Outcome>) -> BTreeMap<Outcome, u32> {
    let mut counts = BTreeMap::new();
    outcomes.for_each(|outcome| *counts.entry(outcome).or_insert(0) += 1);
    counts
}

/// The latest state of a host.
#[derive(Debug, Clone)]
pub struct Latest {
    /// What it is.
    pub state: HostState,
    /// Since when, milliseconds.
    pub changed_at_ms: i64,
}

/// What became of a changed report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Its number.
    pub report_id: i64,
    /// Whether the box received another document than it had at its report before this one.
    pub received_another: bool,
}

/// Stores a changed report and makes it the host's latest.
pub fn put(sql: &Connection, changed: &Changed) -> Result<Put, StoreError> {
    let (host_id, generation) = (changed.host_id.to_string(), &changed.generation);
    let number = |generation: Option<Generation>| generation.map(|generation| generation.0.cast_signed());
    let received = number(generation.received);
    let mut before = sql.prepare_cached(
        "SELECT report_id, received_generation, received_digest FROM host_state WHERE host_id = $1",
    )?;
    let before = before.query_row([&host_id], |row| {
        let digest = row.get_ref(2)?.as_str_or_null()?;
        Ok((
            row.get(0)?,
            row.get::<_, Option<i64>>(1)? == received && digest == generation.received_digest.as_deref(),
        ))
    });
    let before: Option<(i64, bool)> = before.optional()?;
    let previous_id = before.map(|(report_id, _)| report_id);
    let report_id = host_reports::insert(sql, &host_id, previous_id, &changed.body, changed.now_ms)?;
    let summary = changed
        .summary
        .as_ref()
        .map(|summary| serde_json::to_string(summary).expect("a summary is plain data with string keys"));
    let mut statement = sql.prepare_cached(
        "INSERT INTO host_state (host_id, digest, report_id, changed_at_ms, received_generation, received_digest,
                                 reached_generation, summary) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (host_id) DO UPDATE SET digest = $2, report_id = $3, changed_at_ms = $4,
             received_generation = $5, received_digest = $6, reached_generation = $7, summary = $8",
    )?;
    statement.execute(params![
        host_id,
        changed.digest,
        report_id,
        changed.now_ms,
        received,
        generation.received_digest,
        number(generation.reached),
        summary
    ])?;
    Ok(Put { report_id, received_another: !before.is_some_and(|(_, same)| same) })
}

/// The latest state of a host, if it has reported. A state of an agent newer than this hub can be unreadable:
/// that is an error to show, not a host without guests.
pub fn latest(sql: &Connection, host_id: HostId) -> Result<Option<Latest>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT r.body, r.encoding, s.changed_at_ms FROM host_state s
         JOIN host_reports r ON r.report_id = s.report_id WHERE s.host_id = $1",
    )?;
    let row =
        statement.query_row([host_id.to_string()], |row| Ok((Body::read(row, 0)?, row.get::<_, i64>(2)?)));
    let Some((body, changed_at_ms)) = row.optional()? else { return Ok(None) };
    let report: HostReport = serde_json::from_slice(&body.plain()?)
        .map_err(|error| StoreError::Damaged { what: "report", text: error.to_string() })?;
    Ok(Some(Latest { state: report.state, changed_at_ms }))
}

/// The digest and number of every host's latest state, for a hub that starts.
pub fn stored(sql: &Connection) -> Result<Vec<(HostId, i64, [u8; 32])>, StoreError> {
    let mut statement = sql.prepare("SELECT host_id, report_id, digest FROM host_state")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, [u8; 32]>(2)?))
    })?;
    rows.map(|row| {
        let (id, report_id, digest) = row?;
        let host_id = id
            .parse()
            .map_err(|error: uuid::Error| StoreError::Damaged { what: "host id", text: error.to_string() })?;
        Ok((host_id, report_id, digest))
    })
    .collect()
}
