//! The operator's keys of the demo, and a guest that goes: asked for, held, signed in view of the user, destroyed.
//!
//! The keys are made for the demo and end with it. Everything is done with the operator's own commands, and
//! printed, so that a person sees what would be typed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::edit;
use super::house::{HOST, House, OPERATOR, write};
use crate::Failed;
use crate::process::{built, output, wait_for};

/// The guest of the example that is given up.
const GONE: &str = "archive";
const GONE_VMID: &str = "106";
const PASSPHRASE: &str = "demo-passphrase-for-throw-away-keys";
const PATIENCE: Duration = Duration::from_secs(60);

/// The operator's folder.
pub(super) struct Keys(PathBuf);

impl Keys {
    /// Makes a root key, an operator's key and the first keyset; returns them with the keyset's digest.
    pub(super) fn make(folder: &Path) -> Result<(Self, String), Failed> {
        let keys = Self(folder.join("operator"));
        std::fs::create_dir(&keys.0).map_err(|source| Failed::File { path: keys.0.clone(), source })?;
        write(&keys.at("passphrase"), PASSPHRASE, 0o600)?;
        for name in ["root", "ops"] {
            output(keys.sign(&["keygen"]).arg(keys.at(name)).args(["--comment", name]))?;
        }
        let made = output(
            keys.sign(&["keyset", "init", "--json"])
                .arg("--root")
                .arg(keys.at("root.pub"))
                .arg("--ops")
                .arg(keys.at("ops.pub"))
                .arg("--key")
                .arg(keys.at("root"))
                .arg("--out")
                .arg(&keys.0),
        )?;
        let made: Value =
            serde_json::from_str(&made).map_err(|error| Failed::said(format!("{error} in {made}")))?;
        let digest = made["digest"].as_str().ok_or_else(|| Failed::said(format!("no digest in {made}")))?;
        Ok((keys, digest.to_owned()))
    }

    /// Puts the keyset on the hub and gets the operator a key for the hub's API.
    pub(super) fn introduce(&self, house: &House) -> Result<(), Failed> {
        let mut put = house.hub_command();
        output(put.args(["keyset", "put", "--version", "1"]).arg(self.at("keyset-1.signed")))?;
        let made = output(house.hub_command().args(["operator", "key", OPERATOR, "--json"]))?;
        let made: Value = serde_json::from_str(&made).map_err(|error| Failed::said(error.to_string()))?;
        write(&self.at("api-key"), made["key"].as_str().unwrap_or_default(), 0o600)
    }

    /// Notes the names that the operator trusts, as they would be noted on the day a host or guest was made.
    fn note_names(&self, house: &House, document: &Value) -> Result<(), Failed> {
        let host = house.host()?;
        let mut text = format!("[hosts]\n{} = {}\n\n[guests]\n", host["host_id"], host["name"]);
        for guest in document["guests"].as_array().into_iter().flatten() {
            text.push_str(&format!("{} = {}\n", guest["guest_id"], guest["name"]));
        }
        write(&self.at("inventory.toml"), &text, 0o644)
    }

    fn pending(&self, house: &House) -> Command {
        let mut command = self.sign(&["--pending", "--host", HOST, "--hub", house.url()]);
        command.arg("--ca").arg(house.folder().join("hub/hub-cert.pem"));
        command.arg("--key-file").arg(self.at("api-key")).arg("--inventory").arg(self.at("inventory.toml"));
        command
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn sign(&self, args: &[&str]) -> Command {
        let mut command = Command::new(built("felhom-sign"));
        command.args(args).arg("--passphrase-file").arg(self.at("passphrase"));
        command
    }
}

/// The document gives a guest up; the box holds that; the operator signs; the box destroys it and says so.
/// Returns what the queue says of the operation.
pub(super) fn give_one_up(house: &mut House, keys: &Keys, desired: &Path) -> Result<String, Failed> {
    println!("\n\"presence\": \"absent\" for {GONE} in {}", desired.display());
    keys.note_names(house, &ask_away(desired)?)?;
    house.publish(desired)?;
    let held = wait_for("the held step", PATIENCE, || {
        house.check()?;
        let status = house.agent_status()?.unwrap_or(Value::Null);
        let listed = output(keys.pending(house).arg("--list"))?;
        Ok(status["ops"]["pending"].get(0).filter(|_| listed.contains(GONE)).cloned())
    })?;
    println!("  held: {}", held["text"].as_str().unwrap_or_default());
    let mut sign = keys.pending(house);
    sign.args(["--only", "1", "--yes-i-confirm", GONE]).arg("--key").arg(keys.at("ops"));
    println!("  $ felhom-sign --pending --hub {} --host {HOST} … --key operator/ops", house.url());
    for line in output(&mut sign)?.lines() {
        println!("{line}");
    }
    let state = wait_for("the receipt of the destruction", PATIENCE, || {
        house.check()?;
        let ops = house.ops()?;
        let state = ops[0]["state"].as_str().unwrap_or_default().to_owned();
        Ok(matches!(state.as_str(), "applied" | "rejected" | "expired").then_some(state))
    })?;
    let there = house.ctl(&["state"])?["guests"].get(GONE_VMID).is_some();
    if state != "applied" || there {
        return Err(Failed::said(format!(
            "the signed destruction of {GONE} ended {state}, and vmid {GONE_VMID} is {}",
            if there { "still there" } else { "gone" }
        )));
    }
    println!("  {GONE} is gone, the receipt says {state}");
    Ok(state)
}

fn ask_away(desired: &Path) -> Result<Value, Failed> {
    edit(desired, |document| {
        let guests = document["guests"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
        let guest = guests.iter_mut().find(|guest| guest["name"] == GONE);
        let guest = guest.ok_or_else(|| Failed::said(format!("the document names no {GONE}")))?;
        guest["presence"] = Value::from("absent");
        Ok(())
    })
}
