use std::time::Duration;

use felhom_shared::desired::{Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{Failure, Outcome, TunnelReadiness};
use felhom_shared::secret::{SecretName, SecretRef};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::attempt::Attempt;
use super::cloudflared::Ready;
use super::observe::{Installed, SeenTunnel, TrialSeen};
use super::plan::{TunnelPlan, plan_tunnel};
use super::step::{RevertTunnel, TunnelStep, Wanted};
use crate::host::tunnel::UnitState;
use crate::observe::Reading;

fn hash(word: &str) -> Sha256Hex {
    Sha256Hex::of(word.as_bytes())
}

fn wanted(token: &str, program: &str) -> Wanted {
    Wanted { token_sha256: hash(token), program_sha256: hash(program) }
}

fn spec(token: &str) -> TunnelSpec {
    let secret = SecretName::new("tunnel-token").unwrap();
    TunnelSpec {
        presence: Presence::Present,
        token: Some(SecretRef { secret, sha256: hash(token) }),
        program_sha256: None,
        revert_after_s: 60,
    }
}

/// A box with cloudflared "new" installed, and the tunnel running with this token and the program "new".
fn seen(token: Option<&str>) -> SeenTunnel {
    let installed = token.map_or(Reading::Absent, |token| {
        Reading::Present(Installed { wanted: wanted(token, "new"), unit_is_ours: true })
    });
    SeenTunnel {
        ready: if token.is_some() { Ready::Runs { connections: 4 } } else { Ready::Down },
        installed,
        program: Reading::Present(hash("new")),
        has_secret: true,
        served: true,
        ..SeenTunnel::nothing()
    }
}

fn now() -> Timestamp {
    "2026-11-29T04:00:00Z".parse().unwrap()
}

fn planned(spec: &TunnelSpec, seen: &SeenTunnel) -> TunnelPlan {
    plan_tunnel(Some(spec), seen, now())
}

fn codes(plan: &TunnelPlan) -> Vec<&str> {
    plan.notes.iter().map(|note| note.code.as_str()).collect()
}

#[test]
fn what_is_as_desired_takes_no_step() {
    let plan = planned(&spec("a"), &seen(Some("a")));
    assert_eq!((plan.steps, plan.notes, plan.outcome), (vec![], vec![], Outcome::Converged));
    assert_eq!(plan.readiness, TunnelReadiness::Connected);
}

#[test]
fn another_token_another_program_and_another_unit_are_each_tried() {
    let plan = planned(&spec("b"), &seen(Some("a")));
    assert_eq!(plan.steps, [TunnelStep::TryTunnel(wanted("b", "new"))]);
    let newer = SeenTunnel { program: Reading::Present(hash("newer")), ..seen(Some("a")) };
    assert_eq!(planned(&spec("a"), &newer).steps, [TunnelStep::TryTunnel(wanted("a", "newer"))]);
    let installed = Installed { wanted: wanted("a", "new"), unit_is_ours: false };
    let edited = SeenTunnel { installed: Reading::Present(installed), ..seen(Some("a")) };
    assert_eq!(planned(&spec("a"), &edited).steps, [TunnelStep::TryTunnel(wanted("a", "new"))]);
    // Its token is on the box: it need not come from the hub for that.
    let without = SeenTunnel { has_secret: false, ..newer };
    assert_eq!(planned(&spec("a"), &without).steps.len(), 1);
}

#[test]
fn without_its_token_or_its_program_nothing_is_tried() {
    let plan = planned(&spec("b"), &SeenTunnel { has_secret: false, ..seen(Some("a")) });
    assert_eq!((codes(&plan), plan.lacks_secret), (vec!["secret_missing"], true));
    let plan = planned(&spec("a"), &SeenTunnel { program: Reading::Absent, ..seen(None) });
    assert_eq!((codes(&plan), plan.steps.len()), (vec!["cloudflared_missing"], 0));
    // The package was removed; the tunnel has its own copy.
    let plan = planned(&spec("a"), &SeenTunnel { program: Reading::Absent, ..seen(Some("a")) });
    assert_eq!((codes(&plan), plan.outcome), (vec![], Outcome::Converged));
}

#[test]
fn a_pinned_program_runs_or_nothing_new_does() {
    let pinned = |word: &str| TunnelSpec { program_sha256: Some(hash(word)), ..spec("a") };
    assert_eq!(planned(&pinned("new"), &seen(Some("a"))).outcome, Outcome::Converged);
    let plan = planned(&pinned("other"), &seen(Some("a")));
    assert_eq!((codes(&plan), plan.steps.len()), (vec!["cloudflared_differs"], 0));
    // The package was upgraded before the document: what is pinned goes on.
    let upgraded = SeenTunnel { program: Reading::Present(hash("newer")), ..seen(Some("a")) };
    assert_eq!(planned(&pinned("new"), &upgraded).outcome, Outcome::Converged);
}

#[test]
fn a_tunnel_without_a_section_is_left_as_it_is() {
    let other = SeenTunnel { program: Reading::Present(hash("newer")), ..seen(Some("a")) };
    let plan = plan_tunnel(None, &other, now());
    assert!(plan.steps.is_empty() && !plan.desired);
}

fn on_trial(token: Option<&str>, lasts_s: u64, connections: u32, hub_heard: bool) -> SeenTunnel {
    SeenTunnel {
        ready: Ready::Runs { connections },
        trial: Some(TrialSeen { lasts: Duration::from_secs(lasts_s), hub_heard }),
        unit: Some(unit("active", "0")),
        ..seen(token)
    }
}

fn unit(active: &str, exit_status: &str) -> UnitState {
    UnitState { active: active.to_owned(), exit_status: exit_status.to_owned() }
}

#[test]
fn a_change_is_kept_once_it_connects_and_taken_back_where_it_does_not_in_time() {
    let spec = spec("b");
    assert_eq!(planned(&spec, &on_trial(Some("b"), 1, 1, false)).steps, [TunnelStep::KeepTunnel]);
    let waits = planned(&spec, &on_trial(Some("b"), 59, 0, true));
    assert_eq!((codes(&waits), waits.outcome), (vec!["tunnel_on_trial"], Outcome::Waiting));
    let over = SeenTunnel { unit: Some(unit("activating", "255")), ..on_trial(Some("b"), 60, 0, true) };
    let [TunnelStep::RevertTunnel(revert)] = &planned(&spec, &over).steps[..] else { panic!("it reverts") };
    assert_eq!((&revert.tried, revert.hub_heard), (&Some(wanted("b", "new")), true));
    assert!(revert.why.contains("status 255") && revert.why.contains("journalctl"), "{}", revert.why);
    // Also where the document says nothing of it any more, or something else.
    assert_eq!(plan_tunnel(None, &on_trial(Some("b"), 1, 4, false), now()).steps, [TunnelStep::KeepTunnel]);
    let changed = TunnelSpec { revert_after_s: 90, ..spec.clone() };
    assert_eq!(codes(&planned(&changed, &on_trial(Some("a"), 60, 0, true))), ["tunnel_on_trial"]);
    // Or where it cannot be read at all.
    let failure = Failure { code: "tunnel_unreadable".to_owned(), text: "a damaged token".to_owned() };
    let damaged = SeenTunnel { installed: Reading::Unreadable(failure), ..on_trial(None, 61, 4, true) };
    let [TunnelStep::RevertTunnel(revert)] = &planned(&spec, &damaged).steps[..] else {
        panic!("it reverts")
    };
    assert_eq!(revert.why, "a damaged token");
}

/// While cloudflared is away anybody on the box can answer in its place; systemd knows whether its unit is ready.
#[test]
fn whoever_answers_beside_the_unit_proves_nothing() {
    for who in [Some(unit("activating", "1")), None] {
        let answered = |lasts_s| SeenTunnel { unit: who.clone(), ..on_trial(Some("b"), lasts_s, 4, true) };
        assert_eq!(codes(&planned(&spec("b"), &answered(5))), ["tunnel_on_trial"]);
        assert!(matches!(planned(&spec("b"), &answered(61)).steps[..], [TunnelStep::RevertTunnel(_)]));
    }
}

#[test]
fn a_unit_that_somebody_else_writes_as_well_is_not_fought_over() {
    let installed = Installed { wanted: wanted("a", "new"), unit_is_ours: false };
    let edited = SeenTunnel { installed: Reading::Present(installed), unit_written: true, ..seen(Some("a")) };
    let plan = planned(&spec("a"), &edited);
    assert_eq!((codes(&plan), plan.steps.len()), (vec!["tunnel_unit_differs"], 0));
    assert_eq!(planned(&spec("b"), &edited).steps.len(), 1);
}

#[test]
fn to_be_without_a_tunnel_is_proven_by_the_hub_being_heard() {
    let absent = TunnelSpec { presence: Presence::Absent, token: None, ..spec("a") };
    assert_eq!(planned(&absent, &seen(Some("a"))).steps, [TunnelStep::StopTunnel]);
    assert_eq!(planned(&absent, &seen(None)).outcome, Outcome::Converged);
    assert_eq!(planned(&absent, &on_trial(None, 5, 0, true)).steps, [TunnelStep::KeepTunnel]);
    assert_eq!(codes(&planned(&absent, &on_trial(None, 5, 0, false))), ["tunnel_on_trial"]);
    let [TunnelStep::RevertTunnel(revert)] = &planned(&absent, &on_trial(None, 61, 0, false)).steps[..]
    else {
        panic!("it reverts")
    };
    assert_eq!((&revert.tried, revert.hub_heard), (&None, false));
}

#[test]
fn what_was_taken_back_is_tried_again_later_each_time() {
    let revert = |hub_heard| RevertTunnel { tried: Some(wanted("b", "new")), hub_heard, why: "x".to_owned() };
    let first = Attempt::after(None, &revert(true), (None, now()));
    let plan = planned(&spec("b"), &SeenTunnel { attempt: Some(first.clone()), ..seen(Some("a")) });
    assert_eq!((codes(&plan), plan.outcome), (vec!["tunnel_reverted"], Outcome::Failed));
    // Another change is not the one that was taken back.
    let plan = planned(&spec("c"), &SeenTunnel { attempt: Some(first.clone()), ..seen(Some("a")) });
    assert_eq!(plan.steps.len(), 1);
    let hours = |attempt: &Attempt| attempt.next_try.duration_since(now()).as_hours();
    let mut attempt = first;
    let mut waits = vec![hours(&attempt)];
    for _ in 0..6 {
        attempt = Attempt::after(Some(&attempt), &revert(true), (None, now()));
        waits.push(hours(&attempt));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 24, 24]);
    // Under another section it is another change.
    attempt = Attempt::after(Some(&attempt), &revert(true), (Some(spec("b")), now()));
    assert_eq!((attempt.failures, hours(&attempt)), (1, 1));
    // A clock that was years ahead when it was taken back.
    let years_ago = now() - SignedDuration::from_hours(30_000);
    assert!(attempt.again().is_over(years_ago) && !attempt.again().is_over(now()));
    let outage = Attempt::after(None, &revert(false), (None, now()));
    assert_eq!(outage.next_try.duration_since(now()), SignedDuration::from_mins(10));
    let again = Attempt::after(Some(&outage), &revert(false), (None, now()));
    assert_eq!(again.next_try.duration_since(now()), SignedDuration::from_mins(20));
    let later = plan_tunnel(
        Some(&spec("b")),
        &SeenTunnel { attempt: Some(outage.clone()), ..seen(Some("a")) },
        outage.next_try,
    );
    assert_eq!(later.steps.len(), 1);
}

