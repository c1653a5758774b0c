//! The agent is killed, and PVE's task meanwhile runs on, fails, is killed, or goes down with the host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;
use std::time::Duration;

use fake_pve::{Fault, Options};
use felhom_agent::state::Boundary;
use felhom_shared::desired::{DesiredState, Power};
use felhom_shared::report::Outcome;
use felhom_tests::{House, Killed, Told, document, lxc, qemu};

const VMID: u32 = 101;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    RunsOn,
    Fails,
    IsKilled,
    PowerCut,
}

/// A step, the document before and after it, and the request by which PVE hears of it.
struct Case {
    name: &'static str,
    before: Option<DesiredState>,
    desired: DesiredState,
    request: (&'static str, &'static str),
    /// A lost task leaves a lock that only a person may clear.
    leaves_a_lock: bool,
}

fn cases() -> Vec<Case> {
    let stopped = |power| {
        let mut spec = qemu(VMID, "mail");
        spec.power = power;
        spec
    };
    let mut larger = stopped(Power::Stopped);
    larger.disks.values_mut().for_each(|disk| disk.size_gib = 9);
    let mut richer = stopped(Power::Stopped);
    richer.memory_mib = 4096;
    let before = || Some(document([stopped(Power::Stopped)]));
    let case = |name, before, spec, request, leaves_a_lock| Case {
        name,
        before,
        desired: document([spec]),
        request,
        leaves_a_lock,
    };
    vec![
        case("create", None, lxc(VMID, "web"), ("POST", "/nodes/pve1/lxc"), true),
        case("clone", None, qemu(VMID, "mail"), ("POST", "/nodes/pve1/qemu/9000/clone"), true),
        case("configure", before(), richer, ("POST", "/nodes/pve1/qemu/101/config"), false),
        case("grow", before(), larger, ("PUT", "/nodes/pve1/qemu/101/resize"), false),
        case(
            "start",
            before(),
            stopped(Power::Running),
            ("POST", "/nodes/pve1/qemu/101/status/start"),
            false,
        ),
    ]
}

fn run(case: &Case, fate: Fate, boundary: Boundary) {
    let what = format!("{} / {fate:?} / {boundary:?}", case.name);
    let house = House::with(Options { task_time: Duration::from_millis(5), ..Options::default() });
    let control = house.control();
    if let Some(before) = &case.before {
        let mut agent = house.agent();
        agent.desire(before);
        agent.settle();
    }
    control.reset_requests();
    // A power cut must find the task running also on a machine that is busy.
    let longer = if fate == Fate::PowerCut { 600 } else { 120 };
    control.set_task_time(Duration::from_millis(longer));
    let (method, path) = case.request;
    match fate {
        Fate::Fails => drop(control.add_fault(Fault::on(method, path).task_fails("no space left on device"))),
        Fate::IsKilled => drop(control.add_fault(Fault::on(method, path).task_dies())),
        Fate::RunsOn | Fate::PowerCut => {}
    }
    let asked = house.control();
    let mut agent = house.agent_with_probe(Rc::new(move |here| {
        let heard =
            || asked.requests().iter().any(|request| request.method == method && request.path == path);
        if here == boundary && heard() {
            Killed::now();
        }
    }));
    agent.desire(&case.desired);
    assert!(agent.cycle_or_death().is_none(), "{what}: nobody was killed");
    drop(agent);
    if fate == Fate::PowerCut {
        control.reboot_host();
    }
    control.set_task_time(Duration::from_millis(5));

    let mut agent = house.agent();
    if case.leaves_a_lock && matches!(fate, Fate::IsKilled | Fate::PowerCut) {
        assert!(control.wait_idle(Duration::from_secs(10)), "{what}: the task does not end");
        for _ in 0..3 {
            let end = agent.cycle();
            assert!(
                matches!(end.outcome(VMID), Outcome::Refused | Outcome::Waiting),
                "{what}: {:?}",
                end.guest(VMID)
            );
            agent.time_passes();
        }
        assert_eq!(house.changes().len(), 1, "{what}: a lost step was replayed");
        house.is_tidy();
        control.destroy_guest(VMID).unwrap();
    }
    let end = agent.settle();
    assert_eq!(end.state.journal_open, 0, "{what}: an entry was left open");
    house.obeys(&case.desired);
    if fate == Fate::RunsOn {
        let sent =
            house.changes().iter().filter(|request| request.method == method && request.path == path).count();
        assert_eq!(sent, 1, "{what}: the running task was not adopted");
    }
}

#[test]
fn a_task_that_runs_on_is_adopted_and_not_repeated() {
    for case in cases() {
        for boundary in [Boundary::AfterCall, Boundary::AfterTask] {
            run(&case, Fate::RunsOn, boundary);
        }
    }
}

#[test]
fn a_task_that_failed_meanwhile_is_done_again() {
    for case in cases() {
        for boundary in [Boundary::AfterCall, Boundary::AfterTask] {
            run(&case, Fate::Fails, boundary);
        }
    }
}

#[test]
fn a_task_killed_meanwhile_leads_to_a_look_and_never_to_a_replay() {
    for case in cases() {
        for boundary in [Boundary::AfterCall, Boundary::AfterTask] {
            run(&case, Fate::IsKilled, boundary);
        }
    }
}

#[test]
fn a_power_cut_in_the_middle_of_a_step_is_survived() {
    for case in cases() {
        for boundary in [Boundary::AfterCall, Boundary::AfterTask] {
            run(&case, Fate::PowerCut, boundary);
        }
    }
}
