//! Growing a disk. Never shrinking: that is refused before the task.

use crate::call::{Answer, Call, Refusal};
use crate::propstring;
use crate::schema::param::Param;
use crate::size;
use crate::state::World;
use crate::state::config::volume_of;
use crate::state::guest::Kind;
use crate::state::task::Worker;

pub(super) fn lxc(world: &mut World, call: &Call) -> Answer {
    let (volid, old, new) = sizes(world, call)?;
    if new == old {
        return Err(Refusal::die("disk is already at specified size"));
    }
    grow(world, call, volid, new)
}

pub(super) fn qemu(world: &mut World, call: &Call) -> Answer {
    let (volid, _, new) = sizes(world, call)?;
    grow(world, call, volid, new)
}

fn sizes(world: &World, call: &Call) -> Result<(String, u64, u64), Refusal> {
    let guest = world.guest(call.kind, call.vmid())?;
    guest.check_digest(call.get("digest"))?;
    guest.check_lock().map_err(Refusal::die)?;
    let disk = call.must("disk");
    let value =
        guest.config.get(disk).ok_or_else(|| Refusal::die(format!("disk '{disk}' does not exist")))?;
    let volid = volume_of(value).to_owned();
    let old = world
        .volumes
        .get(&volid)
        .map(|v| v.size)
        .ok_or_else(|| Refusal::die("can't resize a mount point that is no volume"))?;
    let text = call.must("size");
    let bad = || Refusal::param("size", "value does not match the regex pattern");
    let amount = size::parse(text.strip_prefix('+').unwrap_or(text), 1).ok_or_else(bad)?;
    let new = if text.starts_with('+') { old + amount } else { amount };
    if new < old {
        let kind = if call.kind == Kind::Lxc {
            "unable to shrink disk size"
        } else {
            "shrinking disks is not supported"
        };
        return Err(Refusal::die(kind));
    }
    Ok((volid, old, new))
}

fn grow(world: &mut World, call: &Call, volid: String, new: u64) -> Answer {
    let (kind, vmid, disk) = (call.kind, call.vmid(), call.must("disk").to_owned());
    let worker = Worker::fork(world, "resize", &vmid.to_string(), &call.caller.id).locking(vmid).finish(
        move |world, log| {
            let schema = world.schema.clone();
            let keys =
                schema.config_key(kind.name(), &disk).and_then(Param::properties).ok_or("no such disk")?;
            let volume = world.volumes.get_mut(&volid).ok_or(format!("volume '{volid}' does not exist"))?;
            volume.size = new;
            let guest = world.guests.get_mut(&vmid).ok_or("guest is gone")?;
            let old = guest.config.get(&disk).ok_or("disk is gone")?;
            let mut values = propstring::parse(keys, old)?;
            values.insert("size".to_owned(), size::format(new));
            guest.config.insert(disk, propstring::print(keys, &values));
            log.line("Image resized.");
            Ok(())
        },
    );
    Ok(worker.start(world))
}
