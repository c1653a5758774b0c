//! vzdump, one guest after the other in one task. A failed guest does not stop the
//! rest; the task then ends `job errors`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::power;
use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::storage::{Content, Volume};
use crate::state::task::{TaskLog, Worker};
use crate::state::{NODE_BACKUP, World};

/// What one job was asked for.
struct Job {
    arguments: String,
    vmids: Vec<u32>,
    storage: String,
    mode: String,
    notes: Option<String>,
    protected: bool,
    /// Guests this job put its own lock on; another's lock is never touched.
    locked: Mutex<BTreeSet<u32>>,
}

pub(super) fn vzdump(world: &mut World, call: &Call) -> Answer {
    let listed: Vec<u32> = call
        .get("vmid")
        .into_iter()
        .flat_map(|v| v.split([',', ' ', ';', '\0']))
        .filter_map(|v| v.parse().ok())
        .collect();
    let vmids = match call.flag("all") {
        true => world
            .guests
            .keys()
            .copied()
            .filter(|v| call.caller.may(&format!("/vms/{v}"), "VM.Backup"))
            .collect(),
        false if listed.is_empty() => return Err(Refusal::param("vmid", "property is missing")),
        false => listed,
    };
    if let Some(vmid) = vmids.iter().find(|v| !call.caller.may(&format!("/vms/{v}"), "VM.Backup")) {
        return Err(Refusal::forbidden(&format!(" (/vms/{vmid}, VM.Backup)")));
    }
    let id = if vmids.len() == 1 { vmids[0].to_string() } else { String::new() };
    let arguments = call.params.iter().filter(|(k, _)| !["node", "vmid"].contains(&k.as_str()));
    let job = Job {
        vmids,
        storage: call.get("storage").unwrap_or("local").to_owned(),
        mode: call.get("mode").unwrap_or("snapshot").to_owned(),
        notes: call.get("notes-template").map(str::to_owned),
        protected: call.flag("protected"),
        arguments: arguments.map(|(k, v)| format!(" --{k} {v}")).collect(),
        locked: Mutex::default(),
    };
    let job = Arc::new(job);
    let with = |step: fn(&mut World, &Job, &mut TaskLog) -> Result<(), String>| {
        let job = Arc::clone(&job);
        move |world: &mut World, log: &mut TaskLog| step(world, &job, log)
    };
    let worker = Worker::fork(world, "vzdump", &id, &call.caller.id)
        .locking(NODE_BACKUP)
        .begin(with(begin))
        .finish(with(finish))
        .stopped(with(stopped));
    let worker = worker.undo({
        let job = Arc::clone(&job);
        move |world| unlock(world, &job)
    });
    Ok(worker.start(world))
}

fn begin(world: &mut World, job: &Job, log: &mut TaskLog) -> Result<(), String> {
    let id = &job.storage;
    let inactive = |e| match world.storages.contains_key(id) {
        true => format!("could not activate storage '{id}': {e}"),
        false => format!(
            "could not activate storage '{id}': {e} could not get storage information for '{id}': {e}"
        ),
    };
    world.usable_storage(id).map_err(inactive)?;
    if !world.storages[id].holds("backup") {
        return Err(format!(
            "could not get storage information for '{id}': storage '{id}' does not support 'backup' content"
        ));
    }
    let vmids: Vec<String> = job.vmids.iter().map(u32::to_string).collect();
    log.line(format!(
        "INFO: starting new backup job: vzdump {}{} --node {}",
        vmids.join(" "),
        job.arguments,
        world.node.name
    ));
    for vmid in &job.vmids {
        if let Some(guest) = world.guests.get_mut(vmid).filter(|g| !g.is_locked()) {
            guest.config.insert("lock".to_owned(), "backup".to_owned());
            job.locked.lock().expect("short").insert(*vmid);
        }
    }
    Ok(())
}

fn finish(world: &mut World, job: &Job, log: &mut TaskLog) -> Result<(), String> {
    let mut failed = false;
    for vmid in &job.vmids {
        if let Err(text) = one(world, *vmid, job, log) {
            failure(*vmid, &text, log);
            failed = true;
        }
    }
    unlock(world, job);
    log.line(if failed {
        "INFO: Backup job finished with errors"
    } else {
        "INFO: Backup job finished successfully"
    });
    if failed { Err("job errors".to_owned()) } else { Ok(()) }
}

