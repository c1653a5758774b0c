//! The tunnel comes up, is changed, and what was there before comes back where a change does not connect: the real cycle, the
//! real `felhom-host`, the real unit, a double of cloudflared and of what it connects to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use fake_pve::Fault;
use fake_pve::cloudflared::TunnelToken;
use felhom_agent::cycle::CycleEnd;
use felhom_agent::state::Boundary;
use felhom_shared::desired::{DesiredState, Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{NodeState, Outcome, StepOutcome, TunnelReadiness, TunnelReport};
use felhom_shared::secret::{SecretName, SecretRef};
use felhom_tests::tunnel_unit::install_cloudflared;
use felhom_tests::{Agent, House, Killed, document, lxc};

const TUNNEL: &str = "7a0e0001-0000-4000-8000-000000000001";
/// Longer than any window of these tests.
const LONG: Duration = Duration::from_secs(61);

/// A token with the secret that follows from this word.
fn token(word: &str) -> TunnelToken {
    TunnelToken::new(TUNNEL, word)
}

/// What looks like a token, and cloudflared does not take.
fn no_token() -> String {
    TunnelToken { t: "no-tunnel".to_owned(), ..token("none") }.text()
}

fn spec(text: &str) -> TunnelSpec {
    TunnelSpec {
        presence: Presence::Present,
        token: Some(SecretRef {
            secret: SecretName::new("tunnel-token").unwrap(),
            sha256: Sha256Hex::of(text.as_bytes()),
        }),
        program_sha256: None,
        revert_after_s: 60,
    }
}

fn desired(tunnel: TunnelSpec) -> DesiredState {
    DesiredState { tunnel: Some(tunnel), ..document([]) }
}

/// The document is published with this token, and the hub delivers both.
fn publish(agent: &mut Agent, text: &str) {
    agent.desire(&desired(spec(text)));
    agent.deliver("tunnel-token", text);
}

fn tunnel(end: &CycleEnd) -> &TunnelReport {
    end.state.tunnel.as_ref().unwrap()
}

fn steps(end: &CycleEnd) -> Vec<&str> {
    tunnel(end).steps.iter().map(|step| step.step.as_str()).collect()
}

fn codes(end: &CycleEnd) -> Vec<&str> {
    tunnel(end).notes.iter().map(|note| note.code.as_str()).collect()
}

/// A house whose tunnel runs with the token of this word.
fn running(word: &str) -> (House, Agent) {
    let house = House::new().with_tunnel();
    let mut agent = house.agent();
    publish(&mut agent, &token(word).text());
    agent.settle();
    (house, agent)
}

/// Runs cycles until the tunnel, as it was before, has connected again.
fn back(agent: &mut Agent) -> CycleEnd {
    agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Connected && !tunnel(end).on_trial)
}

fn installed(house: &House, name: &str) -> Option<Vec<u8>> {
    fs::read(house.control().host_root().join("var/lib/felhom-tunnel/current").join(name)).ok()
}

#[test]
fn a_tunnel_comes_up_and_the_next_cycle_changes_nothing() {
    let (house, mut agent) = running("one");
    let end = agent.cycle();
    let told = tunnel(&end);
    assert_eq!((told.readiness, told.outcome), (TunnelReadiness::Connected, Some(Outcome::Converged)));
    assert_eq!((told.version.as_deref(), end.tunnel_connections), (Some("2026.11.0"), Some(4)));
    assert_eq!(told.token_sha256, Some(Sha256Hex::of(token("one").text().as_bytes())));
    assert!(told.steps.is_empty() && told.notes.is_empty() && !told.on_trial, "{told:?}");
    let pid = house.tunnel().pid();
    // Neither does an agent that has just been started: the token is on the box and need not come again.
    drop(agent);
    let mut agent = house.agent();
    for _ in 0..3 {
        assert_eq!(agent.cycle().state.tunnel.unwrap(), *tunnel(&end));
    }
    assert_eq!((house.tunnel().pid(), house.tunnel().starts()), (pid, 1));
}

