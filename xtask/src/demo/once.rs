//! What `cargo xtask demo --once` makes sure of, looking only at the outside: the node, the hub, the command line.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::house::{DATA_SERIAL, House};
use super::{CONVERGE_PATIENCE, edit, is_converged, signing, tunnel};
use crate::Failed;
use crate::process::wait_for;

/// The guest that is being created when the agent is killed.
const NEW_VMID: u64 = 120;
/// The guest that drifts.
const DRIFTED_VMID: &str = "104";

struct Row {
    what: &'static str,
    saw: String,
}

pub(super) fn run(house: &mut House, desired: &Path, converged_in: Duration) -> Result<(), Failed> {
    let mut rows = vec![Row {
        what: "converged from an empty node",
        saw: format!("{} guests in {:.1} s", guests(house)?.len(), converged_in.as_secs_f64()),
    }];
    rows.push(quiet_cycle(house)?);
    rows.push(drift(house)?);
    rows.push(pulled(house)?);
    let saw = tunnel::a_bad_token(house, desired)?;
    rows.push(Row { what: "a token of no tunnel: tried and taken back", saw });
    rows.push(killed(house, desired)?);
    rows.push(signed_away(house, desired)?);
    rows.push(on_the_hub(house)?);
    println!();
    for Row { what, saw } in &rows {
        println!("  ok  {what:<44} {saw}");
    }
    println!("\n{} passed, 0 failed", rows.len());
    Ok(())
}

/// A whole cycle in which the node is only read.
fn quiet_cycle(house: &mut House) -> Result<Row, Failed> {
    if !house.plan_is_empty()? {
        return Err(Failed::said("`felhom-agent plan` still finds something to do on a converged node"));
    }
    house.ctl(&["requests", "--reset"])?;
    let counters = wait_for("a cycle without news", Duration::from_secs(30), || {
        let counters = house.ctl(&["requests"])?["counters"].clone();
        Ok((counters["all"].as_u64() >= Some(2)).then_some(counters))
    })?;
    if counters["changing"].as_u64() != Some(0) {
        return Err(Failed::said(format!("a cycle on a converged node changed something: {counters}")));
    }
    Ok(Row { what: "second cycle: changing requests", saw: format!("0 of {}", counters["all"]) })
}

/// Somebody edits a guest by hand.
fn drift(house: &mut House) -> Result<Row, Failed> {
    house.ctl(&["edit", DRIFTED_VMID, "memory", "64"])?;
    let began = Instant::now();
    wait_for("the repair of a drift", Duration::from_secs(30), || {
        Ok((memory(house)? == "256").then_some(()))
    })?;
    Ok(Row {
        what: "memory edited by hand: repaired",
        saw: format!("after {:.1} s", began.elapsed().as_secs_f64()),
    })
}

/// Somebody pulls a drive and plugs it in again.
fn pulled(house: &mut House) -> Result<Row, Failed> {
    let readiness = |house: &House| -> Result<Value, Failed> {
        Ok(house.agent_status()?.unwrap_or_default()["storage"][0]["readiness"].clone())
    };
    let disabled = |house: &House| -> Result<bool, Failed> {
        Ok(house.ctl(&["state"])?["storages"]["photos"]["options"]["disable"] == "1")
    };
    house.ctl(&["drive", DATA_SERIAL, "off"])?;
    wait_for("the drive to be missed", Duration::from_secs(30), || {
        Ok((readiness(house)? == "unplugged" && disabled(house)?).then_some(()))
    })?;
    house.ctl(&["drive", DATA_SERIAL, "on"])?;
    wait_for("the drive to be back", Duration::from_secs(30), || {
        Ok((readiness(house)? == "ready" && !disabled(house)?).then_some(()))
    })?;
    Ok(Row {
        what: "drive pulled: its storage is switched off",
        saw: "and back on when it was back".to_owned(),
    })
}

/// The agent dies by -9 while PVE creates a guest for it.
fn killed(house: &mut House, desired: &Path) -> Result<Row, Failed> {
    house.ctl(&["task-ms", "3000"])?;
    add_guest(desired)?;
    house.publish(desired)?;
    wait_for("the create of the new guest", Duration::from_secs(30), || Ok(task(house)?.map(drop)))?;
    house.kill_agent();
    house.start_agent()?;
    let generation = house.generation();
    wait_for("recovery after kill -9", CONVERGE_PATIENCE, || {
        Ok(house.agent_status()?.filter(|status| is_converged(status, generation)))
    })?;
    let creates = tasks(house)?.iter().filter(|task| is_create(task)).count();
    let state = house.ctl(&["state"])?;
    let volumes = count(&state["volumes"], |volume| volume["vmid"].as_u64() == Some(NEW_VMID));
    if creates != 1 || volumes != 1 {
        return Err(Failed::said(format!(
            "after kill -9 there are {creates} creates and {volumes} volumes, not one each"
        )));
    }
    Ok(Row {
        what: "agent killed with -9 in the middle of a create",
        saw: "adopted: 1 create, 1 volume".to_owned(),
    })
}

/// A guest is given up: held until the operator signs, then destroyed once.
fn signed_away(house: &mut House, desired: &Path) -> Result<Row, Failed> {
    house.ctl(&["task-ms", "600"])?;
    let keys = house.keys();
    let state = signing::give_one_up(house, &keys, desired)?;
    Ok(Row { what: "guest given up: held, signed, destroyed", saw: format!("receipt: {state}") })
}

fn on_the_hub(house: &House) -> Result<Row, Failed> {
    let generation = house.generation();
    wait_for("the report on the hub", Duration::from_secs(30), || {
        Ok((house.host()?["reached"].as_u64() == Some(generation)).then_some(()))
    })?;
    Ok(Row {
        what: "the hub shows it",
        saw: format!("generation {generation} desired, received and reached"),
    })
}

fn add_guest(desired: &Path) -> Result<(), Failed> {
    edit(desired, |document| {
        let guests =
            document["guests"].as_array_mut().ok_or_else(|| Failed::said("the document has no guests"))?;
        guests.push(json!({
            "guest_id": "0b5f2a52-6d3c-4a8e-9f10-2b7c5d1e4f60", "vmid": NEW_VMID, "kind": "lxc", "name": "late",
            "source": {"template": {"storage": "local", "file": "debian-12-standard_12.12-1_amd64.tar.zst"}},
            "cores": 1, "memory_mib": 256, "disks": {"rootfs": {"storage": "local-lvm", "size_gib": 4}}
        }));
        Ok(())
    })
    .map(drop)
}

fn guests(house: &House) -> Result<Vec<Value>, Failed> {
    let status = house.agent_status()?.unwrap_or(Value::Null);
    Ok(status["guests"].as_array().cloned().unwrap_or_default())
}

fn memory(house: &House) -> Result<String, Failed> {
    let state = house.ctl(&["state"])?;
    Ok(state["guests"][DRIFTED_VMID]["config"]["memory"].as_str().unwrap_or_default().to_owned())
}

fn tasks(house: &House) -> Result<Vec<Value>, Failed> {
    Ok(house.ctl(&["state"])?["tasks"].as_array().cloned().unwrap_or_default())
}

fn task(house: &House) -> Result<Option<Value>, Failed> {
    Ok(tasks(house)?.into_iter().find(is_create))
}

fn is_create(task: &Value) -> bool {
    task["upid"].as_str().is_some_and(|upid| upid.contains(&format!(":vzcreate:{NEW_VMID}:")))
}

fn count(rows: &Value, wanted: impl Fn(&Value) -> bool) -> usize {
    rows.as_object().map_or(0, |rows| rows.values().filter(|row| wanted(row)).count())
}