fn failure(vmid: u32, text: &str, log: &mut TaskLog) {
    log.line(format!("ERROR: Backup of VM {vmid} failed - {text}"));
    log.line(format!("INFO: Failed at {}", Timestamp::now().strftime("%Y-%m-%d %H:%M:%S")));
}

/// A stopped backup lets its guests go.
fn stopped(world: &mut World, job: &Job, log: &mut TaskLog) -> Result<(), String> {
    for vmid in &job.vmids {
        failure(*vmid, "interrupted by signal", log);
    }
    unlock(world, job);
    log.line("INFO: Backup job finished with errors");
    Err("job errors".to_owned())
}

fn one(world: &mut World, vmid: u32, job: &Job, log: &mut TaskLog) -> Result<(), String> {
    let stamp = Timestamp::now();
    let guest = world.guests.get(&vmid).ok_or(format!("unable to find VM '{vmid}'"))?;
    if !job.locked.lock().expect("short").contains(&vmid) {
        guest.check_lock()?;
    }
    let (kind, state) = (guest.kind, if guest.running.is_some() { "running" } else { "stopped" });
    log.line(format!("INFO: Starting Backup of VM {vmid} ({})", kind.name()));
    log.line(format!("INFO: Backup started at {}", stamp.strftime("%Y-%m-%d %H:%M:%S")));
    log.line(format!("INFO: status = {state}"));
    log.line(format!("INFO: backup mode: {}", if state == "stopped" { "stop" } else { &job.mode }));
    log.line(format!("INFO: {} Name: {}", kind.label(), guest.name()));
    let (extension, format) =
        if kind == crate::Kind::Lxc { ("tar.zst", "tar.zst") } else { ("vma.zst", "vma.zst") };
    let name = |second: i64| {
        let time = Timestamp::from_second(second).unwrap_or(stamp).strftime("%Y_%m_%d-%H_%M_%S").to_string();
        format!("{}:backup/vzdump-{}-{vmid}-{time}.{extension}", job.storage, kind.name())
    };
    // Two backups within a second would share a name; PVE waits the second out.
    let volid =
        (stamp.as_second()..).map(name).find(|v| !world.volumes.contains_key(v)).expect("time goes on");
    let mut kept = guest.config.clone();
    kept.retain(|k, _| k != "lock" && k != "parent" && !k.starts_with("unused"));
    let notes = job.notes.as_ref().map(|n| expand(n, &guest.name(), vmid, &world.node.name));
    log.line(format!("INFO: creating vzdump archive '{}'", world.volume_path(&volid)));
    log.line("INFO: archive file size: 32MB");
    if state == "running" && job.mode == "stop" {
        log.line("INFO: restarting vm");
        power::warn_nesting(guest, log);
    }
    let volume = Volume {
        vmid: Some(vmid),
        notes,
        protected: job.protected,
        backup_of: Some((kind, kept)),
        ..Volume::new(Content::Backup, 34_070_219, format)
    };
    world.volumes.insert(volid, volume);
    log.line(format!("INFO: Finished Backup of VM {vmid} (00:00:01)"));
    Ok(())
}

fn expand(template: &str, guest: &str, vmid: u32, node: &str) -> String {
    template.replace("{{guestname}}", guest).replace("{{vmid}}", &vmid.to_string()).replace("{{node}}", node)
}

fn unlock(world: &mut World, job: &Job) {
    for vmid in job.locked.lock().expect("short").iter() {
        if let Some(guest) = world.guests.get_mut(vmid).filter(|g| g.lock() == Some("backup")) {
            guest.config.remove("lock");
        }
    }
}

pub(super) fn extract_config(world: &mut World, call: &Call) -> Answer {
    let volid = call.must("volume");
    let missing = || Refusal::die(format!("volume '{volid}' does not exist"));
    let volume = world.volumes.get(volid).ok_or_else(missing)?;
    let (kind, config) = volume.backup_of.as_ref().ok_or_else(|| Refusal::die("not a backup archive"))?;
    let guest = crate::state::guest::Guest::new(0, *kind, config.clone());
    Ok(Reply::data(guest.file()))
}
