//! One word of status with a sign and a colour. The word says it all; sign and colour only help to find it.

use askama::Template;
use askama::filters::HtmlSafe;
use felhom_shared::event::Severity;
use felhom_shared::report::{NoteKind, Outcome, ReceiptState, StepOutcome};
use felhom_shared::wire::QueueState;

use crate::checks::staleness::Liveness;
use crate::store::host_state::Summary;

/// How much a person should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Quiet,
    Good,
    Busy,
    Warn,
    Bad,
}

/// A status word on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="badge {{ tone.class() }}"><span class="sign" aria-hidden="true">{{ tone.sign() }}</span>{{ word }}</span>"#,
    ext = "html"
)]
pub(super) struct Badge {
    pub(super) word: &'static str,
    pub(super) tone: Tone,
}

impl HtmlSafe for Badge {}

/// So many guests with one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) number: u32,
    pub(super) badge: Badge,
}

impl Count {
    /// The outcomes of a host that are not as desired, the worst first.
    pub(super) fn all_but_converged(summary: &Summary) -> Vec<Self> {
        let others = summary.outcomes.iter().rev().filter(|(outcome, _)| **outcome != Outcome::Converged);
        others.map(|(outcome, number)| Self { number: *number, badge: (*outcome).into() }).collect()
    }
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Quiet => "○",
            Self::Good => "●",
            Self::Busy => "◐",
            Self::Warn => "▲",
            Self::Bad => "✕",
        }
    }
}

impl Badge {
    const fn new(word: &'static str, tone: Tone) -> Self {
        Self { word, tone }
    }

    pub(super) const PAUSED: Self = Self::new("paused", Tone::Warn);
}

impl From<Liveness> for Badge {
    fn from(liveness: Liveness) -> Self {
        match liveness {
            Liveness::Never => Self::new("never seen", Tone::Quiet),
            Liveness::Ok => Self::new("ok", Tone::Good),
            Liveness::Stale => Self::new("stale", Tone::Warn),
            Liveness::Down => Self::new("down", Tone::Bad),
        }
    }
}

impl From<Outcome> for Badge {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Converged => Self::new("converged", Tone::Good),
            Outcome::Converging => Self::new("converging", Tone::Busy),
            Outcome::Waiting => Self::new("waiting", Tone::Busy),
            Outcome::Held => Self::new("held", Tone::Warn),
            Outcome::Refused => Self::new("refused", Tone::Bad),
            Outcome::Unreadable => Self::new("unreadable", Tone::Warn),
            Outcome::Interrupted => Self::new("interrupted", Tone::Bad),
            Outcome::Failed => Self::new("failed", Tone::Bad),
        }
    }
}

impl From<StepOutcome> for Badge {
    fn from(outcome: StepOutcome) -> Self {
        match outcome {
            StepOutcome::Running => Self::new("running", Tone::Busy),
            StepOutcome::Applied => Self::new("applied", Tone::Good),
            StepOutcome::AlreadyTrue => Self::new("already true", Tone::Good),
            StepOutcome::Failed => Self::new("failed", Tone::Bad),
            StepOutcome::NotAttempted => Self::new("not attempted", Tone::Quiet),
            StepOutcome::Interrupted => Self::new("interrupted", Tone::Bad),
        }
    }
}

impl From<NoteKind> for Badge {
    fn from(kind: NoteKind) -> Self {
        match kind {
            NoteKind::Held => Self::new("held", Tone::Warn),
            NoteKind::Refused => Self::new("refused", Tone::Bad),
            NoteKind::Waiting => Self::new("waiting", Tone::Busy),
        }
    }
}

impl From<QueueState> for Badge {
    fn from(state: QueueState) -> Self {
        match state {
            QueueState::Queued => Self::new("queued", Tone::Busy),
            QueueState::Delivered => Self::new("delivered", Tone::Busy),
            QueueState::Applied => Self::new("applied", Tone::Good),
            QueueState::Rejected => Self::new("rejected", Tone::Bad),
            QueueState::Expired => Self::new("expired", Tone::Warn),
        }
    }
}

impl From<ReceiptState> for Badge {
    fn from(state: ReceiptState) -> Self {
        match state {
            ReceiptState::Accepted => Self::new("accepted", Tone::Busy),
            ReceiptState::Started => Self::new("started", Tone::Busy),
            ReceiptState::Applied => Self::new("applied", Tone::Good),
            ReceiptState::Failed => Self::new("failed", Tone::Bad),
            ReceiptState::Interrupted => Self::new("interrupted", Tone::Bad),
            ReceiptState::Rejected => Self::new("rejected", Tone::Bad),
            ReceiptState::Expired => Self::new("expired", Tone::Warn),
        }
    }
}

impl From<Severity> for Badge {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::new("info", Tone::Quiet),
            Severity::Warning => Self::new("warning", Tone::Warn),
            Severity::Error => Self::new("error", Tone::Bad),
        }
    }
}
