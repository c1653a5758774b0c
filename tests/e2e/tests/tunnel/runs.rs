//! A tunnel that runs: it stays as it is, its token stays where it is, and what others do is told or put right.

use std::fs;
use std::path::Path;
use std::time::Duration;

use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{Outcome, TunnelReadiness};
use felhom_tests::{House, document};

use crate::{codes, publish, running, steps, token, tunnel};

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
fn without_its_cloudflared_the_box_says_what_to_install() {
    let house = House::new().with_tunnel();
    fs::remove_file(house.control().host_root().join("usr/bin/cloudflared")).unwrap();
    let mut agent = house.agent();
    publish(&mut agent, &token("one").text());
    let end = agent.cycle();
    assert_eq!((codes(&end), tunnel(&end).outcome), (vec!["cloudflared_missing"], Some(Outcome::Waiting)));
    assert!(tunnel(&end).notes[0].text.contains("apt install cloudflared"));
}
