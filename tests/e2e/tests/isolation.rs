//! `one_bad_item_blocks_only_its_dependants`, and what waits, waits alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fake_pve::{Fault, Options};
use felhom_agent::state::Boundary;
use felhom_agent::tls::{PinSource, client_config, spki_pin_of_pem};
use felhom_shared::report::{Outcome, StepOutcome};
use felhom_tests::{House, Killed, Told, always_open, clone_of, document, lxc, qemu, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn one_bad_item_blocks_only_its_dependants() {
    let mut bad = lxc(102, "bad");
    bad.disks.values_mut().for_each(|disk| disk.storage = "nosuch".parse().unwrap());
    // A copy of the bad one can only fail as well; everything else does not care.
    let copy = clone_of(102, lxc(104, "copy-of-bad"));
    let desired = document([lxc(101, "web"), bad, copy, qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    let end = agent.cycle();
    assert_eq!((end.outcome(101), end.outcome(110)), (Outcome::Converged, Outcome::Converged));
    assert_eq!((end.outcome(102), end.outcome(104)), (Outcome::Failed, Outcome::Failed));
    let steps: Vec<StepOutcome> = end.guest(102).steps.iter().map(|step| step.outcome).collect();
    assert_eq!(steps, [StepOutcome::Failed, StepOutcome::NotAttempted], "start waits for create");
    assert_eq!(end.state.generation.reached, None, "it is not reached while an item is not");
    assert!(house.runs(101) && house.runs(110));
}

#[test]
fn a_failed_guest_waits_longer_each_time_and_is_not_hammered() {
    let house = House::new();
    house.control().add_fault(Fault::on("POST", "/nodes/pve1/lxc").always().refuse(500, "no"));
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    for _ in 0..5 {
        let end = agent.cycle();
        assert_eq!(end.outcome(101), Outcome::Failed);
        assert!(end.guest(101).notes.iter().any(|note| note.text.contains("next try at")));
    }
    assert_eq!(house.changes_to("POST", "/lxc"), 1);
}

#[test]
fn a_hung_task_does_not_block_other_guests() {
    let (hung, others) = ("/nodes/pve1/lxc/101/status/start", [102, 103, 104, 105, 106]);
    let house = House::new();
    house.control().add_fault(Fault::on("POST", hung).task_hangs());
    let desired = document(std::iter::once(101).chain(others).map(|vmid| lxc(vmid, &format!("g{vmid}"))));
    let control = house.control();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut agent = house.agent();
            agent.desire(&desired);
            agent.settle();
        });
        wait_until("the others run beside the hung start", PATIENCE, || {
            others.iter().all(|vmid| house.runs(*vmid))
        });
        assert!(!house.runs(101));
        // A person stops the task; the agent's next look starts the guest.
        let stuck = control.snapshot().tasks.into_iter().find(|task| task.endtime.is_none()).unwrap();
        stop_task(&house, &stuck.upid);
    });
    house.obeys(&desired);
}

#[test]
fn a_task_left_hanging_by_a_killed_agent_keeps_no_other_guest_waiting() {
    let house = House::new();
    house.control().add_fault(Fault::on("POST", "/nodes/pve1/lxc/101/status/start").task_hangs());
    let mut agent = house.agent_with_probe(Rc::new({
        let control = house.control();
        move |here| {
            let asked =
                || control.requests().iter().any(|request| request.path.ends_with("/101/status/start"));
            if here == Boundary::AfterTask && asked() {
                Killed::now();
            }
        }
    }));
    agent.desire(&document([lxc(101, "web")]));
    assert!(agent.cycle_or_death().is_none());
    drop(agent);

    let (mut agent, begun) = (house.agent(), Instant::now());
    agent.desire(&document([lxc(101, "web"), lxc(102, "files")]));
    let end = agent.cycle();
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited {:?}", begun.elapsed());
    assert_eq!(end.outcome(102), Outcome::Converged);
    assert_ne!(end.outcome(101), Outcome::Converged);
    assert_eq!(house.changes_to("POST", "/101/status/start"), 1, "the hanging start is not sent again");
    let stuck = house.control().snapshot().tasks.into_iter().find(|task| task.endtime.is_none()).unwrap();
    stop_task(&house, &stuck.upid);
}

