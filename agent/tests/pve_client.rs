//! The PVE client against a whole node: what the byte-level tests beside the transport cannot show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use fake_pve::{FakePve, Fault, Kind, Options};
use felhom_agent::pve::{
    ApiToken, ConfigChange, GuestAt, Pve, PveError, RefusedCause, TaskExit, TaskFilter, TaskStatus,
};
use felhom_agent::tls::{PinSource, client_config};
use felhom_shared::desired::GuestKind;
use felhom_shared::id::{NodeName, Vmid};
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(10);

fn client(fake: &FakePve, token: &str) -> Pve {
    let tls = client_config(PinSource::CertificateFile(fake.cert_path())).unwrap();
    Pve::new(&fake.base_url(), &ApiToken::new(token).unwrap(), tls, TIMEOUT).unwrap()
}

/// A node with the customer's container 101.
fn start(options: Options) -> (FakePve, Pve, NodeName) {
    let fake = FakePve::start(options).unwrap();
    fake.control().create_guest(101, Kind::Lxc, "web").unwrap();
    let pve = client(&fake, fake.token());
    (fake, pve, NodeName::new("pve1").unwrap())
}

fn web(node: &NodeName) -> GuestAt<'_> {
    GuestAt { node, kind: GuestKind::Lxc, vmid: Vmid::new(101).unwrap() }
}

fn memory(mib: &str) -> ConfigChange {
    ConfigChange { set: BTreeMap::from([("memory".to_owned(), mib.to_owned())]), ..ConfigChange::default() }
}

#[tokio::test]
async fn a_595_leaves_a_change_unknown_and_a_reading_unreachable() {
    let (fake, pve, node) = start(Options::default());
    fake.control().add_fault(Fault::on("POST", "*").always().refuse(595, "Connection refused"));
    let started = pve.start(web(&node)).await.unwrap_err();
    assert!(started.is_outcome_unknown(), "{started}");
    fake.control().clear_faults();
    fake.control().add_fault(Fault::on("GET", "*").always().refuse(595, "Connection refused"));
    let listed = pve.guests(&node, GuestKind::Lxc).await.unwrap_err();
    assert!(matches!(listed, PveError::Unreachable { .. }) && listed.is_transient(), "{listed}");
}