#[test]
fn the_token_is_in_one_file_that_root_alone_can_read_and_nowhere_else() {
    let (house, mut agent) = running("one");
    let (first, second) = (token("one").text(), token("two").text());
    publish(&mut agent, &second);
    let end = agent.settle();
    let report = serde_json::to_string(&end.state).unwrap();
    let pid = house.tunnel().pid().unwrap();
    let proc = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap();
    let (argv, environ) = (proc("cmdline"), proc("environ"));
    assert!(argv.windows(7).any(|part| part == b"--token"), "the unit's own command line");
    let root = house.control().host_root();
    let mut holding = files_with(&root, second.as_bytes());
    holding.extend(files_with(&house.state_dir(), second.as_bytes()));
    // What systemd hands to the unit is a copy, in memory.
    assert_eq!(
        holding,
        ["run/credentials/felhom-tunnel.service/token", "var/lib/felhom-tunnel/current/token"]
    );
    let mode = fs::metadata(root.join(&holding[1])).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    for secret in [&first, &second, &token("one").s, &token("two").s] {
        let secret = secret.as_bytes();
        assert!(![&argv[..], &environ, report.as_bytes()].iter().any(|text| contains(text, secret)));
        assert!(files_with(&house.state_dir(), secret).is_empty());
    }
    assert!(files_with(&root, first.as_bytes()).is_empty(), "the token that was replaced is gone");
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Files below a folder that hold this, by name.
fn files_with(folder: &Path, part: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && contains(&fs::read(&path).unwrap(), part) {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_new_token_is_tried_and_kept_once_it_connects() {
    let (house, mut agent) = running("one");
    publish(&mut agent, &token("two").text());
    let tried = agent.cycle();
    assert_eq!(steps(&tried)[0], "try_tunnel");
    let end = agent.settle();
    assert!(tunnel(&end).readiness == TunnelReadiness::Connected && !tunnel(&end).on_trial);
    assert_eq!(tunnel(&end).token_sha256, Some(Sha256Hex::of(token("two").text().as_bytes())));
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("two").s));
    assert_eq!(house.tunnel().starts(), 2);
}

#[test]
fn a_token_that_the_edge_refuses_is_taken_back_and_told() {
    let (house, mut agent) = running("one");
    house.tunnel().edge().refuse(&token("revoked").s);
    publish(&mut agent, &token("revoked").text());
    let waits = agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Unconnected);
    assert!(tunnel(&waits).on_trial && codes(&waits) == ["tunnel_on_trial"]);
    agent.clock_runs(LONG);
    let reverted = agent.cycle();
    assert_eq!(steps(&reverted), ["revert_tunnel"]);
    let detail = &tunnel(&reverted).steps[0].detail;
    assert!(detail.contains("no connection after 60 s"), "{detail}");
    let end = back(&mut agent);
    assert_eq!((codes(&end), tunnel(&end).outcome), (vec!["tunnel_reverted"], Some(Outcome::Failed)));
    assert_eq!(tunnel(&end).token_sha256, Some(Sha256Hex::of(token("one").text().as_bytes())));
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("one").s));
    // Not tried again under the same document, also by an agent that was started anew.
    drop(agent);
    let mut agent = house.agent();
    agent.deliver("tunnel-token", &token("revoked").text());
    assert_eq!((codes(&agent.cycle()), house.tunnel().starts()), (vec!["tunnel_reverted"], 3));
    // The operator has Cloudflare hand out another one.
    publish(&mut agent, &token("good").text());
    agent.settle();
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("good").s));
}

/// The tunnel needs no Proxmox, and its customer needs the tunnel.
#[test]
fn a_change_is_taken_back_also_while_proxmox_cannot_be_reached() {
    let (house, mut agent) = running("one");
    publish(&mut agent, &no_token());
    agent.settle_to(|end| tunnel(end).on_trial);
    drop(agent);
    house
        .control()
        .add_fault(Fault::on("GET", "*").always().refuse(595, "Errors during connection establishment"));
    let mut agent = house.agent();
    let end = agent.cycle();
    assert!(matches!(end.state.node, NodeState::Unreadable { .. }) && tunnel(&end).on_trial);
    agent.clock_runs(LONG);
    assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
    back(&mut agent);
}

#[test]
fn a_text_that_is_no_token_is_taken_back_with_what_cloudflared_ended_with() {
    let (house, mut agent) = running("one");
    publish(&mut agent, &no_token());
    agent.settle_to(|end| tunnel(end).on_trial && house.tunnel().pid().is_none());
    agent.clock_runs(LONG);
    let reverted = agent.cycle();
    let detail = &tunnel(&reverted).steps[0].detail;
    assert!(detail.contains("status 255") && detail.contains("is the token whole"), "{detail}");
    back(&mut agent);
    assert_eq!(installed(&house, "token").unwrap(), token("one").text().as_bytes());
}

