//! `felhom-agent doctor`: everything the agent needs, each with what to do. Reads only.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use felhom_shared::desired::Presence;
use felhom_shared::signed::Rejection;
use felhom_shared::text::chain;
use felhom_shared::wire::PollQuery;
use jiff::Timestamp;
use serde::Serialize;

use super::paint::{Tone, clean, json, line, paint};
use super::plan::in_force;
use super::setup::{block_on, hub, observer, pve, state_to_read};
use super::{Cli, CliError};
use crate::config::Config;
use crate::host::command::is_served;
use crate::host::tunnel::installed_program;
use crate::observe::failure;
use crate::pve::{Permissions, Pve};
use crate::state::{FILE_NAME, FORMAT, State};

/// What the guests' part of the work needs, on the path where it is checked.
const PRIVILEGES: [(&str, &str); 16] = [
    ("/vms", "VM.Audit"),
    ("/vms", "VM.Allocate"),
    ("/vms", "VM.Clone"),
    ("/vms", "VM.PowerMgmt"),
    ("/vms", "VM.Backup"),
    ("/vms", "VM.Snapshot.Rollback"),
    ("/vms", "VM.Config.CPU"),
    ("/vms", "VM.Config.Memory"),
    ("/vms", "VM.Config.Disk"),
    ("/vms", "VM.Config.Network"),
    ("/vms", "VM.Config.Options"),
    ("/storage", "Datastore.Audit"),
    ("/storage", "Datastore.AllocateSpace"),
    ("/storage", "Datastore.AllocateTemplate"),
    ("/sdn/zones/localnetwork", "SDN.Use"),
    ("/nodes", "Sys.Audit"),
];
/// The journal must be writable when it is needed most.
const FREE_BYTES_MIN: u64 = 64 << 20;
const SKEW_MAX_S: i64 = 120;
/// The longest interval that a hub may ask for, and some more.
const TEXTFILE_AGE_MAX: Duration = Duration::from_secs(75 * 60);

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    text: String,
}

fn good(check: &'static str, text: impl Into<String>) -> Finding {
    Finding { check, ok: true, text: text.into() }
}

fn bad(check: &'static str, text: impl Into<String>) -> Finding {
    Finding { check, ok: false, text: text.into() }
}

