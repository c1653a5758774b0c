//! What to do about the tunnel. Pure: the document's section and the readings go in, steps and reasons come out.
//!
//! A change that is being tried comes before everything else, also where the document has changed meanwhile: it is kept or
//! taken back, and only then is there another. Nothing is tried without the token at hand, and nothing that was taken back is
//! tried again at once.

use std::time::Duration;

use felhom_shared::desired::{Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{Failure, ForeignTunnel, Note, NoteKind, Outcome, TunnelReadiness};
use jiff::Timestamp;

use super::cloudflared::Ready;
use super::observe::{Installed, SeenTunnel, TrialSeen};
use super::step::{RevertTunnel, TunnelStep, Wanted};
use crate::host::tunnel::UnitState;
use crate::observe::Reading;
use crate::plan::concluded;
use crate::trial::{Verdict, judge};

/// For a change that is tried when the document no longer says how long.
const USUAL_WINDOW: Duration = Duration::from_secs(60);

/// The tunnel's part of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPlan {
    /// Whether the document says anything of a tunnel.
    pub desired: bool,
    /// Where it stands before the steps.
    pub outcome: Outcome,
    /// How far it has come.
    pub readiness: TunnelReadiness,
    /// What is installed.
    pub installed: Option<Wanted>,
    /// Its version.
    pub version: Option<String>,
    /// A change is being tried.
    pub on_trial: bool,
    /// The token that the document names has not come.
    pub lacks_secret: bool,
    /// To be done in this order.
    pub steps: Vec<TunnelStep>,
    /// What is not done, and why.
    pub notes: Vec<Note>,
    /// Other tunnels.
    pub foreign: Vec<ForeignTunnel>,
}

/// Decides about the tunnel.
#[must_use]
pub fn plan_tunnel(spec: Option<&TunnelSpec>, seen: &SeenTunnel, now: Timestamp) -> TunnelPlan {
    let mut plan = TunnelPlan::new(spec, seen);
    if let Reading::Unreadable(failure) = &seen.installed {
        plan.unreadable(failure);
    }
    if let Some(trial) = seen.trial {
        plan_trial(spec, seen, trial, &mut plan);
    } else if plan.outcome == Outcome::Unreadable {
        return plan;
    } else if let Some(spec) = spec {
        match spec.presence {
            Presence::Absent => plan_absent(seen, now, &mut plan),
            Presence::Present => plan_present(spec, seen, now, &mut plan),
        }
    }
    if !seen.served && !plan.steps.is_empty() {
        let text = "nobody changes units for the agent: is felhom-host.path installed and the agent started by systemd?";
        plan.refuse("host_helper_missing", text.to_owned());
    }
    plan.outcome = concluded(plan.outcome, !plan.steps.is_empty(), &plan.notes);
    plan
}

/// A tunnel proves itself by its connections; that there is none, by the hub being heard all the same.
fn plan_trial(spec: Option<&TunnelSpec>, seen: &SeenTunnel, trial: TrialSeen, plan: &mut TunnelPlan) {
    let window = spec.map_or(USUAL_WINDOW, |spec| Duration::from_secs(spec.revert_after_s.into()));
    let tried = seen.installed.present().map(|installed| installed.wanted.clone());
    // Who answers while cloudflared is away may be anybody on the box; whether its unit is active, systemd says.
    let is_active = seen.unit.as_ref().is_some_and(UnitState::is_active);
    let proven = match &seen.installed {
        Reading::Present(_) => plan.readiness == TunnelReadiness::Connected && is_active,
        Reading::Absent => trial.hub_heard,
        Reading::Unreadable(_) => false,
    };
    match judge(trial.lasts, window, proven) {
        Verdict::Keep => plan.steps.push(TunnelStep::KeepTunnel),
        Verdict::Wait => {
            let what = if tried.is_some() { "the tunnel has to connect" } else { "the hub has to be heard" };
            let text =
                format!("a change is tried: {what} within {} s, or it is taken back", window.as_secs());
            plan.note(NoteKind::Waiting, "tunnel_on_trial", text);
        }
        Verdict::Revert => {
            let why = match &seen.installed {
                Reading::Unreadable(failure) => failure.text.clone(),
                Reading::Present(_) => {
                    format!("it had no connection after {} s; {}", window.as_secs(), what_it_does(seen))
                }
                Reading::Absent => format!("the hub was not heard for {} s without it", window.as_secs()),
            };
            let hub_heard = trial.hub_heard;
            plan.steps.push(TunnelStep::RevertTunnel(RevertTunnel { tried, hub_heard, why }));
        }
    }
}

