//! `intent_before_effect`: an agent killed anywhere comes back, finds out what became of its steps, and goes on,
//! with nothing done twice and nothing left behind.
//!
//! The kill is exact: the n-th passing of each journal boundary, for every n there is.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; it tells how much it did"
)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fake_pve::{Kind, Options};
use felhom_agent::state::Boundary;
use felhom_shared::desired::DesiredState;
use felhom_shared::id::Tag;
use felhom_shared::report::Outcome;
use felhom_tests::{Agent, House, Killed, Random, always_open, clone_of, document, lxc, qemu, with_mount};

const BOUNDARIES: [Boundary; 6] = [
    Boundary::BeforeBegin,
    Boundary::AfterBegin,
    Boundary::AfterCall,
    Boundary::AfterTask,
    Boundary::BeforeEnd,
    Boundary::AfterEnd,
];
/// The node's machine template and the container that is copied.
const THEIRS: usize = 2;
const GOLDEN: u32 = 9001;

/// Containers and machines, a copy of a container, a mounted volume.
fn five() -> DesiredState {
    let mut copy = clone_of(GOLDEN, lxc(103, "copy"));
    copy.disks.values_mut().for_each(|disk| disk.size_gib = 8);
    document([lxc(101, "web"), with_mount(lxc(102, "files"), 2), copy, qemu(110, "mail"), qemu(111, "forum")])
}

/// The same five, each changed: configuration, growth, tags, and restarts for what needs one.
fn five_changed() -> DesiredState {
    let mut desired = five();
    desired.maintenance_window = Some(always_open());
    for guest in &mut desired.guests {
        guest.memory_mib *= 2;
        guest.tags = vec![Tag::new("changed").unwrap()];
        guest.disks.values_mut().for_each(|disk| disk.size_gib += 2);
    }
    desired
}

fn house(seed: u64) -> House {
    let task_time = Duration::from_millis(5);
    let house =
        House::with(Options { task_time, seed, broadcast_period: Duration::ZERO, ..Options::default() });
    let control = house.control();
    control.create_guest(GOLDEN, Kind::Lxc, "golden").unwrap();
    control.edit_config(GOLDEN, "unprivileged", Some("1")).unwrap();
    house
}

/// An agent that is killed when it passes `boundary` for the `nth` time.
fn doomed(house: &House, boundary: Boundary, nth: usize) -> Agent {
    let passed = Cell::new(0);
    house.agent_with_probe(Rc::new(move |here| {
        if here == boundary {
            passed.set(passed.get() + 1);
            if passed.get() == nth {
                Killed::now();
            }
        }
    }))
}

/// Whether the agent died before everything was as desired.
fn dies(mut agent: Agent) -> bool {
    for _ in 0..10 {
        let Some(end) = agent.cycle_or_death() else { return true };
        if end.state.guests.iter().all(|guest| guest.outcome == Outcome::Converged) {
            return false;
        }
        agent.time_passes();
    }
    panic!("it neither dies nor comes to rest");
}

/// Kills at every passing of one boundary on the way from `before` to `desired`; returns how often.
fn kill_everywhere(
    seed: u64,
    boundary: Boundary,
    before: Option<&DesiredState>,
    desired: &DesiredState,
) -> usize {
    for nth in 1.. {
        let house = house(seed + nth as u64);
        if let Some(before) = before {
            let mut agent = house.agent();
            agent.desire(before);
            agent.settle();
        }
        let mut agent = doomed(&house, boundary, nth);
        agent.desire(desired);
        let died = dies(agent);
        let end = house.agent().settle();
        assert_eq!(
            end.state.journal_open, 0,
            "an entry was left open after {boundary:?} {nth} (seed {seed})"
        );
        house.obeys(desired);
        let guests = house.control().snapshot().guests.len();
        assert_eq!(guests, desired.guests.len() + THEIRS, "after {boundary:?} {nth} (seed {seed})");
        if !died {
            return nth - 1;
        }
    }
    unreachable!("the numbers do not end")
}

/// Every boundary on a thread of its own: the runs mostly wait for tasks.
fn matrix(name: &str, before: Option<&DesiredState>, desired: &DesiredState) {
    let (begun, seed) = (Instant::now(), Random::fresh_seed());
    println!("crash matrix, {name}: seed {seed}");
    let runs: usize = std::thread::scope(|scope| {
        let threads =
            BOUNDARIES.map(|boundary| scope.spawn(move || kill_everywhere(seed, boundary, before, desired)));
        threads.into_iter().map(|thread| thread.join().expect("its failure is printed above")).sum()
    });
    println!("crash matrix, {name}: {runs} kills in {:?}", begun.elapsed());
    assert!(runs >= 50, "only {runs} places to kill at");
}

#[test]
fn crash_matrix_while_creating_and_starting() {
    matrix("creating", None, &five());
}

#[test]
fn crash_matrix_while_changing_and_growing() {
    matrix("changing", Some(&five()), &five_changed());
}
