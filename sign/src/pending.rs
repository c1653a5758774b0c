//! Steps that boxes hold, as the hub tells them. Hostile input: who owns the hub writes it.
//!
//! Of each entry only the draft is used, read by our own strict reader. The hub's words on it are kept to be
//! shown as its words. An entry that cannot be read, or that stands under another host than it is for, is listed
//! with the reason and cannot be chosen.

use felhom_shared::id::HostId;
use felhom_shared::report::PendingOp;
use felhom_shared::signed::Draft;
use serde::Deserialize;

use crate::compose::{self, ComposeError};

/// Largest answer that is read.
pub const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One host of the hub's answer.
#[derive(Debug, Deserialize)]
pub struct PendingHost {
    /// Whose steps these are said to be.
    pub host_id: HostId,
    /// What the hub calls it.
    #[serde(default)]
    pub name: String,
    /// The keyset that the box is said to trust.
    #[serde(default)]
    pub keyset_version: Option<u64>,
    /// The steps.
    #[serde(default)]
    pub pending: Vec<PendingOp>,
}

/// What the hub says of a step; shown as its words, and believed in nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSays {
    /// Its word for the operation.
    pub op: String,
    /// Its name for the host.
    pub host_name: String,
    /// The stable word of the note.
    pub code: String,
    /// The note.
    pub text: String,
    /// Which keyset the box trusts; none means that it takes no signature at all.
    pub keyset_version: Option<u64>,
}

/// Why an entry cannot be signed.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Unsignable {
    #[error(transparent)]
    Draft(#[from] ComposeError),
    #[error("the hub lists it under host {listed}, and it is for host {target}")]
    OtherHost { listed: HostId, target: HostId },
}

/// A step of the list.
#[derive(Debug)]
pub struct Entry {
    /// Under which host it stands.
    pub host_id: HostId,
    /// What would be signed, or why nothing can be.
    pub draft: Result<Draft, Unsignable>,
    /// The hub's words.
    pub hub_says: HubSays,
}

/// The hub's answer is not a list of steps.
#[derive(Debug, thiserror::Error)]
#[error("the list of held steps cannot be read: {0}")]
pub struct ListError(String);

/// Reads the hub's answer; `host` keeps one host, by id or by the hub's name for it.
pub fn read(json: &[u8], host: Option<&str>) -> Result<Vec<Entry>, ListError> {
    let hosts: Vec<PendingHost> =
        serde_json::from_slice(json).map_err(|error| ListError(error.to_string()))?;
    let wanted = |of: &PendingHost| host.is_none_or(|host| of.name == host || of.host_id.to_string() == host);
    Ok(hosts.into_iter().filter(wanted).flat_map(entries).collect())
}

fn entries(host: PendingHost) -> impl Iterator<Item = Entry> {
    let PendingHost { host_id, name, keyset_version, pending } = host;
    pending.into_iter().map(move |step| Entry {
        host_id,
        draft: draft(host_id, &step),
        hub_says: HubSays {
            op: step.op,
            host_name: name.clone(),
            code: step.code,
            text: step.text,
            keyset_version,
        },
    })
}

fn draft(listed: HostId, step: &PendingOp) -> Result<Draft, Unsignable> {
    let body = serde_json::json!({"op": step.op, "target": step.target, "params": step.params});
    let draft = compose::read_draft(body.to_string().as_bytes())?;
    if draft.target.host_id == listed {
        Ok(draft)
    } else {
        Err(Unsignable::OtherHost { listed, target: draft.target.host_id })
    }
}
