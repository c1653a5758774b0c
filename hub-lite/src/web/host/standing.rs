//! How far a host has come, and what stands in its way: shared by the list and the host's own page.

use felhom_shared::id::Generation;

use crate::store::host_state::Summary;
use crate::store::hosts::Host;
use crate::web::badge::Tone;
use crate::web::shown::Shown;

/// Published, received and reached, which are three different facts (`reached_is_not_received`).
pub(in crate::web) struct Standing {
    pub(in crate::web) published: String,
    pub(in crate::web) received: String,
    pub(in crate::web) reached: String,
    pub(in crate::web) text: &'static str,
    pub(in crate::web) tone: Tone,
}

impl Standing {
    pub(in crate::web) fn new(host: &Host) -> Self {
        let number =
            |generation: Option<Generation>| generation.map_or_else(|| "–".to_owned(), |g| g.to_string());
        let (text, tone) = match (host.desired, host.received, host.reached) {
            _ if host.in_conflict() => ("conflict", Tone::Bad),
            (None, ..) => ("nothing published", Tone::Quiet),
            (desired, received, _) if received != desired => ("not received yet", Tone::Busy),
            (desired, _, reached) if reached != desired => ("received, not reached", Tone::Busy),
            _ => ("reached", Tone::Good),
        };
        Self {
            published: number(host.desired),
            received: number(host.received),
            reached: number(host.reached),
            text,
            tone,
        }
    }
}

/// Something that concerns the whole host.
pub(in crate::web) struct Remark {
    pub(in crate::web) tone: Tone,
    pub(in crate::web) title: &'static str,
    pub(in crate::web) text: Shown,
    pub(in crate::web) code: Option<Shown>,
}

impl Remark {
    /// All that apply, the worst first.
    pub(in crate::web) fn all(host: &Host, summary: Option<&Summary>) -> Vec<Self> {
        let mut remarks = Vec::new();
        if host.in_conflict() {
            remarks.push(Self::conflict(host));
        }
        if let Some(refusal) = summary.and_then(|summary| summary.refused.as_ref()) {
            let text = format!(
                "Generation {}: {} The last good document stays in force.",
                refusal.generation,
                sentence(&refusal.text)
            );
            remarks.push(Self {
                tone: Tone::Bad,
                title: "The agent refused the document.",
                text: Shown::new(&text),
                code: Some(Shown::new(&refusal.code)),
            });
        }
        if let Some(text) = summary.and_then(|summary| summary.node_unreadable.as_ref()) {
            remarks.push(Self {
                tone: Tone::Warn,
                title: "The node could not be read.",
                text: Shown::new(&format!(
                    "{} Nothing is concluded from that and nothing is changed.",
                    sentence(text)
                )),
                code: None,
            });
        }
        if host.paused {
            let text = format!(
                "It observes and reports, and changes nothing. `felhom-hub host resume {}` lets it go on.",
                host.name
            );
            remarks.push(Self { tone: Tone::Warn, title: "Paused.", text: Shown::new(&text), code: None });
        }
        remarks
    }

    fn conflict(host: &Host) -> Self {
        let held = |generation: Option<Generation>| {
            generation.map_or_else(|| "none".to_owned(), |generation| format!("generation {generation}"))
        };
        let text = if host.desired == host.received {
            format!("The box holds other bytes under {} than this hub.", held(host.received))
        } else {
            format!("The box has received {}, this hub holds {}.", held(host.received), held(host.desired))
        };
        let text = format!(
            "{text} The hub was probably restored from a backup. Compare, then run \
             `felhom-hub desired resume {}` with the document that is right.",
            host.name
        );
        Self { tone: Tone::Bad, title: "Conflict.", text: Shown::new(&text), code: None }
    }
}

/// A reported text as a sentence, so that another one can follow.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', '…']) { text.to_owned() } else { format!("{text}.") }
}
