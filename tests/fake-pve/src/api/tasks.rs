//! Tasks as a caller sees them: its own, or all with Sys.Audit. The archive is the
//! default list and leaves out what still runs.

use serde_json::{Map, Value, json};

use crate::auth::Caller;
use crate::call::{Answer, Call, Refusal, Reply};
use crate::state::World;
use crate::state::task::Task;
use crate::upid::Upid;

fn audits(caller: &Caller, world: &World) -> bool {
    caller.may(&format!("/nodes/{}", world.node.name), "Sys.Audit")
}

pub(super) fn list(world: &mut World, call: &Call) -> Answer {
    let source = call.get("source").unwrap_or("archive");
    let all = audits(&call.caller, world);
    let wanted = |task: &&Task| {
        let state = match source {
            "archive" => task.endtime.is_some(),
            "active" => task.endtime.is_none(),
            _ => true,
        };
        state
            && (all || call.caller.owns(&task.user))
            && call.get("vmid").is_none_or(|v| task.id == v)
            && call.get("typefilter").is_none_or(|t| task.kind == t)
            && call.get("userfilter").is_none_or(|u| task.user.contains(u))
            && call.number("since").is_none_or(|t| task.starttime >= t)
            && call.number("until").is_none_or(|t| task.starttime <= t)
            // Warnings count as errors here.
            && (!call.flag("errors") || task.exitstatus.as_deref().is_some_and(|s| s != "OK"))
    };
    let found: Vec<&Task> = world.tasks.iter().rev().filter(wanted).collect();
    let page = found.iter().skip(amount(call, "start", 0)).take(amount(call, "limit", 50));
    let entries = page.map(|task| entry(world, task)).collect();
    Ok(Reply::ordered(entries, Some(found.len())))
}

fn amount(call: &Call, name: &str, default: usize) -> usize {
    call.number(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}

/// The cluster's list says less of each task, and nothing of a state that is still open.
pub(super) fn cluster(world: &mut World, call: &Call) -> Answer {
    let all = audits(&call.caller, world);
    let mine = world.tasks.iter().rev().filter(|t| all || call.caller.owns(&t.user)).take(25);
    let entries = mine.map(|task| {
        let mut out = json!({"upid": task.upid, "node": world.node.name, "type": task.kind, "id": task.id,
            "starttime": task.starttime});
        user(&task.user, out.as_object_mut().expect("written as an object"));
        if let (Some(end), Some(status)) = (task.endtime, &task.exitstatus) {
            out["endtime"] = end.into();
            out["status"] = status.as_str().into();
            out["saved"] = "1".into();
        } else {
            out["pid"] = task.pid.into();
        }
        out
    });
    Ok(Reply::ordered(entries.collect(), None))
}

fn entry(world: &World, task: &Task) -> Value {
    let mut out = json!({"upid": task.upid, "node": world.node.name, "type": task.kind, "id": task.id,
        "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime});
    match task.endtime {
        // Running ones show the token as part of the user.
        None => {
            out["user"] = task.user.as_str().into();
            out["status"] = "RUNNING".into();
            out["saved"] = "0".into();
        }
        Some(end) => {
            out["endtime"] = end.into();
            out["status"] = task.exitstatus.as_deref().unwrap_or_default().into();
            user(&task.user, out.as_object_mut().expect("written as an object"));
        }
    }
    out
}

fn user(id: &str, out: &mut Map<String, Value>) {
    let (user, token) = id.split_once('!').unwrap_or((id, ""));
    out.insert("user".to_owned(), user.into());
    if !token.is_empty() {
        out.insert("tokenid".to_owned(), token.into());
    }
}

/// The UPID of the path, well formed and visible to the caller; its task where there is one.
fn find<'w>(world: &'w World, call: &Call) -> Result<Option<&'w Task>, Refusal> {
    let text = call.must("upid");
    let upid = Upid::parse(text).ok_or_else(|| Refusal::param("upid", "unable to parse worker upid"))?;
    if !call.caller.owns(&upid.user) && !audits(&call.caller, world) {
        return Err(Refusal::forbidden(&format!(" (/nodes/{}, Sys.Audit)", world.node.name)));
    }
    Ok(world.tasks.iter().rev().find(|t| t.upid == text))
}

pub(super) fn index(world: &mut World, call: &Call) -> Answer {
    find(world, call)?;
    Ok(Reply::data(json!([{"name": "log"}, {"name": "status"}])))
}

pub(super) fn status(world: &mut World, call: &Call) -> Answer {
    let task = find(world, call)?.ok_or_else(|| Refusal::param("upid", "no such task"))?;
    let running = task.endtime.is_none();
    let mut out = json!({"upid": task.upid, "node": world.node.name, "type": task.kind, "id": task.id,
        "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime,
        "status": if running { "running" } else { "stopped" }});
    if let Some(exit) = &task.exitstatus {
        out["exitstatus"] = exit.as_str().into();
    }
    user(&task.user, out.as_object_mut().expect("written as an object"));
    Ok(Reply::data(out))
}

pub(super) fn log(world: &mut World, call: &Call) -> Answer {
    let none = vec!["unable to open file - No such file or directory".to_owned()];
    let lines = find(world, call)?.map_or(&none, |t| &t.log);
    let (start, limit) = (amount(call, "start", 0), amount(call, "limit", 50));
    let limit = if limit == 0 { usize::MAX } else { limit };
    let numbered = lines.iter().enumerate().skip(start).take(limit);
    let mut page: Vec<Value> = numbered.map(|(i, line)| json!({"n": i + 1, "t": line})).collect();
    if lines.is_empty() {
        page.push(json!({"n": 1, "t": "no content"}));
    }
    let total = lines.len().max(1);
    Ok(Reply::ordered(page, Some(total)))
}

pub(super) fn stop(world: &mut World, call: &Call) -> Answer {
    find(world, call)?;
    if let Some(task) = world.task_mut(call.must("upid")) {
        task.stop_requested = task.endtime.is_none();
    }
    Ok(Reply::null())
}