pub(super) fn doctor(cli: &Cli) -> Result<ExitCode, CliError> {
    let mut findings = Vec::new();
    match cli.read_config() {
        Ok(config) => {
            findings.push(good("configuration", cli.config.display().to_string()));
            findings.push(disk(&config));
            findings.extend(state(&config));
            findings.extend(config.metrics.textfile.as_deref().map(|path| textfile(path, &config)));
            findings.extend(block_on(async {
                let mut found = check_pve(&config).await;
                found.extend(check_hub(&config).await);
                Ok(found)
            })?);
        }
        Err(error) => findings.push(bad("configuration", chain(&error))),
    }
    if cli.json {
        json(&findings);
    } else {
        for finding in &findings {
            let mark = if finding.ok { paint(Tone::Good, "ok  ") } else { paint(Tone::Bad, "FAIL") };
            line(&format!("{mark}  {:<14} {}", finding.check, clean(&finding.text)));
        }
    }
    Ok(if findings.iter().all(|finding| finding.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn disk(config: &Config) -> Finding {
    let folder = &config.state_dir;
    let probe = folder.join(".doctor");
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    if let Err(error) = written {
        return bad(
            "state folder",
            format!("{} cannot be written ({error}): make the folder, check the disk", folder.display()),
        );
    }
    match nix::sys::statvfs::statvfs(folder) {
        Ok(space) => {
            let free = space.blocks_available() * space.fragment_size();
            let text = format!("{}, {} MiB free", folder.display(), free >> 20);
            if free < FREE_BYTES_MIN {
                bad("state folder", format!("{text}: free some space"))
            } else {
                good("state folder", text)
            }
        }
        Err(error) => bad("state folder", format!("{} cannot be measured: {error}", folder.display())),
    }
}

/// What the agent remembers, read beside a running one.
fn state(config: &Config) -> Vec<Finding> {
    let state = match state_to_read(config) {
        Ok(state) => state,
        Err(error) => return vec![bad("state", chain(&error))],
    };
    let remembered = match &state {
        None => good("state", "empty: the agent has not run yet"),
        Some(_) => good("state", format!("format {FORMAT}")),
    };
    vec![remembered, trust(config, state.as_ref())]
}

/// Not set up is no failure: such a box does everything that is routine, and holds the rest.
fn trust(config: &Config, state: Option<&State>) -> Finding {
    let Some(genesis) = &config.trust.genesis_sha256 else {
        return good("trust", "trust.genesis_sha256 is not set: what needs a signature stays held");
    };
    let Some(state) = state else {
        return good("trust", "the keyset comes with the first answer of the hub");
    };
    if state.book().is_damaged() {
        return bad("trust", format!("{}: see docs/signing.md", Rejection::LedgerDamaged));
    }
    match state.trusted(genesis) {
        Ok(Some(trusted)) => good("trust", format!("keyset {} is in force", trusted.keyset().version)),
        Ok(None) => bad("trust", "no keyset has come from the hub: `felhom-sign keyset upload` publishes it"),
        Err(error) => bad(
            "trust",
            format!("{}. If the digest was changed on purpose: felhom-agent trust reset", chain(&error)),
        ),
    }
}

/// The file and not the folder's rights: those of this shell are not those of the unit.
fn textfile(path: &Path, config: &Config) -> Finding {
    let shown = path.display();
    if !path.is_absolute() || path.extension().is_none_or(|extension| extension != "prom") {
        let text =
            format!("metrics.textfile: {shown} must be a whole path that ends in .prom, or nobody reads it");
        return bad("metrics", text);
    }
    if !path.parent().is_some_and(Path::is_dir) {
        return bad(
            "metrics",
            format!("the folder of {shown} is missing: is prometheus-node-exporter installed?"),
        );
    }
    let written = path.metadata().and_then(|metadata| metadata.modified()).ok();
    match written.map(|at| at.elapsed().unwrap_or_default()) {
        Some(age) if age < TEXTFILE_AGE_MAX => good("metrics", format!("{shown}, {} s old", age.as_secs())),
        None if !config.state_dir.join(FILE_NAME).exists() => {
            good("metrics", format!("{shown} is written after the first cycle"))
        }
        stale => {
            let stale = stale
                .map_or("was never written".to_owned(), |age| format!("is {} min old", age.as_secs() / 60));
            bad(
                "metrics",
                format!(
                    "{shown} {stale}: felhom-agent must run, its unit needs the drop-in textfile.conf, and the folder \
                     must belong to root (docs/metrics.md)"
                ),
            )
        }
    }
}

async fn check_pve(config: &Config) -> Vec<Finding> {
    let pve = match pve(config) {
        Ok(pve) => pve,
        Err(error) => return vec![bad("pve", chain(&error))],
    };
    let mut findings = Vec::new();
    match observer(config, &pve).find_node().await {
        Ok((node, version)) => {
            findings.push(good("pve", format!("{} answers as node {node}, PVE {version}", config.pve.url)));
        }
        Err(failure) => return vec![bad("pve", failure.text)],
    }
    let desired = in_force(config).ok();
    let drives = desired.as_ref().is_some_and(|desired| !desired.storage.is_empty());
    findings.push(privileges(&pve, drives).await);
    findings.extend(drives.then(|| drive_helper(config)));
    if desired
        .is_some_and(|desired| desired.tunnel.is_some_and(|tunnel| tunnel.presence == Presence::Present))
    {
        findings.push(tunnel(config));
    }
    findings
}

/// Only root mounts a drive, and the agent has no right to.
fn drive_helper(config: &Config) -> Finding {
    if is_served(&config.state_dir) {
        return good("drives", "felhom-host mounts drives for the agent");
    }
    bad("drives", "nobody mounts drives for the agent: systemctl status felhom-host.path felhom-agent")
}

/// What a tunnel takes that only a person brings.
fn tunnel(config: &Config) -> Finding {
    if !is_served(&config.state_dir) {
        return bad(
            "tunnel",
            "nobody changes units for the agent: systemctl status felhom-host.path felhom-agent",
        );
    }
    match installed_program(&config.drives_root) {
        Some(path) => good(
            "tunnel",
            format!("{} is installed; `felhom-agent explain tunnel` says the rest", path.display()),
        ),
        None => bad(
            "tunnel",
            "cloudflared is not installed: `apt install cloudflared`, from Cloudflare's own sources",
        ),
    }
}

async fn privileges(pve: &Pve, drives: bool) -> Finding {
    let permissions: Permissions = match pve.permissions().await {
        Ok(permissions) => permissions,
        Err(error) => return bad("privileges", failure(&error).text),
    };
    let missing: Vec<String> = PRIVILEGES
        .iter()
        .filter(|(path, privilege)| !permissions.has(path, privilege))
        .map(|(path, privilege)| format!("{privilege} on {path}"))
        .collect();
    if missing.is_empty() && drives && !permissions.has("/storage", "Datastore.Allocate") {
        let text = "the document gives drives a purpose, and the token lacks Datastore.Allocate on /storage: felhom-pve-role \
                    setup --storage";
        return bad("privileges", text);
    }
    if missing.is_empty() {
        return good("privileges", format!("the token has all {} that guests need", PRIVILEGES.len()));
    }
    let text = format!("the token lacks {}: give them to the token and to its user", missing.join(", "));
    bad("privileges", text)
}

async fn check_hub(config: &Config) -> Vec<Finding> {
    let hub = match hub(config) {
        Ok(hub) => hub,
        Err(error) => return vec![bad("hub", chain(&error))],
    };
    if let Err(error) = hub.poll(&PollQuery::default()).await {
        return vec![bad("hub", format!("{error}. Check address, pin and key in the configuration"))];
    }
    let mut findings = vec![good("hub", format!("{} knows this host", config.hub.url))];
    findings.push(match hub.clock().await {
        Ok(hub_time) => clock(hub_time),
        Err(error) => bad("clock", format!("the hub's time cannot be read: {error}")),
    });
    findings
}

fn clock(hub_time: Timestamp) -> Finding {
    let skew_s = Timestamp::now().duration_since(hub_time).as_secs();
    if skew_s.abs() <= SKEW_MAX_S {
        return good("clock", format!("within {} s of the hub's", skew_s.abs().max(1)));
    }
    let side = if skew_s > 0 { "ahead of" } else { "behind" };
    bad("clock", format!("{} s {side} the hub's: check `timedatectl` and the box's battery", skew_s.abs()))
}