fn plan_absent(seen: &SeenTunnel, now: Timestamp, plan: &mut TunnelPlan) {
    if seen.installed == Reading::Absent || plan.must_wait(None, seen, now) {
        return;
    }
    plan.steps.push(TunnelStep::StopTunnel);
}

fn plan_present(spec: &TunnelSpec, seen: &SeenTunnel, now: Timestamp, plan: &mut TunnelPlan) {
    let Some(token) = &spec.token else { return };
    let installed = seen.installed.present();
    let Some(program_sha256) = plan.program(spec, seen) else { return };
    let wanted = Wanted { token_sha256: token.sha256.clone(), program_sha256 };
    if let Some(Installed { wanted: there, unit_is_ours }) = installed
        && *there == wanted
        && (*unit_is_ours || seen.unit_written)
    {
        plan_running(seen, plan);
        if !unit_is_ours {
            let text = "the tunnel's unit was changed again after the agent wrote it: who does that? It is written anew in an hour";
            plan.note(NoteKind::Waiting, "tunnel_unit_differs", text.to_owned());
        }
        return;
    }
    let has_token =
        seen.has_secret || installed.is_some_and(|there| there.wanted.token_sha256 == token.sha256);
    if !has_token {
        plan.lacks_secret = true;
        let text = format!(
            "the hub has not delivered the secret {} with this hash yet; it is asked for again",
            token.secret
        );
        plan.note(NoteKind::Waiting, "secret_missing", text);
    } else if !plan.must_wait(Some(&wanted), seen, now) {
        plan.steps.push(TunnelStep::TryTunnel(wanted));
    }
}

/// Everything is as it should be, but for the line perhaps.
fn plan_running(seen: &SeenTunnel, plan: &mut TunnelPlan) {
    match plan.readiness {
        TunnelReadiness::Connected => {}
        TunnelReadiness::Unconnected => {
            let text = "cloudflared runs and has no connection to Cloudflare: is the line up, and is the token still \
                        good?";
            plan.note(NoteKind::Waiting, "tunnel_unconnected", text.to_owned());
        }
        TunnelReadiness::Down | TunnelReadiness::Absent if !seen.just_started && is_at_rest(seen) => {
            plan.steps.push(TunnelStep::StartTunnel);
        }
        TunnelReadiness::Down | TunnelReadiness::Absent => {
            let text = format!("cloudflared does not run; {}", what_it_does(seen));
            plan.note(NoteKind::Waiting, "tunnel_down", text);
        }
        TunnelReadiness::Unknown => {
            let Ready::Unclear(text) = &seen.ready else { return };
            plan.note(NoteKind::Refused, "tunnel_unclear", text.clone());
        }
    }
}

/// Whether nobody starts it unless the agent does.
fn is_at_rest(seen: &SeenTunnel) -> bool {
    seen.unit.as_ref().is_some_and(UnitState::is_at_rest)
}

/// What systemd knows of a cloudflared that does not connect, and where to look.
fn what_it_does(seen: &SeenTunnel) -> String {
    let said = "`journalctl -u felhom-tunnel` says more";
    match &seen.unit {
        Some(unit) if unit.exit_status == "255" => {
            format!(
                "it ended with status 255: is the token whole, and cloudflared of 2025.4.0 or newer? {said}"
            )
        }
        Some(unit) if unit.exit_status != "0" => {
            format!("it ended with status {}: is the line up, and the token good? {said}", unit.exit_status)
        }
        Some(unit) => format!("systemd calls it {}: {said}", unit.active),
        None => said.to_owned(),
    }
}

