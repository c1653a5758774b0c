//! Silence is news: `node_stale`, `node_down`, `node_recovered`.
//!
//! Silence is measured on the clock that only goes forward, so a clock that was set, or a hub that slept, makes no
//! outage. A hub that has just started first listens for a while: it was the silent one. What was told is stored
//! with the event that told it, so a restart tells nothing twice. A host that was never heard is not an outage.

use std::time::Duration;

use felhom_shared::event::Severity;
use felhom_shared::id::HostId;
use serde::Serialize;
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::config::Config;
use crate::live::Silence;
use crate::state::AppState;
use crate::store::hosts::{self, Host};
use crate::store::{StoreError, events};

/// How long a hub that has just started listens before it calls silence an outage.
const LISTEN_FIRST: Duration = Duration::from_secs(600);

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

/// Judges a host by how long it has been silent; `None` if it was never heard.
#[must_use]
pub fn liveness(silent_for: Option<Duration>, config: &Config) -> Liveness {
    match silent_for {
        None => Liveness::Never,
        Some(silent) if silent >= config.down_after() => Liveness::Down,
        Some(silent) if silent >= config.stale_after() => Liveness::Stale,
        Some(_) => Liveness::Ok,
    }
}

/// Judges a host by the time that stands in the store, for who has no running hub to ask. A time in the future
/// counts as just now.
#[must_use]
pub fn liveness_at(last_seen_ms: Option<i64>, now_ms: i64, config: &Config) -> Liveness {
    let silent = last_seen_ms
        .map(|seen| Duration::from_millis(u64::try_from(now_ms.saturating_sub(seen)).unwrap_or(0)));
    liveness(silent, config)
}

/// What is to be told, given what was told last: transitions only.
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

struct Telling {
    host_id: HostId,
    now: Liveness,
    kind: &'static str,
    severity: Severity,
    text: String,
}

/// Looks at every host and tells what has changed, all in one commit.
pub async fn check(state: &AppState) -> Result<(), StoreError> {
    let (now, now_ms) = (Instant::now(), now_ms());
    let hosts = state.store.read(hosts::list).await?;
    let tellings: Vec<Telling> = hosts
        .iter()
        .filter_map(|host| {
            let silence = state.live.silence(host.host_id, now, now_ms);
            telling(host, silence, state.live.listening_for(now), &state.config)
        })
        .collect();
    if tellings.is_empty() {
        return Ok(());
    }
    let told: Vec<HostId> = tellings.iter().map(|telling| telling.host_id).collect();
    for telling in &tellings {
        tracing::warn!(host.id = %telling.host_id, "{}: {}", telling.kind, telling.text);
    }
    state
        .store
        .write(move |sql| {
            for telling in &tellings {
                events::tell(sql, telling.host_id, telling.kind, telling.severity, &telling.text)?;
                hosts::set_told_liveness(sql, telling.host_id, telling.now.word())?;
            }
            Ok(())
        })
        .await?;
    told.into_iter().for_each(|host_id| state.changed(host_id));
    Ok(())
}

/// Pure: what there is to tell of one host.
fn telling(
    host: &Host,
    silence: Option<Silence>,
    listening_for: Duration,
    config: &Config,
) -> Option<Telling> {
    let unheard_since_start = silence.is_none_or(|silence| !silence.heard_since_start);
    if unheard_since_start && listening_for < LISTEN_FIRST.min(config.stale_after()) {
        return None;
    }
    let silent_for = silence.map(|silence| silence.lasts);
    let now = liveness(silent_for, config);
    let (kind, severity) = transition(host.told_liveness.as_deref(), now)?;
    let minutes = silent_for.unwrap_or_default().as_secs() / 60;
    let text = match now {
        Liveness::Never | Liveness::Ok => format!("{} reports again", host.name),
        Liveness::Stale => format!("{} has not reported for {minutes} min", host.name),
        Liveness::Down => {
            format!("{} has not reported for {minutes} min: power, network or agent are out", host.name)
        }
    };
    Some(Telling { host_id: host.host_id, now, kind, severity, text })
}

#[cfg(test)]
mod tests {
    use felhom_shared::id::HostId;
    use uuid::Uuid;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn stale_after_thirty_minutes_and_down_after_sixty() {
        let after = |minutes: u32| liveness(Some(MINUTE * minutes), &Config::default());
        assert_eq!(after(0), Liveness::Ok);
        assert_eq!(after(29), Liveness::Ok);
        assert_eq!(after(30), Liveness::Stale);
        assert_eq!(after(59), Liveness::Stale);
        assert_eq!(after(60), Liveness::Down);
        assert_eq!(liveness(None, &Config::default()), Liveness::Never);
        assert_eq!(
            liveness_at(Some(i64::MAX), 0, &Config::default()),
            Liveness::Ok,
            "the clock was set back"
        );
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

    #[test]
    fn a_hub_that_has_just_started_listens_first() {
        let host = Host {
            host_id: HostId(Uuid::nil()),
            name: "box".to_owned(),
            customer: None,
            paused: false,
            created_at_ms: 0,
            desired: None,
            desired_digest: None,
            received: None,
            received_digest: None,
            reached: None,
            last_seen_ms: Some(0),
            told_liveness: Some("ok".to_owned()),
            told_conflict: false,
        };
        let kind = |heard_since_start, listening_for| {
            let silence = Some(Silence { lasts: MINUTE * 500, heard_since_start });
            telling(&host, silence, listening_for, &Config::default()).map(|telling| telling.kind)
        };
        assert_eq!(kind(false, MINUTE), None, "it was the hub that was away");
        assert_eq!(kind(false, MINUTE * 10), Some("node_down"));
        assert_eq!(kind(true, MINUTE), Some("node_down"));
    }
}
