//! Removing a guest: refused at once where it is protected, locked or running.

use crate::call::{Answer, Call, Refusal};
use crate::state::guest::Kind;
use crate::state::task::Worker;
use crate::state::{World, config};

pub(super) fn destroy(world: &mut World, call: &Call) -> Answer {
    let (kind, vmid) = (call.kind, call.vmid());
    let guest = world.guest(kind, vmid)?;
    let label = kind.label();
    if guest.config.get("protection").is_some_and(|p| p == "1") {
        return Err(Refusal::die(format!("can't remove {label} {vmid} - protection mode enabled")));
    }
    guest.check_lock().map_err(Refusal::die)?;
    match (kind, guest.running.is_some()) {
        (Kind::Lxc, true) if !call.flag("force") => {
            return Err(Refusal::die(format!("unable to destroy CT {vmid} - container is running")));
        }
        (Kind::Qemu, true) => return Err(Refusal::die(format!("VM {vmid} is running - destroy failed"))),
        _ => {}
    }
    let (purge, unreferenced) = (call.flag("purge"), call.flag("destroy-unreferenced-disks"));
    let task = format!("{}destroy", kind.task_prefix());
    let worker = Worker::fork(world, &task, &vmid.to_string(), &call.caller.id).locking(vmid).finish(
        move |world, log| {
            if purge {
                log.line(format!("purging {label} {vmid} from related configurations.."));
            }
            config::destroy(world, vmid);
            if unreferenced {
                world.volumes.retain(|_, v| !(v.vmid == Some(vmid) && v.content.is_guest()));
            }
            Ok(())
        },
    );
    Ok(worker.start(world))
}
