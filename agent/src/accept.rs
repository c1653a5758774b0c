//! May this document replace the last one? Pure: the same two documents always get the same answer.
//!
//! Refuses what would take a box backwards (`generation_moves_forward`) or empty it in one stroke. A refused
//! document changes nothing: the last good one stays in force and the refusal is reported.

use felhom_shared::desired::{DesiredState, digest};
use felhom_shared::id::{Generation, HostId};
use felhom_shared::report::DocumentRefusal;

/// A document as the hub offers it.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Whose document the hub says it is.
    pub host_id: HostId,
    /// Its number.
    pub generation: Generation,
    /// Its bytes as transported.
    pub bytes: &'a [u8],
}

/// The document in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub generation: Generation,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// What it says.
    pub desired: DesiredState,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the document in force, byte for byte.
    Same,
    /// It takes the place of the last.
    Accept(Box<Accepted>),
    /// It does not, and why.
    Refuse(DocumentRefusal),
}

/// Decides on `offer` for the box `host_id` whose document in force is `last`.
#[must_use]
pub fn accept(host_id: HostId, last: Option<&Accepted>, offer: &Offer<'_>) -> Verdict {
    let digest = digest(offer.bytes);
    match check(host_id, last, offer, &digest) {
        Ok(None) => Verdict::Same,
        Ok(Some(desired)) => {
            Verdict::Accept(Box::new(Accepted { generation: offer.generation, digest, desired }))
        }
        Err((code, text)) => {
            Verdict::Refuse(DocumentRefusal { generation: offer.generation, code: code.to_owned(), text })
        }
    }
}

type Refusal = (&'static str, String);

fn check(
    host_id: HostId,
    last: Option<&Accepted>,
    offer: &Offer<'_>,
    digest: &str,
) -> Result<Option<DesiredState>, Refusal> {
    if offer.host_id != host_id {
        let text = format!("the hub sent the document of host {}; this is {host_id}", offer.host_id);
        return Err(("other_host", text));
    }
    let from = last.map_or(Generation(0), |last| last.generation);
    let to = offer.generation;
    if to < from {
        let text = format!(
            "generation {to} is older than {from}, which is in force; if the hub was restored from a backup, \
             resume it there with `felhom-hub desired resume`"
        );
        return Err(("generation_older", text));
    }
    if let Some(last) = last
        && to == from
    {
        return if last.digest == digest {
            Ok(None)
        } else {
            let text =
                format!("generation {to} came again with other content; publish it under a new number");
            Err(("generation_same_other_bytes", text))
        };
    }
    if from.jumps_to(to) {
        let text = format!("generation {to} is further from {from} than any hub goes in one step");
        return Err(("generation_jumped", text));
    }
    let desired = DesiredState::from_json(offer.bytes).map_err(|error| (error.code(), error.to_string()))?;
    let had = last.map_or(0, |last| last.desired.guests.len());
    if desired.guests.is_empty() && had > 0 {
        let text = format!(
            "the document names no guest, the one in force names {had}; to give guests up, publish them one by one"
        );
        return Err(("empty_over_nonempty", text));
    }
    Ok(Some(desired))
}

#[cfg(test)]
mod tests;