impl TunnelPlan {
    fn new(spec: Option<&TunnelSpec>, seen: &SeenTunnel) -> Self {
        let installed = seen.installed.present().map(|installed| installed.wanted.clone());
        let readiness = match (&installed, &seen.ready) {
            (None, _) => TunnelReadiness::Absent,
            (Some(_), Ready::Down) => TunnelReadiness::Down,
            (Some(_), Ready::Runs { connections: 0 }) => TunnelReadiness::Unconnected,
            (Some(_), Ready::Runs { .. }) => TunnelReadiness::Connected,
            (Some(_), Ready::Unclear(_)) => TunnelReadiness::Unknown,
        };
        Self {
            desired: spec.is_some(),
            outcome: Outcome::Converged,
            readiness,
            version: seen.version.clone().filter(|_| installed.is_some()),
            installed,
            on_trial: seen.trial.is_some(),
            lacks_secret: false,
            steps: Vec::new(),
            notes: Vec::new(),
            foreign: seen.foreign.clone(),
        }
    }

    /// The program that is to run: the one the document pins, else the one the box has installed, else the one that runs.
    fn program(&mut self, spec: &TunnelSpec, seen: &SeenTunnel) -> Option<Sha256Hex> {
        let copy = self.installed.as_ref().map(|installed| installed.program_sha256.clone());
        let on_box = match &seen.program {
            Reading::Present(hash) => Some(hash.clone()),
            Reading::Absent => None,
            Reading::Unreadable(failure) if copy.is_none() => {
                self.unreadable(failure);
                return None;
            }
            Reading::Unreadable(_) => None,
        };
        let Some(pinned) = &spec.program_sha256 else {
            if on_box.is_none() && copy.is_none() {
                let text = "cloudflared is not installed on this box: install its package (`apt install cloudflared`, from \
                            Cloudflare's own sources)";
                self.note(NoteKind::Waiting, "cloudflared_missing", text.to_owned());
            }
            return on_box.or(copy);
        };
        if [&on_box, &copy].into_iter().flatten().any(|hash| hash == pinned) {
            return Some(pinned.clone());
        }
        let has = on_box.as_ref().map_or("none", Sha256Hex::short);
        let text = format!(
            "the document wants the cloudflared with the SHA-256 {}…, and this box has {has}: install that version's package",
            pinned.short()
        );
        self.note(NoteKind::Waiting, "cloudflared_differs", text);
        None
    }

    /// Whether this very change was taken back, and not long ago.
    fn must_wait(&mut self, wanted: Option<&Wanted>, seen: &SeenTunnel, now: Timestamp) -> bool {
        let Some(attempt) = &seen.attempt else { return false };
        if attempt.tried.as_ref() != wanted || attempt.again().is_over(now) {
            return false;
        }
        let text = format!(
            "the change was tried and taken back: {}. Next try at {:.0}, or when the document says something else of the tunnel",
            attempt.why, attempt.next_try
        );
        self.note(NoteKind::Waiting, "tunnel_reverted", text);
        self.outcome = Outcome::Failed;
        true
    }

    fn note(&mut self, kind: NoteKind, code: &str, text: String) {
        self.notes.push(Note { kind, code: code.to_owned(), text });
    }

    fn refuse(&mut self, code: &str, text: String) {
        self.steps.clear();
        self.note(NoteKind::Refused, code, text);
    }

    fn unreadable(&mut self, failure: &Failure) {
        self.outcome = Outcome::Unreadable;
        self.readiness = TunnelReadiness::Unknown;
        self.note(NoteKind::Refused, &failure.code, failure.text.clone());
    }

    /// Whether what is to be done interrupts a tunnel that runs.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        let change = |step: &TunnelStep| matches!(step, TunnelStep::TryTunnel(_) | TunnelStep::StopTunnel);
        self.installed.is_some() && self.steps.iter().any(change)
    }

    /// Whether what is to be done ends a trial: that is not put off.
    #[must_use]
    pub fn ends_trial(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, TunnelStep::KeepTunnel | TunnelStep::RevertTunnel(_)))
    }

    /// Takes back steps that may not run now, and says why.
    pub fn wait(&mut self, code: &str, text: String, outcome: Outcome) {
        self.steps.clear();
        self.note(NoteKind::Waiting, code, text);
        self.outcome = outcome;
    }
}
