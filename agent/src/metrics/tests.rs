use std::process::{Command, Stdio};

use felhom_shared::id::{Generation, GuestId, HostId, NodeName, Vmid};
use felhom_shared::report::{CycleCost, GenerationState, GuestReport, Note, Observed, StepReport};

use super::*;

fn node() -> NodeState {
    NodeState::Present { node: NodeName::new("pve1").unwrap(), pve_version: "9.0.3".to_owned() }
}

fn guest(outcome: Outcome, steps: &[StepOutcome]) -> GuestReport {
    let step = |outcome: &StepOutcome| StepReport {
        step: "start_guest".to_owned(),
        detail: "secret-looking".to_owned(),
        class: felhom_shared::report::Class::Routine,
        outcome: *outcome,
        upid: None,
        error: None,
    };
    GuestReport {
        guest_id: GuestId(uuid::Uuid::nil()),
        vmid: Vmid::new(101).unwrap(),
        kind: felhom_shared::desired::GuestKind::Lxc,
        name: "kovacs-web".to_owned(),
        outcome,
        observed: Observed::Unreadable,
        steps: steps.iter().map(step).collect(),
        notes: vec![Note { kind: NoteKind::Held, code: "x".to_owned(), text: "y".to_owned() }],
    }
}

fn end(node: NodeState, guests: Vec<GuestReport>) -> CycleEnd {
    let state = HostState {
        host_id: HostId(uuid::Uuid::nil()),
        agent_version: "0".to_owned(),
        generation: GenerationState {
            received: Some(Generation(7)),
            reached: Some(Generation(6)),
            ..GenerationState::default()
        },
        node,
        guests,
        unmanaged: Vec::new(),
        storage: Vec::new(),
        drives: Vec::new(),
        tunnel: None,
        journal_open: 2,
        ops: felhom_shared::report::OpsState::default(),
    };
    CycleEnd {
        state,
        cost: CycleCost { duration_ms: 1250, ..CycleCost::default() },
        tunnel_connections: None,
    }
}

/// What node-exporter would read after these cycles.
fn after(cycles: Vec<CycleEnd>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("felhom-agent.prom");
    let mut textfile = Textfile::new(path.clone());
    textfile.heard();
    textfile.refused();
    for end in cycles {
        textfile.cycle_ended(end, false, Duration::from_secs(60));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    fs::read_to_string(path).unwrap()
}

fn eventful() -> String {
    let away = NodeState::Unreadable { code: "pve_unreachable".to_owned(), text: "refused".to_owned() };
    let failed =
        guest(Outcome::Failed, &[StepOutcome::Applied, StepOutcome::Failed, StepOutcome::NotAttempted]);
    let last =
        CycleEnd { tunnel_connections: Some(4), ..end(node(), vec![failed, guest(Outcome::Held, &[])]) };
    after(vec![end(away, Vec::new()), last])
}

#[test]
fn the_numbers_say_what_happened_and_name_nobody() {
    let text = eventful();
    for line in [
        "last_cycle_duration_seconds 1.25",
        "last_cycle_success 0",
        "cycles_total{result=\"unreadable\"} 1",
        "cycles_total{result=\"failed\"} 1",
        "cycles_total{result=\"ok\"} 0",
        "cycle_interval_seconds 60",
        "desired_generation 7",
        "reached_generation 6",
        "guests{outcome=\"failed\"} 1",
        "guests{outcome=\"held\"} 1",
        "guests{outcome=\"converged\"} 0",
        "held_steps 2",
        "steps_total{outcome=\"applied\"} 1",
        "steps_total{outcome=\"failed\"} 1",
        "refused_documents_total 1",
        "document_refused 0",
        "pve_reachable 1",
        "journal_open_entries 2",
        "tunnel_connections 4",
        "paused 0",
    ] {
        assert!(
            text.lines().any(|shown| shown.strip_prefix("felhom_agent_") == Some(line)),
            "{line} in\n{text}"
        );
    }
    for name in ["kovacs", "secret", "pve1", "101", "9.0.3"] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
}

#[test]
fn a_folder_that_is_not_there_stops_nothing() {
    let mut textfile = Textfile::new("/nonexistent/felhom-agent.prom".into());
    textfile.cycle_ended(end(node(), Vec::new()), true, Duration::from_secs(60));
    assert!(!textfile.well);
}

#[test]
fn the_words_are_those_of_the_report() {
    let cut_off = serde_json::to_string(&(StepOutcome::AlreadyTrue, Outcome::Unreadable)).unwrap();
    let words = [step_word(StepOutcome::AlreadyTrue), Outcome::Unreadable.word()];
    assert_eq!(cut_off, serde_json::to_string(&words).unwrap());
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let docs = include_str!("../../../docs/metrics.md");
    let shown = eventful();
    let shown: Vec<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let row = |line: &'static str| line.strip_prefix("| `")?.split(['`', '{']).next();
    let documented: Vec<&str> =
        docs.lines().filter_map(row).filter(|name| name.starts_with("felhom_agent_")).collect();
    assert_eq!(
        documented, shown,
        "docs/metrics.md and src/metrics.rs have the same metrics in the same order"
    );
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    if std::env::var("FELHOM_NO_PROMTOOL").is_ok_and(|word| word == "1") {
        println!("FELHOM_NO_PROMTOOL=1: skipped, the names were not checked");
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}; FELHOM_NO_PROMTOOL=1 skips this test"));
    promtool.stdin.take().unwrap().write_all(eventful().as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && text.is_empty(), "{}", String::from_utf8_lossy(&text));
}
