//! The demo's tunnel: a double of cloudflared where its package would have put it, a token, and one that is none.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use serde_json::{Value, json};

use super::edit;
use super::house::{HOST, House};
use crate::Failed;
use crate::process::{built, fed, output, wait_for};

pub(super) const SECRET: &str = "tunnel-token";
/// As short as a document may say, so that a person need not wait.
const REVERT_AFTER_S: u64 = 15;

/// Where its cloudflared tells of itself. Several demos may run beside each other.
pub(super) fn free_address() -> Result<String, Failed> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    free.map(|address| address.to_string()).map_err(|error| Failed::said(format!("no free port: {error}")))
}

/// As the package would.
pub(super) fn install_cloudflared(host_root: &Path) -> Result<(), Failed> {
    let path = host_root.join("usr/bin/cloudflared");
    let copy = || {
        fs::create_dir_all(host_root.join("usr/bin"))?;
        fs::copy(built("fake-cloudflared"), &path).map(drop)
    };
    copy().map_err(|source: io::Error| Failed::File { path: path.clone(), source })
}

/// Puts a token of the double's making into the hub, and names it in the document.
pub(super) fn add(house: &House, desired: &Path) -> Result<(), Failed> {
    let token = output(Command::new(built("fake-cloudflared")).args(["token", "demo"]))?;
    name_in(desired, &put_secret(house, token.trim())?)
}

/// A token of no tunnel is published: the tunnel that runs comes back by itself.
pub(super) fn a_bad_token(house: &mut House, desired: &Path) -> Result<String, Failed> {
    let before = fs::read(desired).map_err(|source| Failed::File { path: desired.to_owned(), source })?;
    let good = tunnel(house)?["token_sha256"].clone();
    let bad = output(Command::new(built("fake-cloudflared")).args(["token", "demo", "--of-no-tunnel"]))?;
    name_in(desired, &put_secret(house, bad.trim())?)?;
    house.publish(desired)?;
    wait_for("the change to be tried", Duration::from_secs(30), || {
        Ok((tunnel(house)?["on_trial"] == true).then_some(()))
    })?;
    let began = Instant::now();
    wait_for("the old tunnel to be back", Duration::from_secs(60), || {
        let tunnel = tunnel(house)?;
        let is_back = tunnel["on_trial"] == false && tunnel["readiness"] == "connected";
        Ok((is_back && tunnel["token_sha256"] == good).then_some(()))
    })?;
    let took = began.elapsed().as_secs_f64();
    fs::write(desired, before).map_err(|source| Failed::File { path: desired.to_owned(), source })?;
    house.publish(desired)?;
    Ok(format!("the old one back after {took:.0} s, {REVERT_AFTER_S} of them the window"))
}

fn tunnel(house: &House) -> Result<Value, Failed> {
    Ok(house.agent_status()?.unwrap_or_default()["tunnel"].clone())
}

fn put_secret(house: &House, value: &str) -> Result<Value, Failed> {
    let text = fed(house.hub_command().args(["--json", "secret", "put", HOST, SECRET]), value)?;
    serde_json::from_str(&text).map_err(|error| Failed::said(format!("secret put: {error}")))
}

fn name_in(desired: &Path, token: &Value) -> Result<(), Failed> {
    edit(desired, |document| {
        document["tunnel"] = json!({"presence": "present", "token": token, "revert_after_s": REVERT_AFTER_S});
        Ok(())
    })
    .map(drop)
}