#[tokio::test]
async fn a_reading_that_fails_in_passing_is_repeated_and_a_change_never() {
    let (fake, pve, node) = start(Options::default());
    fake.control().add_fault(Fault::on("GET", "*").refuse(595, "Connection refused"));
    pve.guests(&node, GuestKind::Lxc).await.unwrap();
    fake.control().reset_requests();
    fake.control().add_fault(Fault::on("PUT", "*").close_before());
    assert!(pve.set_config(web(&node), &memory("256")).await.unwrap_err().is_outcome_unknown());
    assert_eq!(fake.control().counters().changing, 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_fails_no_call() {
    let keep_alive = Duration::from_millis(30);
    let (fake, pve, node) = start(Options { keep_alive, ..Options::default() });
    for mib in ["64", "128", "256"] {
        pve.set_config(web(&node), &memory(mib)).await.unwrap();
        tokio::time::sleep(keep_alive * 3).await;
        pve.guests(&node, GuestKind::Lxc).await.unwrap();
        tokio::time::sleep(keep_alive * 3).await;
    }
    assert_eq!(fake.control().counters().changing, 3);
}

#[tokio::test]
async fn a_500_after_the_change_says_that_it_may_have_applied() {
    let (fake, pve, node) = start(Options::default());
    fake.control().add_fault(Fault::on("PUT", "*/config").apply_then(500, "close (rename) failed"));
    let error = pve.set_config(web(&node), &memory("256")).await.unwrap_err();
    assert!(error.may_have_applied() && !error.is_outcome_unknown(), "{error}");
    assert_eq!(pve.guest_config(web(&node), true).await.unwrap().values["memory"], "256");
}

#[tokio::test]
async fn a_lock_says_that_nothing_was_done() {
    let (fake, pve, node) = start(Options::default());
    fake.control().set_lock(101, Some("backup")).unwrap();
    let error = pve.set_config(web(&node), &memory("256")).await.unwrap_err();
    let PveError::Refused { cause: RefusedCause::Locked { lock }, .. } = &error else { panic!("{error}") };
    assert_eq!(lock, "backup");
    assert!(!error.may_have_applied());
}

#[tokio::test]
async fn a_stale_digest_is_refused_and_nothing_is_written() {
    let (fake, pve, node) = start(Options::default());
    let read = pve.guest_config(web(&node), true).await.unwrap();
    fake.control().edit_config(101, "cores", Some("3")).unwrap();
    let change = ConfigChange { digest: Some(read.digest), ..memory("256") };
    let error = pve.set_config(web(&node), &change).await.unwrap_err();
    assert!(matches!(error, PveError::Refused { cause: RefusedCause::DigestMismatch, .. }), "{error}");
    assert_eq!(fake.control().snapshot().guests[&101].config["memory"], "512");
}

#[tokio::test]
async fn a_renewed_certificate_is_read_again() {
    let (fake, pve, node) = start(Options::default());
    for _ in 0..2 {
        fake.control().renew_certificate().unwrap();
        pve.guests(&node, GuestKind::Lxc).await.unwrap();
    }
}

#[tokio::test]
async fn the_reason_of_a_401_is_shown() {
    let (fake, _, node) = start(Options::default());
    let stranger = client(&fake, "felhom@pve!agent=00000000-0000-4000-8000-000000000000");
    let error = stranger.guests(&node, GuestKind::Lxc).await.unwrap_err();
    let PveError::Unauthorized { reason } = &error else { panic!("{error}") };
    assert_eq!(reason, "Authentication failed!", "PVE says it in the status line only");
    assert!(!error.to_string().contains("00000000-0000"), "the secret is shown");
}

#[tokio::test]
async fn bodies_have_a_length_even_when_there_is_nothing_in_them() {
    let (fake, pve, node) = start(Options::default());
    let upid = pve.start(web(&node)).await.unwrap();
    let ended = pve.wait_task(&node, &upid, Instant::now() + TIMEOUT).await.unwrap();
    assert_eq!(ended, TaskStatus::Stopped(TaskExit::Ok));
    pve.set_config(web(&node), &memory("256")).await.unwrap();
    pve.shutdown(web(&node), 10, false).await.unwrap();
    let statuses: Vec<u16> = fake.control().requests().iter().map(|request| request.status).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}: 501 is pveproxy's answer to chunks");
}

#[tokio::test]
async fn a_killed_task_ends_unknown_and_a_failed_one_with_its_reason() {
    let (fake, pve, node) = start(Options::default());
    let fates = [
        (Fault::on("POST", "*/start").task_dies(), TaskExit::Unknown("unexpected status".to_owned())),
        (Fault::on("POST", "*/start").task_fails("no space"), TaskExit::Failed("no space".to_owned())),
    ];
    for (fault, expected) in fates {
        fake.control().add_fault(fault);
        let upid = pve.start(web(&node)).await.unwrap();
        let ended = pve.wait_task(&node, &upid, Instant::now() + TIMEOUT).await.unwrap();
        assert_eq!(ended, TaskStatus::Stopped(expected));
    }
}

#[tokio::test]
async fn waiting_for_a_task_outlives_a_restart_of_the_proxy_and_ends_at_the_deadline() {
    let (fake, pve, node) = start(Options { task_time: Duration::from_millis(300), ..Options::default() });
    let upid = pve.start(web(&node)).await.unwrap();
    let early = pve.wait_task(&node, &upid, Instant::now() + Duration::from_millis(50)).await.unwrap();
    assert_eq!(early, TaskStatus::Running);
    fake.control().restart();
    let ended = pve.wait_task(&node, &upid, Instant::now() + TIMEOUT).await.unwrap();
    assert_eq!(ended, TaskStatus::Stopped(TaskExit::Ok));
    let listed = pve.tasks(&node, &TaskFilter { vmid: Some(web(&node).vmid), ..TaskFilter::default() }).await;
    assert_eq!(listed.unwrap()[0].upid, upid);
}
