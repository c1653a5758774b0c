//! Silence is news: `node_stale`, `node_down`, `node_recovered`.
//!
//! A host is judged by when this hub last heard it, by the hub's own clock. What was told is stored with the event
//! that told it, so a restart tells nothing twice. A host that was never heard is not an outage.

use std::time::Duration;

use felhom_shared::event::{Event, Severity};
use felhom_shared::id::{EventId, HostId, OutboxId};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::clock::now_ms;
use crate::state::AppState;
use crate::store::hosts::{self, Host};
use crate::store::{StoreError, events};

/// The hub's own outbox: its events stand beside the box's under another id.
pub const HUB_OUTBOX: OutboxId = OutboxId(Uuid::nil());

/// Whether a host is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It has never reported.
    Never,
    /// It reports.
    Ok,
    /// It has not reported for a while.
    Stale,
    /// It has not reported for long.
    Down,
}

impl Liveness {
    /// The stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Down => "down",
        }
    }
}

/// Judges a host. A time in the future, as after the hub's clock was set back, counts as just now.
#[must_use]
pub fn liveness(
    last_seen_ms: Option<i64>,
    now_ms: i64,
    stale_after: Duration,
    down_after: Duration,
) -> Liveness {
    let Some(last_seen_ms) = last_seen_ms else { return Liveness::Never };
    let silent = Duration::from_millis(u64::try_from(now_ms - last_seen_ms).unwrap_or(0));
    if silent >= down_after {
        Liveness::Down
    } else if silent >= stale_after {
        Liveness::Stale
    } else {
        Liveness::Ok
    }
}

/// What is to be told when a host that was last told to be `told` is found to be `now`.
#[must_use]
pub fn transition(told: Option<&str>, now: Liveness) -> Option<(&'static str, Severity)> {
    let was_out = matches!(told, Some("stale" | "down"));
    match now {
        Liveness::Never => None,
        Liveness::Ok => was_out.then_some(("node_recovered", Severity::Info)),
        Liveness::Stale => (!was_out).then_some(("node_stale", Severity::Warning)),
        Liveness::Down => (told != Some("down")).then_some(("node_down", Severity::Error)),
    }
}

/// Looks at every host and tells what has changed.
pub async fn check(state: &AppState) -> Result<(), StoreError> {
    let now_ms = now_ms();
    for host in state.store.read(hosts::list).await? {
        let last_seen_ms = state.live.last_seen_ms(host.host_id);
        let now = liveness(last_seen_ms, now_ms, state.config.stale_after(), state.config.down_after());
        if let Some((kind, severity)) = transition(host.told_liveness.as_deref(), now) {
            tell(state, &host, now, (kind, severity, text(&host, now, last_seen_ms, now_ms))).await?;
        }
    }
    Ok(())
}

fn text(host: &Host, now: Liveness, last_seen_ms: Option<i64>, now_ms: i64) -> String {
    let minutes = (now_ms - last_seen_ms.unwrap_or(now_ms)) / 60_000;
    match now {
        Liveness::Never | Liveness::Ok => format!("{} reports again", host.name),
        Liveness::Stale => format!("{} has not reported for {minutes} min", host.name),
        Liveness::Down => {
            format!("{} has not reported for {minutes} min: power, network or agent are out", host.name)
        }
    }
}

async fn tell(
    state: &AppState,
    host: &Host,
    now: Liveness,
    (kind, severity, text): (&'static str, Severity, String),
) -> Result<(), StoreError> {
    let host_id = host.host_id;
    tracing::warn!(host.id = %host_id, "{kind}: {text}");
    state
        .store
        .write(move |sql| {
            let seq = events::newest_seq(sql, host_id, HUB_OUTBOX)? + 1;
            let at = Timestamp::now();
            let event_id = EventId(Uuid::new_v4());
            let event = Event { seq, event_id, at, kind: kind.to_owned(), severity, guest_id: None, text };
            events::append(sql, host_id, HUB_OUTBOX, &[event], at.as_millisecond())?;
            hosts::set_told_liveness(sql, host_id, now.word())
        })
        .await?;
    ring(state, host_id);
    Ok(())
}

fn ring(state: &AppState, host_id: HostId) {
    state.changed(host_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(1800);
    const DOWN: Duration = Duration::from_secs(3600);

    fn after(minutes: i64) -> Liveness {
        liveness(Some(0), minutes * 60_000, STALE, DOWN)
    }

    #[test]
    fn stale_after_thirty_minutes_and_down_after_sixty() {
        assert_eq!(after(0), Liveness::Ok);
        assert_eq!(after(29), Liveness::Ok);
        assert_eq!(after(30), Liveness::Stale);
        assert_eq!(after(59), Liveness::Stale);
        assert_eq!(after(60), Liveness::Down);
        assert_eq!(liveness(None, 1 << 40, STALE, DOWN), Liveness::Never);
        assert_eq!(liveness(Some(60_000), 0, STALE, DOWN), Liveness::Ok, "the clock was set back");
    }

    #[test]
    fn only_transitions_are_told() {
        let kind = |told, now| transition(told, now).map(|(kind, _)| kind);
        assert_eq!(kind(None, Liveness::Ok), None);
        assert_eq!(kind(None, Liveness::Never), None);
        assert_eq!(kind(None, Liveness::Stale), Some("node_stale"));
        assert_eq!(kind(Some("stale"), Liveness::Stale), None);
        assert_eq!(kind(Some("stale"), Liveness::Down), Some("node_down"));
        assert_eq!(kind(Some("down"), Liveness::Down), None);
        assert_eq!(kind(Some("down"), Liveness::Stale), None, "a settings change is no recovery");
        assert_eq!(kind(Some("down"), Liveness::Ok), Some("node_recovered"));
        assert_eq!(kind(Some("ok"), Liveness::Ok), None);
        assert_eq!(kind(None, Liveness::Down), Some("node_down"), "a hub that slept finds it down");
    }
}
