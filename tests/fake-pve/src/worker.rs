//! The life of a forked worker: lock, begin, work, finish. Only a worker that is not
//! killed cleans up after itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::faults::TaskFault;
use crate::state::World;
use crate::state::task::{Step, TaskLog, Undo, Worker};

pub(crate) async fn run(engine: Arc<Engine>, mut worker: Worker) {
    if let Some(vmid) = worker.flock.filter(|_| !worker.holds)
        && let Err(text) = engine.flock(vmid, &worker.upid).await
    {
        return engine.change(|world| end(world, &worker, Err(text)));
    }
    let begin = worker.begin.take();
    let begun = engine.change(|world| step(world, &worker.upid, begin));
    if let Err(text) = begun {
        return engine.change(|world| end(world, &worker, Err(text)));
    }
    let fault = worker.fault.take();
    let interrupted = work(&engine, &worker.upid, fault.as_ref()).await;
    if interrupted {
        // TERM leaves locks and half-made volumes where they are, except of a backup.
        let stopped = worker.stopped.take();
        return engine.change(|world| {
            let result = match stopped {
                Some(last_words) => step(world, &worker.upid, Some(last_words)),
                None => Err("interrupted by signal".to_owned()),
            };
            end(world, &worker, result);
        });
    }
    let (finish, undo) = (worker.finish.take(), worker.undo.take());
    engine.change(|world| conclude(world, &worker, (finish, undo), fault));
}

/// The time it takes; `true` where somebody stopped it.
async fn work(engine: &Engine, upid: &str, fault: Option<&TaskFault>) -> bool {
    let time = engine.switches.lock().expect("short").task_time;
    let deadline = (fault != Some(&TaskFault::Hang)).then(|| Instant::now() + time);
    loop {
        if engine.world().task_mut(upid).is_none_or(|t| t.stop_requested) {
            return true;
        }
        let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(left.min(Duration::from_millis(10))).await;
    }
}

fn conclude(
    world: &mut World,
    worker: &Worker,
    (finish, undo): (Option<Step>, Option<Undo>),
    fault: Option<TaskFault>,
) {
    let result = match fault {
        Some(TaskFault::Die) => {
            if let Some(task) = world.task_mut(&worker.upid) {
                task.die();
            }
            return release(world, worker);
        }
        Some(TaskFault::Fail(text)) => Err(text),
        Some(TaskFault::Hang) | None => step(world, &worker.upid, finish),
    };
    if let (Err(_), Some(undo)) = (&result, undo) {
        undo(world);
    }
    end(world, worker, result);
}

fn step(world: &mut World, upid: &str, step: Option<Step>) -> Result<(), String> {
    let mut log = TaskLog::default();
    let result = step.map_or(Ok(()), |step| step(world, &mut log));
    if let Some(task) = world.task_mut(upid) {
        task.log.append(&mut log.0);
    }
    // Refusals borrowed from calls bring Perl's newline along.
    result.map_err(|text| text.trim_end().to_owned())
}

/// Old tasks make room, as PVE's index rotates.
const TASKS_KEPT: usize = 2000;

fn end(world: &mut World, worker: &Worker, result: Result<(), String>) {
    if let Some(task) = world.task_mut(&worker.upid) {
        task.end(result);
    }
    if world.tasks.len() > TASKS_KEPT {
        let old = world.tasks.iter().position(|t| t.endtime.is_some());
        old.map(|i| world.tasks.remove(i));
    }
    release(world, worker);
}

fn release(world: &mut World, worker: &Worker) {
    if let Some(vmid) = worker.flock.filter(|vmid| world.flocks.get(vmid) == Some(&worker.upid)) {
        world.flocks.remove(&vmid);
    }
}
