//! How far a host has come, and what stands in its way: shared by the list and the host's own page.

use felhom_shared::id::Generation;
use felhom_shared::report::{DocumentRefusal, Outcome};

use crate::checks::conflict::held;
use crate::store::host_state::Summary;
use crate::store::hosts::Host;
use crate::web::badge::Tone;
use crate::web::shown::Shown;

/// Published, received and reached, which are three different facts (`reached_is_not_received`).
pub(in crate::web) struct Standing {
    pub(in crate::web) text: &'static str,
    pub(in crate::web) tone: Tone,
    /// Each fact with its number; one is enough where they agree.
    pub(in crate::web) facts: Vec<(&'static str, String)>,
}

impl Standing {
    pub(in crate::web) fn new(host: &Host, summary: Option<&Summary>) -> Self {
        let refused = summary.and_then(|summary| summary.refused.as_ref()).map(|refusal| refusal.generation);
        let (text, tone) = match (host.desired, host.received, host.reached) {
            _ if host.in_conflict() => ("conflict", Tone::Bad),
            (None, ..) => ("nothing published", Tone::Quiet),
            (desired, ..) if refused == desired => ("refused by the agent", Tone::Bad),
            (desired, received, _) if received != desired => ("not received yet", Tone::Busy),
            (desired, _, reached) if reached != desired => ("received, not reached", Tone::Busy),
            _ => ("reached", Tone::Good),
        };
        Self { text, tone, facts: Self::facts(host, tone) }
    }

    fn facts(host: &Host, tone: Tone) -> Vec<(&'static str, String)> {
        let all = [("published", host.desired), ("received", host.received), ("reached", host.reached)];
        match (tone, host.desired) {
            (Tone::Good, Some(generation)) => vec![("generation", generation.to_string())],
            (Tone::Quiet, None) if host.received.is_none() => Vec::new(),
            _ => all.map(|(fact, generation)| (fact, number(generation))).into(),
        }
    }
}

/// A generation, or a dash where there is none.
pub(in crate::web) fn number(generation: Option<Generation>) -> String {
    generation.map_or_else(|| "–".to_owned(), |generation| generation.to_string())
}

/// Something that concerns the whole host.
pub(in crate::web) struct Remark {
    pub(in crate::web) tone: Tone,
    pub(in crate::web) title: String,
    pub(in crate::web) text: Shown,
    pub(in crate::web) code: Option<Shown>,
    /// What to run.
    pub(in crate::web) command: Option<String>,
}

impl Remark {
    /// All that apply, the worst first.
    pub(in crate::web) fn all(host: &Host, summary: Option<&Summary>, rolled_back: bool) -> Vec<Self> {
        let rolled_back = rolled_back.then(Self::rolled_back);
        let conflict = host.in_conflict().then(|| Self::conflict(host));
        let refused = summary.and_then(|summary| summary.refused.as_ref()).map(Self::refused);
        let unreadable = summary.and_then(|summary| summary.node_unreadable.as_deref()).map(Self::unreadable);
        let paused = host.paused.then(|| Self::paused(host));
        let storage = summary.and_then(Self::storage);
        let tunnel = summary.and_then(Self::tunnel);
        [rolled_back, conflict, refused, unreadable, storage, tunnel, paused].into_iter().flatten().collect()
    }

    fn new(tone: Tone, title: impl Into<String>, text: &str) -> Self {
        Self { tone, title: title.into(), text: Shown::new(text), code: None, command: None }
    }

    fn conflict(host: &Host) -> Self {
        let text = if host.desired == host.received {
            format!("The box holds other bytes under {} than this hub.", held(host.received))
        } else {
            format!("The box has received {}, this hub holds {}.", held(host.received), held(host.desired))
        };
        let text = format!(
            "{text} The hub was probably restored from a backup. Compare, then say which document is right:"
        );
        let command = Some(format!("felhom-hub desired resume {} FILE", host.name));
        Self { command, ..Self::new(Tone::Bad, "Conflict.", &text) }
    }

    fn refused(refusal: &DocumentRefusal) -> Self {
        let title = format!("The agent refused generation {}:", refusal.generation);
        let text = format!("{} The last good document stays in force.", sentence(&refusal.text));
        Self { code: Some(Shown::new(&refusal.code)), ..Self::new(Tone::Bad, title, &text) }
    }

    fn unreadable(text: &str) -> Self {
        let text = format!("{} Nothing is concluded from that and nothing is changed.", sentence(text));
        Self::new(Tone::Warn, "The node could not be read:", &text)
    }

    /// A drive that is missing or in doubt. Guests that wait for one say so themselves.
    fn storage(summary: &Summary) -> Option<Self> {
        let (outcome, _) = summary.storage.iter().next_back()?;
        let wrong: u32 = summary
            .storage
            .iter()
            .filter(|(outcome, _)| **outcome != Outcome::Converged)
            .map(|(_, number)| number)
            .sum();
        let tone = if *outcome > Outcome::Held { Tone::Bad } else { Tone::Warn };
        let text = format!("{wrong} of {} not as desired.", summary.storage.values().sum::<u32>());
        (wrong > 0).then(|| Self::new(tone, "Storage:", &text))
    }

    /// Nobody reaches the customer's services from outside, or a change was taken back.
    fn tunnel(summary: &Summary) -> Option<Self> {
        let outcome = summary.tunnel.filter(|outcome| *outcome >= Outcome::Waiting)?;
        let tone = if outcome > Outcome::Held { Tone::Bad } else { Tone::Warn };
        Some(Self::new(tone, "Tunnel:", "it is not as desired."))
    }

    /// The box's ledger is not what it was.
    fn rolled_back() -> Self {
        let text = "The box's record of signed operations is shorter than it was, or another one: it was restored \
                    from an image, or somebody put an old one back. It could accept again what it has forgotten. \
                    Sign nothing for it before you know why; then raise its floor with a signed ops.void_before or \
                    ledger.rebase.";
        Self::new(Tone::Bad, "The ledger was rolled back.", text)
    }

    fn paused(host: &Host) -> Self {
        let command = Some(format!("felhom-hub host resume {}", host.name));
        Self {
            command,
            ..Self::new(
                Tone::Warn,
                "Paused.",
                "It observes and reports, and changes nothing. To let it go on:",
            )
        }
    }
}

/// A reported text as a sentence, so that another one can follow.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', '…']) { text.to_owned() } else { format!("{text}.") }
}