/// Ends a task as a person would, in PVE's task list.
fn stop_task(house: &House, upid: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let certificate = std::fs::read(house.node().cert_path()).unwrap();
    let pin = spki_pin_of_pem(&certificate).unwrap();
    let tls = client_config(PinSource::SpkiPins(vec![pin])).unwrap();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
    let url = format!("{}/api2/json/nodes/pve1/tasks/{upid}", house.node().base_url());
    let request = client.delete(url).header("Authorization", format!("PVEAPIToken={}", house.node().token()));
    let status = runtime.block_on(async { request.send().await.unwrap().status() });
    assert!(status.is_success(), "{status}");
}

#[test]
fn six_guests_on_one_storage_are_allocated_one_after_another() {
    let house = House::with(Options { task_time: Duration::from_millis(60), ..Options::default() });
    let desired = document((101..=106).map(|vmid| lxc(vmid, &format!("g{vmid}"))));
    let (done, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let control = house.control();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let tasks = control.snapshot().tasks;
                let allocating =
                    tasks.iter().filter(|task| task.endtime.is_none() && task.kind == "vzcreate");
                most.fetch_max(allocating.count(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let mut agent = house.agent();
        agent.desire(&desired);
        let end = agent.cycle();
        done.store(true, Ordering::Relaxed);
        let failed =
            end.state.guests.iter().flat_map(|guest| &guest.steps).filter(|step| step.error.is_some());
        assert_eq!(failed.count(), 0, "no step failed, so none ran into PVE's storage lock");
    });
    assert_eq!(most.load(Ordering::Relaxed), 1, "creations at once on one storage");
    house.obeys(&desired);
}

#[test]
fn the_change_budget_holds_back_what_is_beyond_it() {
    let house = House::new().with_budget(3);
    let mut agent = house.agent();
    agent.desire(&document((101..=108).map(|vmid| lxc(vmid, &format!("g{vmid}")))));
    for _ in 0..4 {
        agent.cycle();
        agent.time_passes();
    }
    let end = agent.cycle();
    assert_eq!(house.changes_to("POST", "/lxc"), 3, "three guests an hour, restarted agent or not");
    assert_eq!(end.outcome(108), Outcome::Waiting);
    assert!(end.tells(108, "change_budget_spent"));
    drop(agent);
    house.agent().cycle();
    assert_eq!(house.changes_to("POST", "/lxc"), 3, "a restart gives no new budget");
}

#[test]
fn a_paused_host_is_observed_and_not_changed() {
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&document([lxc(101, "web")]));
    let end = agent.paused_cycle();
    assert!(end.tells(101, "host_paused"));
    assert!(house.changes().is_empty());
    agent.settle();
    assert!(house.runs(101));
}

#[test]
fn a_locked_guest_waits_and_is_changed_after_the_unlock() {
    let mut desired = document([lxc(101, "web"), lxc(102, "files")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    house.control().set_lock(101, Some("backup")).unwrap();
    house.control().reset_requests();
    desired.guests.iter_mut().for_each(|guest| guest.memory_mib = 1024);
    agent.desire(&desired);
    let end = agent.cycle();
    assert_eq!((end.outcome(101), end.outcome(102)), (Outcome::Waiting, Outcome::Converged));
    assert!(end.tells(101, "guest_locked"));
    assert_eq!(house.changes_to("PUT", "/101/config"), 0, "no lock is knocked at");
    house.control().set_lock(101, None).unwrap();
    agent.cycle();
    house.obeys(&desired);
}

#[test]
fn a_change_that_needs_a_restart_waits_for_the_window_and_is_made_in_it() {
    let mut desired = document([qemu(110, "mail")]);
    let house = House::new();
    let mut agent = house.agent();
    agent.desire(&desired);
    agent.settle();
    desired.guests[0].cores = 4;
    agent.desire(&desired);
    for _ in 0..3 {
        let end = agent.cycle();
        assert_eq!(end.outcome(110), Outcome::Waiting);
        assert!(end.tells(110, "restart_pending"));
        agent.time_passes();
    }
    assert_eq!(house.value(110, "cores").as_deref(), Some("2"));
    assert_eq!(
        house.changes_to("POST", "/110/config"),
        2,
        "one at creation, one now: it is not sent for ever"
    );
    assert_eq!(house.changes_to("POST", "/status/reboot"), 0);

    desired.maintenance_window = Some(always_open());
    agent.desire(&desired);
    agent.cycle();
    assert_eq!(house.value(110, "cores").as_deref(), Some("4"));
    assert_eq!(house.changes_to("POST", "/status/reboot"), 1);
    agent.settle();
}
