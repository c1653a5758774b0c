//! The tunnel under real systemd: its unit with its sandbox on, its token as a credential, and the way back from a change that
//! does not connect.

use std::time::{Duration, Instant};

use felhom_machine::{House, Machine, Tunnel};
use felhom_shared::desired::{Presence, TunnelSpec};
use felhom_shared::id::Sha256Hex;
use felhom_shared::report::{TunnelReadiness, TunnelReport};

const WITHIN: Duration = Duration::from_secs(90);
const CONVERGES: Duration = Duration::from_secs(120);

#[track_caller]
fn once(machine: &Machine, what: &str, so: impl Fn(&TunnelReport) -> bool) -> TunnelReport {
    let deadline = Instant::now() + WITHIN;
    loop {
        let report = Tunnel::told(machine);
        if let Some(report) = report.clone().filter(|report| so(report)) {
            return report;
        }
        assert!(Instant::now() < deadline, "waited {WITHIN:?} in vain: {what}; told is {report:#?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn runs_with(report: &TunnelReport, word: &str) -> bool {
    report.readiness == TunnelReadiness::Connected
        && !report.on_trial
        && report.token_sha256 == Some(Sha256Hex::of(Tunnel::token(word).as_bytes()))
}

fn tells(report: &TunnelReport, code: &str) -> bool {
    report.notes.iter().any(|note| note.code == code)
}

/// Wherever an operator, a customer or a program of another user could find it.
fn is_nowhere(machine: &Machine, word: &str) {
    let token = Tunnel::token(word);
    machine.put("/root/pattern", &format!("{token}\n"));
    let found = machine.try_sh(
        "exec 2>/dev/null
        for pid in /proc/[0-9]*; do
            tr '\\0' '\\n' < $pid/cmdline | grep -qFf /root/pattern && echo $pid/cmdline
            tr '\\0' '\\n' < $pid/environ | grep -qFf /root/pattern && echo $pid/environ
        done
        journalctl --no-pager -o export | grep -aqFf /root/pattern && echo journal
        systemctl show felhom-tunnel | grep -qFf /root/pattern && echo systemd
        grep -rlaFf /root/pattern /etc /var/lib /var/log /tmp --exclude-dir=credentials
        true",
    );
    assert_eq!(found.out.trim(), "/var/lib/felhom-tunnel/current/token", "the token of {word}");
    let mode = machine.sh("stat -c '%a %U' /var/lib/felhom-tunnel/current/token");
    assert_eq!(mode.trim(), "600 root");
}

#[test]
fn a_tunnel_comes_up_under_its_unit_and_a_change_that_does_not_connect_is_taken_back() {
    let machine = Machine::container("tunnel");
    let house = House::by_the_guide(&machine);
    house.hurry();
    let tunnel = Tunnel::on(&house, &["revoked"]);
    tunnel.desire("one", 60);
    house.converges(CONVERGES);
    once(&machine, "it is connected", |report| runs_with(report, "one"));
    assert_eq!(
        machine.sh("systemctl is-active felhom-tunnel && systemctl is-enabled felhom-tunnel"),
        "active\nenabled\n"
    );
    let user = machine.sh("ps -o user= -p $(systemctl show -P MainPID felhom-tunnel)");
    assert!(!user.trim().is_empty() && user.trim() != "root", "it runs as {user}");
    is_nowhere(&machine, "one");

    // What dies is started again by systemd, and nothing is taken back for it.
    machine.sh("systemctl kill -s KILL felhom-tunnel");
    once(&machine, "it is down", |report| report.readiness == TunnelReadiness::Down);
    once(&machine, "it is back", |report| runs_with(report, "one"));

    // A token that Cloudflare refuses; and the agent is killed while it is tried.
    tunnel.desire("revoked", 15);
    once(&machine, "it is tried", |report| report.on_trial);
    machine.sh("systemctl kill -s KILL felhom-agent; sleep 1; systemctl restart felhom-agent");
    let begun = Instant::now();
    once(&machine, "the old one is back", |report| {
        runs_with(report, "one") && tells(report, "tunnel_reverted")
    });
    println!("back {:?} after the agent was started anew, of which 15 s are the window", begun.elapsed());
    is_nowhere(&machine, "one");

    // A version that does not connect, and the one after it.
    tunnel.desire("two", 15);
    once(&machine, "another token", |report| runs_with(report, "two"));
    tunnel.install("2026.12.0-broken");
    once(&machine, "the new version is tried", |report| report.on_trial);
    once(&machine, "the old version is back", |report| {
        runs_with(report, "two") && report.version.as_deref() == Some("2026.11.0")
    });
    tunnel.install("2026.12.1");
    once(&machine, "the next version is kept", |report| {
        runs_with(report, "two") && report.version.as_deref() == Some("2026.12.1")
    });

    tunnel.publish(TunnelSpec {
        presence: Presence::Absent,
        token: None,
        program_sha256: None,
        revert_after_s: 60,
    });
    once(&machine, "it is gone", |report| report.readiness == TunnelReadiness::Absent && !report.on_trial);
    assert_eq!(
        machine.sh(
            "ls /var/lib/felhom-tunnel; systemctl list-unit-files --no-legend felhom-tunnel.service || true"
        ),
        ""
    );
}