#[test]
fn a_tunnel_that_does_not_run_is_started_and_not_again_at_once() {
    let down = SeenTunnel { ready: Ready::Down, unit: Some(unit("failed", "0")), ..seen(Some("a")) };
    assert_eq!(planned(&spec("a"), &down).steps, [TunnelStep::StartTunnel]);
    // systemd is about to.
    let waits = SeenTunnel { unit: Some(unit("activating", "1")), ..down.clone() };
    assert_eq!(
        (codes(&planned(&spec("a"), &waits)), planned(&spec("a"), &waits).steps),
        (vec!["tunnel_down"], vec![])
    );
    let plan = planned(&spec("a"), &SeenTunnel { just_started: true, ..down });
    assert_eq!((codes(&plan), plan.outcome), (vec!["tunnel_down"], Outcome::Waiting));
    let plan = planned(&spec("a"), &SeenTunnel { ready: Ready::Runs { connections: 0 }, ..seen(Some("a")) });
    assert_eq!((codes(&plan), plan.steps.len()), (vec!["tunnel_unconnected"], 0));
}

#[test]
fn where_nobody_changes_units_nothing_is_begun() {
    let plan = planned(&spec("b"), &SeenTunnel { served: false, ..seen(Some("a")) });
    assert_eq!((codes(&plan), plan.outcome), (vec!["host_helper_missing"], Outcome::Refused));
}