/// That can be known without stopping anything.
#[test]
fn a_text_that_is_no_token_at_all_stops_nothing() {
    let (house, mut agent) = running("one");
    let cut = token("two").text();
    for text in ["not-a-token-at-all", &cut[..cut.len() - 7]] {
        publish(&mut agent, text);
        let end = agent.cycle();
        let failed = tunnel(&end).steps[0].error.as_ref().unwrap();
        assert_eq!(
            (failed.code.as_str(), tunnel(&end).readiness),
            ("tunnel_token_malformed", TunnelReadiness::Connected)
        );
    }
    assert_eq!(house.tunnel().starts(), 1);
    assert_eq!(fs::read_dir(house.control().host_root().join("var/lib/felhom-tunnel")).unwrap().count(), 1);
}

/// Nothing is stopped for it, and no half of a change is left.
#[test]
fn a_program_that_others_may_change_is_not_run() {
    let (house, mut agent) = running("one");
    let root = house.control().host_root();
    install_cloudflared(&root, "2026.12.0");
    let path = root.join("usr/bin/cloudflared");
    let unsafe_mode = std::os::unix::fs::PermissionsExt::from_mode(0o757);
    fs::set_permissions(&path, unsafe_mode).unwrap();
    let end = agent.cycle();
    assert_eq!(tunnel(&end).steps[0].error.as_ref().unwrap().code, "cloudflared_unsafe");
    assert_eq!((tunnel(&end).readiness, house.tunnel().starts()), (TunnelReadiness::Connected, 1));
    assert_eq!(fs::read_dir(root.join("var/lib/felhom-tunnel")).unwrap().count(), 1);
}

/// A change of the tunnel wants to be looked at often; guests that are being made take their time.
#[test]
fn a_change_is_tried_when_nothing_else_is_being_done() {
    let (house, agent) = running("one");
    drop(agent);
    let current = house.control().host_root().join("var/lib/felhom-tunnel/current");
    let mut agent = house.agent_with_probe(Rc::new(move |boundary| {
        assert!(
            boundary != Boundary::AfterTask || !current.join("trial").exists(),
            "a guest waits for its task"
        );
    }));
    let two = token("two").text();
    agent.desire(&DesiredState { guests: vec![lxc(101, "web")], ..desired(spec(&two)) });
    agent.deliver("tunnel-token", &two);
    let end = agent.settle();
    assert_eq!(tunnel(&end).token_sha256, Some(Sha256Hex::of(two.as_bytes())));
    assert!(house.runs(101));
}

#[test]
fn the_first_token_of_a_box_leaves_nothing_behind_where_it_does_not_connect() {
    let house = House::new().with_tunnel();
    let mut agent = house.agent();
    publish(&mut agent, &no_token());
    agent.settle_to(|end| tunnel(end).on_trial);
    agent.clock_runs(LONG);
    assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
    let end = agent.cycle();
    assert_eq!((tunnel(&end).readiness, codes(&end)), (TunnelReadiness::Absent, vec!["tunnel_reverted"]));
    let root = house.control().host_root();
    assert_eq!(fs::read_dir(root.join("var/lib/felhom-tunnel")).unwrap().count(), 0);
    assert!(!root.join("etc/systemd/system/felhom-tunnel.service").exists());
}

#[test]
fn a_cloudflared_that_does_not_connect_is_taken_back_and_the_next_version_is_tried() {
    let (house, mut agent) = running("one");
    let root = house.control().host_root();
    let good = installed(&house, "cloudflared");
    install_cloudflared(&root, "2026.12.0-broken");
    assert_eq!(steps(&agent.cycle()), ["try_tunnel"]);
    agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Unconnected);
    agent.clock_runs(LONG);
    assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
    let end = back(&mut agent);
    assert_eq!((tunnel(&end).version.as_deref(), codes(&end)), (Some("2026.11.0"), vec!["tunnel_reverted"]));
    assert_eq!(installed(&house, "cloudflared"), good);
    install_cloudflared(&root, "2026.12.1");
    assert_eq!(tunnel(&agent.settle()).version.as_deref(), Some("2026.12.1"));
}

#[test]
fn a_pinned_cloudflared_is_waited_for_and_another_one_is_not_run() {
    let (house, mut agent) = running("one");
    let root = house.control().host_root();
    install_cloudflared(&root, "2026.12.0");
    let newer = fs::read(root.join("usr/bin/cloudflared")).unwrap();
    install_cloudflared(&root, "2026.11.0");
    let pinned = TunnelSpec { program_sha256: Some(Sha256Hex::of(&newer)), ..spec(&token("one").text()) };
    agent.desire(&desired(pinned));
    assert_eq!(codes(&agent.cycle()), ["cloudflared_differs"]);
    assert_eq!(house.tunnel().starts(), 1);
    install_cloudflared(&root, "2026.12.0");
    assert_eq!(tunnel(&agent.settle()).version.as_deref(), Some("2026.12.0"));
    // The box goes ahead of the document: what is pinned goes on.
    install_cloudflared(&root, "2026.12.1");
    assert_eq!(tunnel(&agent.settle()).version.as_deref(), Some("2026.12.0"));
    assert_eq!(house.tunnel().starts(), 2);
}

