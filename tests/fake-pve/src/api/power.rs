//! Start and stop. A state that already holds is refused at once; a lock only shows in
//! the task.

use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::guest::{Guest, Kind};
use crate::state::task::{TaskLog, Worker};
use crate::state::{World, config, now};

pub(super) fn start(world: &mut World, call: &Call) -> Answer {
    let guest = world.guest(call.kind, call.vmid())?;
    if guest.is_template() {
        let what = if call.kind == Kind::Lxc { "CT" } else { "vm" };
        return Err(Refusal::die(format!("you can't start a {what} if it's a template")));
    }
    if guest.running.is_some() {
        return Err(Refusal::die(format!("{} {} already running", call.kind.label(), call.vmid())));
    }
    Ok(fork(world, call, "start", power_on))
}

pub(super) fn stop(world: &mut World, call: &Call) -> Answer {
    must_run(world, call, call.kind.label())?;
    Ok(fork(world, call, "stop", |world, vmid, _| power_off(world, vmid)))
}

pub(super) fn shutdown(world: &mut World, call: &Call) -> Answer {
    must_run(world, call, call.kind.label())?;
    Ok(fork(world, call, "shutdown", |world, vmid, _| power_off(world, vmid)))
}

pub(super) fn reboot(world: &mut World, call: &Call) -> Answer {
    // The reboot call says VM of containers too.
    must_run(world, call, "VM")?;
    Ok(fork(world, call, "reboot", |world, vmid, log| {
        power_off(world, vmid)?;
        power_on(world, vmid, log)
    }))
}

fn must_run(world: &World, call: &Call, label: &str) -> Result<(), Refusal> {
    match world.guest(call.kind, call.vmid())?.running {
        Some(_) => Ok(()),
        None => Err(Refusal::die(format!("{label} {} not running", call.vmid()))),
    }
}

type Effect = fn(&mut World, u32, &mut TaskLog) -> Result<(), String>;

fn fork(world: &mut World, call: &Call, verb: &str, effect: Effect) -> Reply {
    let (kind, vmid) = (call.kind, call.vmid());
    let task = format!("{}{verb}", kind.task_prefix());
    Worker::fork(world, &task, &vmid.to_string(), &call.caller.id)
        .locking(vmid)
        .begin(move |world, _| world.guest(kind, vmid).map_err(|e| e.message)?.check_lock())
        .finish(move |world, log| effect(world, vmid, log))
        .start(world)
}

/// Pending changes come into force, then the guest runs.
pub(super) fn power_on(world: &mut World, vmid: u32, log: &mut TaskLog) -> Result<(), String> {
    config::apply_pending(world, vmid)?;
    let pid = world.pid();
    let guest = world.guests.get_mut(&vmid).ok_or("guest is gone")?;
    guest.power_on(pid, now());
    warn_nesting(guest, log);
    Ok(())
}

fn power_off(world: &mut World, vmid: u32) -> Result<(), String> {
    world.guests.get_mut(&vmid).ok_or("guest is gone")?.running = None;
    Ok(())
}

/// Debian 13 brings a systemd that PVE warns about; the warning makes the task end `WARNINGS: 1`.
pub(super) fn warn_nesting(guest: &Guest, log: &mut TaskLog) {
    let nesting = guest.config.get("features").is_some_and(|f| f.contains("nesting=1"));
    if guest.kind == Kind::Lxc && !nesting && guest.systemd >= 257 {
        log.line(format!("WARN: Systemd {} detected. You may need to enable nesting.", guest.systemd));
    }
}