fn any_seen() -> impl Strategy<Value = SeenTunnel> {
    let word = || prop_oneof![Just("a"), Just("b"), Just("c")];
    let installed = proptest::option::of((word(), word(), any::<bool>()));
    let trial = proptest::option::of((0..200u64, any::<bool>()));
    let ready = prop_oneof![
        Just(Ready::Down),
        (0..3u32).prop_map(|connections| Ready::Runs { connections }),
        Just(Ready::Unclear("x".to_owned()))
    ];
    let rest = (any::<bool>(), any::<bool>(), proptest::option::of(word()));
    (installed, trial, ready, rest).prop_map(|(installed, trial, ready, (has_secret, started, program))| {
        let installed = installed.map_or(Reading::Absent, |(token, program, unit_is_ours)| {
            Reading::Present(Installed { wanted: wanted(token, program), unit_is_ours })
        });
        SeenTunnel {
            installed,
            ready,
            has_secret,
            just_started: started,
            program: program.map_or(Reading::Absent, |program| Reading::Present(hash(program))),
            trial: trial.map(|(lasts, hub_heard)| TrialSeen { lasts: Duration::from_secs(lasts), hub_heard }),
            ..seen(None)
        }
    })
}

proptest! {
    /// At most one step at a time, none that needs a token where there is none, and only ends of a trial during one.
    #[test]
    fn one_change_at_a_time(seen in any_seen(), absent in any::<bool>()) {
        let spec = if absent {
            TunnelSpec { presence: Presence::Absent, token: None, ..spec("a") }
        } else {
            spec("a")
        };
        let plan = planned(&spec, &seen);
        prop_assert!(plan.steps.len() <= 1);
        prop_assert_eq!(plan.ends_trial(), seen.trial.is_some() && !plan.steps.is_empty());
        if let [TunnelStep::TryTunnel(wanted)] = &plan.steps[..] {
            let there = seen.installed.present();
            prop_assert!(seen.has_secret || there.is_some_and(|there| there.wanted.token_sha256 == hash("a")));
            prop_assert!(there.is_none_or(|there| there.wanted != *wanted || !there.unit_is_ours));
        }
        let settled = plan.steps.is_empty() && plan.notes.is_empty();
        prop_assert_eq!(settled, plan.outcome == Outcome::Converged);
    }

    /// What could not be read is never changed, but what was there before a change comes back.
    #[test]
    fn an_unreadable_tunnel_takes_no_step(seen in any_seen()) {
        let failure = Failure { code: "tunnel_unreadable".to_owned(), text: "x".to_owned() };
        let unreadable = SeenTunnel { installed: Reading::Unreadable(failure), trial: None, ..seen };
        let plan = planned(&spec("a"), &unreadable);
        prop_assert!(plan.steps.is_empty());
        prop_assert_eq!(plan.outcome, Outcome::Unreadable);
    }
}