#[test]
fn a_tunnel_of_somebody_else_is_told_and_left_alone() {
    let house = House::new().with_tunnel();
    let path = house.control().host_root().join("etc/systemd/system/cloudflared.service");
    let text = "[Service]\nExecStart=/usr/bin/cloudflared tunnel run --token eyJhIjoic2VjcmV0In0=\n";
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    let mut agent = house.agent();
    agent.desire(&document([]));
    let end = agent.cycle();
    let [foreign] = &tunnel(&end).foreign[..] else { panic!("one of somebody else") };
    assert!(foreign.unit == "cloudflared.service" && foreign.token_in_unit && foreign.updates_itself);
    assert!(!serde_json::to_string(&end.state).unwrap().contains("eyJhIjoic2VjcmV0In0"));
    // Ours runs beside it.
    publish(&mut agent, &token("one").text());
    agent.settle();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_unit_of_our_name_that_somebody_else_made_is_left_alone() {
    let house = House::new().with_tunnel();
    let path = house.control().host_root().join("etc/systemd/system/felhom-tunnel.service");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "[Service]\nExecStart=/bin/true\n").unwrap();
    let mut agent = house.agent();
    publish(&mut agent, &token("one").text());
    let end = agent.cycle();
    let failed = tunnel(&end).steps[0].error.as_ref().unwrap();
    assert_eq!((failed.code.as_str(), tunnel(&end).outcome), ("tunnel_unit_taken", Some(Outcome::Failed)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "[Service]\nExecStart=/bin/true\n");
}

#[test]
fn what_somebody_did_at_the_box_is_put_right() {
    let (house, mut agent) = running("one");
    // systemd starts what ends; what it was told to stop is started by the agent, if not at once.
    house.tunnel().end();
    assert_eq!(codes(&agent.cycle()), ["tunnel_down"]);
    agent.clock_runs(Duration::from_secs(121));
    assert_eq!(steps(&agent.settle_to(|end| !tunnel(end).steps.is_empty())), ["start_tunnel"]);
    agent.settle();
    let unit = house.control().host_root().join("etc/systemd/system/felhom-tunnel.service");
    let ours = fs::read_to_string(&unit).unwrap();
    // Not where the agent has written it within the hour: somebody else writes it as well.
    fs::write(&unit, "# Made by felhom-host, and changed").unwrap();
    assert_eq!(codes(&agent.settle_to(|end| !codes(end).is_empty())), ["tunnel_unit_differs"]);
    agent.clock_runs(Duration::from_secs(3601));
    fs::write(&unit, ours.replace("--no-autoupdate ", "")).unwrap();
    agent.settle();
    assert_eq!(fs::read_to_string(&unit).unwrap(), ours);
    fs::remove_file(&unit).unwrap();
    agent.clock_runs(Duration::from_secs(3601));
    agent.settle();
    assert_eq!(fs::read_to_string(&unit).unwrap(), ours);
}

/// A line that is down is no fault of the tunnel's: nothing is restarted, nothing taken back.
#[test]
fn a_line_that_is_down_is_told_and_nothing_is_done_about_it() {
    let (house, mut agent) = running("one");
    house.tunnel().edge().cut(true);
    let end = agent.settle_to(|end| tunnel(end).readiness == TunnelReadiness::Unconnected);
    assert_eq!((codes(&end), end.tunnel_connections), (vec!["tunnel_unconnected"], Some(0)));
    agent.clock_runs(Duration::from_secs(24 * 3600));
    assert!(steps(&agent.cycle()).is_empty());
    house.tunnel().edge().cut(false);
    agent.settle();
    assert_eq!(house.tunnel().starts(), 1);
}

#[test]
fn a_tunnel_is_stopped_for_good_only_where_the_hub_is_heard_without_it() {
    let absent = desired(TunnelSpec { presence: Presence::Absent, token: None, ..spec("") });
    for heard in [true, false] {
        let (house, mut agent) = running("one");
        agent.desire(&absent);
        assert_eq!(steps(&agent.cycle()), ["stop_tunnel"]);
        assert_eq!(codes(&agent.cycle()), ["tunnel_on_trial"]);
        assert_eq!(house.tunnel().pid(), None);
        if heard {
            agent.hear_hub();
            assert_eq!(tunnel(&agent.settle()).readiness, TunnelReadiness::Absent);
            assert_eq!(installed(&house, "token"), None);
            continue;
        }
        agent.clock_runs(LONG);
        assert_eq!(steps(&agent.cycle()), ["revert_tunnel"]);
        let end = back(&mut agent);
        assert_eq!((codes(&end), tunnel(&end).outcome), (vec!["tunnel_reverted"], Some(Outcome::Failed)));
    }
}

#[test]
fn a_secret_that_has_not_come_is_waited_for_while_the_old_tunnel_runs() {
    let (house, mut agent) = running("one");
    agent.desire(&desired(spec(&token("two").text())));
    assert_eq!(codes(&agent.cycle()), ["secret_missing"]);
    // One that is not the one that the document names.
    agent.deliver("tunnel-token", &token("another").text());
    assert_eq!(codes(&agent.cycle()), ["secret_missing"]);
    assert_eq!(house.tunnel().starts(), 1);
    agent.deliver("tunnel-token", &token("two").text());
    agent.settle();
    assert_eq!(house.tunnel().edge().admitted().last(), Some(&token("two").s));
}

#[test]
fn without_its_cloudflared_the_box_says_what_to_install() {
    let house = House::new().with_tunnel();
    fs::remove_file(house.control().host_root().join("usr/bin/cloudflared")).unwrap();
    let mut agent = house.agent();
    publish(&mut agent, &token("one").text());
    let end = agent.cycle();
    assert_eq!((codes(&end), tunnel(&end).outcome), (vec!["cloudflared_missing"], Some(Outcome::Waiting)));
    assert!(tunnel(&end).notes[0].text.contains("apt install cloudflared"));
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_another_token() {
    die_everywhere_on_the_way("another");
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_a_token_that_is_refused_and_back() {
    die_everywhere_on_the_way("refused");
}

#[test]
fn the_agent_may_die_anywhere_on_the_way_to_no_tunnel() {
    die_everywhere_on_the_way("none");
}

/// Killed at every boundary of its journal, the agent comes to the same end.
fn die_everywhere_on_the_way(way: &str) {
    let alive = (1..).find(|deadly| !dies_on_the_way(way, *deadly)).unwrap();
    assert!(alive > 8, "two steps have at least eight boundaries, and {alive} was not reached");
}

/// Whether the agent died of the `deadly`th boundary.
fn dies_on_the_way(way: &str, deadly: u32) -> bool {
    let (house, agent) = running("one");
    drop(agent);
    house.tunnel().edge().refuse(&token("refused").s);
    let count = Rc::new(std::cell::Cell::new(0));
    let mut agent = house.agent_with_probe(Rc::new(move |_| {
        count.set(count.get() + 1);
        if count.get() == deadly {
            Killed::now();
        }
    }));
    let text = token(way).text();
    let document = match way {
        "none" => desired(TunnelSpec { presence: Presence::Absent, token: None, ..spec("") }),
        _ => desired(spec(&text)),
    };
    agent.desire(&document);
    let mut died = false;
    let deliver = |agent: &mut Agent| {
        agent.deliver("tunnel-token", &text);
        agent.hear_hub();
    };
    deliver(&mut agent);
    let at_rest = |end: &CycleEnd| match way {
        "refused" => codes(end) == ["tunnel_reverted"] && tunnel(end).readiness == TunnelReadiness::Connected,
        _ => tunnel(end).outcome == Some(Outcome::Converged),
    };
    for _ in 0..60 {
        match agent.cycle_or_death() {
            None => {
                died = true;
                drop(agent);
                agent = house.agent();
                deliver(&mut agent);
            }
            Some(end) if at_rest(&end) => {
                let open = end.state.journal_open;
                let failed = tunnel(&end).steps.iter().any(|step| step.outcome == StepOutcome::Failed);
                assert!(open == 0 && !failed, "{way}, killed at {deadly}: {:?}", tunnel(&end));
                let folder = house.control().host_root().join("var/lib/felhom-tunnel");
                assert!(fs::read_dir(folder).unwrap().count() <= 1, "{way}, killed at {deadly}");
                return died;
            }
            Some(end) => {
                if way == "refused" && tunnel(&end).readiness == TunnelReadiness::Unconnected {
                    agent.clock_runs(LONG);
                }
                if way == "none" {
                    agent.hear_hub();
                }
                std::thread::sleep(Duration::from_millis(20));
                agent.time_passes();
            }
        }
    }
    panic!("{way}, killed at {deadly}: it does not come to rest");
}
