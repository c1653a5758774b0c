//! The three programs of the demo, in one folder that ends with it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::signing::Keys;
use super::tunnel;
use crate::Failed;
use crate::process::{Running, built, cargo, fed, must, output, wait_for};

const START_PATIENCE: Duration = Duration::from_secs(20);
pub(super) const HOST: &str = "kovacs-haz";
pub(super) const OPERATOR: &str = "demo";
/// The hub's certificate is the demo's own, and so is this password: it guards a loopback port for as long as
/// the demo runs.
const PASSWORD: &str = "loopback-demo-only";
/// Each guest's create takes this long on the fake node, so that a person can watch.
const TASK_MS: &str = "600";
/// The fake node's drive for data.
pub(super) const DATA_SERIAL: &str = "WD-WCC7K4LJ5TXR";
/// Cycles without news, short for the demo.
const INTERVAL_S: u32 = 5;

/// Builds the programs.
pub(super) fn build() -> Result<(), Failed> {
    println!("building hub, agent and fake Proxmox node");
    must(&mut cargo(&[
        "build",
        "--quiet",
        "-p",
        "fake-pve",
        "-p",
        "felhom-hub",
        "-p",
        "felhom-agent",
        "-p",
        "felhom-sign",
    ]))?;
    must(&mut cargo(&["build", "--quiet", "-p", "felhom-tests", "--bin", "host_of_double"]))
}

/// Everything that runs.
pub(super) struct House {
    agent: Option<Running>,
    hub: Running,
    pve: Running,
    /// Who mounts the fake node's drives and runs the tunnel's unit.
    host: Running,
    folder: tempfile::TempDir,
    url: String,
    generation: u64,
    keys: Rc<Keys>,
}

impl House {
    /// Starts the node, then the hub with a host and an operator, then the agent.
    pub(super) fn start(port: u16) -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("felhom-demo-").tempdir();
        let folder = folder.map_err(|source| Failed::File { path: std::env::temp_dir(), source })?;
        let path = folder.path();
        let pve_dir = path.join("pve");
        let mut serve = Command::new(built("fake-pve"));
        serve.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--task-ms",
            TASK_MS,
            "--dir",
        ]);
        let pve = Running::start("fake-pve", serve.arg(&pve_dir), &path.join("pve.log"))?;
        let address =
            wait_for("the fake node's start", START_PATIENCE, || Ok(read(&pve_dir.join("address"))))?;
        let (hub, url, slip) = start_hub(path, port)?;
        let (keys, genesis) = Keys::make(path)?;
        write_agent_config(path, &slip, &genesis, (&url, &format!("https://{}", address.trim())))?;
        tunnel::install_cloudflared(&pve_dir.join("host"))?;
        let host = start_host(path)?;
        let house = Self { agent: None, hub, pve, host, folder, url, generation: 0, keys: Rc::new(keys) };
        house.keys.introduce(&house)?;
        let agent = Some(start_agent(house.folder())?);
        Ok(Self { agent, ..house })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The newest published generation.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// An error if a program has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Failed> {
        let logs = format!("; its log lies in {}", self.folder.path().display());
        let programs = [Some(&mut self.pve), Some(&mut self.host), Some(&mut self.hub), self.agent.as_mut()];
        programs
            .into_iter()
            .flatten()
            .try_for_each(Running::check)
            .map_err(|error| Failed::said(format!("{error}{logs}")))
    }

    /// Publishes a file with the operator's own command.
    pub(super) fn publish(&mut self, desired: &Path) -> Result<(), Failed> {
        let mut publish = self.hub_command();
        let shown = output(publish.args(["desired", "publish", HOST, "--yes"]).arg(desired))?;
        println!("{}", shown.lines().last().unwrap_or_default());
        self.generation = self.host()?["desired"].as_u64().unwrap_or(0);
        Ok(())
    }

    /// The host's row as `felhom-hub host list --json` shows it.
    pub(super) fn host(&self) -> Result<Value, Failed> {
        let text = output(self.hub_command().args(["host", "list", "--json"]))?;
        let rows: Value =
            serde_json::from_str(&text).map_err(|error| Failed::said(format!("{error} in {text}")))?;
        Ok(rows[0].clone())
    }

    /// The queue of signed operations, newest first, as `felhom-hub ops --json` shows it.
    pub(super) fn ops(&self) -> Result<Value, Failed> {
        let text = output(self.hub_command().args(["ops", HOST, "--json"]))?;
        serde_json::from_str(&text).map_err(|error| Failed::said(format!("{error} in {text}")))
    }

    /// The hub's address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The operator's keys.
    pub(super) fn keys(&self) -> Rc<Keys> {
        Rc::clone(&self.keys)
    }

    pub(super) fn hub_command(&self) -> Command {
        let mut command = Command::new(built("felhom-hub"));
        command.arg("--data").arg(self.folder.path().join("hub"));
        command
    }

    /// What the agent last reported; nothing before its first cycle.
    pub(super) fn agent_status(&self) -> Result<Option<Value>, Failed> {
        let output = self.agent_command("status").arg("--json").output();
        let output =
            output.map_err(|source| Failed::Start { what: "felhom-agent status".to_owned(), source })?;
        Ok(serde_json::from_slice(&output.stdout).ok())
    }

    /// Whether `felhom-agent plan` finds nothing to do.
    pub(super) fn plan_is_empty(&self) -> Result<bool, Failed> {
        let status = self.agent_command("plan").stdout(Stdio::null()).status();
        status
            .map(|status| status.success())
            .map_err(|source| Failed::Start { what: "felhom-agent plan".to_owned(), source })
    }

    fn agent_command(&self, verb: &str) -> Command {
        let mut command = Command::new(built("felhom-agent"));
        command.arg("--config").arg(self.folder.path().join("agent.toml")).arg(verb);
        command
    }

    /// Commands the fake node, as a person would.
    pub(super) fn ctl(&self, args: &[&str]) -> Result<Value, Failed> {
        let control = read(&self.folder.path().join("pve/control-address")).unwrap_or_default();
        let text =
            output(Command::new(built("fake-pve")).args(["ctl", "--control", control.trim()]).args(args))?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Ends the agent as a power cut would.
    pub(super) fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.kill();
        }
    }

    /// Starts the agent again on the same state.
    pub(super) fn start_agent(&mut self) -> Result<(), Failed> {
        self.agent = Some(start_agent(self.folder.path())?);
        Ok(())
    }

    /// Tells the user where everything is.
    pub(super) fn welcome(&self, desired: &Path) {
        let folder = self.folder.path().display();
        println!("\n  page     {}   (its certificate is its own: the browser will ask once)", self.url);
        println!("  login    {OPERATOR} / {PASSWORD}");
        println!("  edit     {}   and save: it is published and converged", desired.display());
        println!(
            "  agent    {} --config {folder}/agent.toml status|plan|explain dns|doctor",
            built("felhom-agent").display()
        );
        println!(
            "  break    {} ctl --control $(cat {folder}/pve/control-address) edit 104 memory 64",
            built("fake-pve").display()
        );
        println!(
            "  pull     {} ctl --control $(cat {folder}/pve/control-address) drive {DATA_SERIAL} off   (and on)",
            built("fake-pve").display()
        );
        println!(
            "  tunnel   {} token demo --of-no-tunnel | {} --data {folder}/hub secret put {HOST} {}   and name what it prints in the file",
            built("fake-cloudflared").display(),
            built("felhom-hub").display(),
            tunnel::SECRET
        );
        println!("  logs     {folder}/*.log");
        println!("\nCtrl-C ends all.");
    }

    /// Ends the programs and, unless it is to be kept, the folder.
    pub(super) fn end(self, keep: bool) -> Result<(), Failed> {
        let Self { agent, hub, pve, host, folder, .. } = self;
        drop((agent, hub, host, pve));
        if keep {
            println!("kept {}", folder.keep().display());
        }
        Ok(())
    }
}

/// What `felhom-hub host add` hands out for the box.
struct Slip {
    host_id: String,
    key: String,
    pin: String,
}

fn start_hub(folder: &Path, port: u16) -> Result<(Running, String, Slip), Failed> {
    let data = folder.join("hub");
    let config = folder.join("hub.toml");
    write(
        &config,
        &format!(
            "listen = \"127.0.0.1:{port}\"\npoll_interval_s = {INTERVAL_S}\nflush_every_s = {INTERVAL_S}\n"
        ),
        0o644,
    )?;
    let hub = || {
        let mut command = Command::new(built("felhom-hub"));
        command.arg("--data").arg(&data).arg("--config").arg(&config);
        command
    };
    let slip = output(hub().args(["host", "add", HOST, "--customer", "Kovács család", "--json"]))?;
    let slip: Value =
        serde_json::from_str(&slip).map_err(|error| Failed::said(format!("host add: {error}")))?;
    let text = |key: &str| slip[key].as_str().unwrap_or_default().to_owned();
    let slip = Slip { host_id: text("host_id"), key: text("key"), pin: text("pin") };
    fed(hub().args(["operator", "add", OPERATOR]), &format!("{PASSWORD}\n"))?;
    let running = Running::start("felhom-hub", hub().arg("serve"), &folder.join("hub.log"))?;
    let address = wait_for("the hub's start", START_PATIENCE, || Ok(read(&data.join("address"))))?;
    Ok((running, format!("https://{}", address.trim()), slip))
}

fn write_agent_config(
    folder: &Path,
    slip: &Slip,
    genesis: &str,
    (hub_url, pve_url): (&str, &str),
) -> Result<(), Failed> {
    write(&folder.join("hub-key"), &slip.key, 0o600)?;
    let at = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "host_id = \"{}\"\nstate_dir = \"{}\"\ndrives_root = \"{}\"\n\n[tunnel]\nmetrics = \"{}\"\n\n[hub]\nurl = \"{hub_url}\"\npins = [\"{}\"]\nkey_file = \"{}\"\n\n\
         [pve]\nurl = \"{pve_url}\"\ncertificate = \"{}\"\ntoken_file = \"{}\"\n\n[trust]\ngenesis_sha256 = \"{genesis}\"\n",
        slip.host_id,
        at("agent"),
        at("pve/host"),
        tunnel::free_address()?,
        slip.pin,
        at("hub-key"),
        at("pve/pve-ssl.pem"),
        at("pve/token"),
    );
    write(&folder.join("agent.toml"), &text, 0o644)
}

/// The agent asks for what only root could do on a real host; here somebody does it to the fake node's files.
fn start_host(folder: &Path) -> Result<Running, Failed> {
    let (desk, pve) = (folder.join("agent/host"), folder.join("pve"));
    fs::create_dir_all(&desk).map_err(|source| Failed::File { path: desk, source })?;
    let control = read(&pve.join("control-address")).unwrap_or_default();
    let mut host = Command::new(built("host_of_double"));
    host.arg(folder.join("agent.toml"))
        .arg(folder.join("agent"))
        .arg(pve.join("host"))
        .arg(built("fake-pve"))
        .arg(control.trim());
    Running::start("host_of_double", &mut host, &folder.join("host.log"))
}

fn start_agent(folder: &Path) -> Result<Running, Failed> {
    let mut run = Command::new(built("felhom-agent"));
    run.arg("--config").arg(folder.join("agent.toml")).arg("run").env("NO_COLOR", "1");
    Running::start("felhom-agent", &mut run, &folder.join("agent.log"))
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().filter(|text| !text.trim().is_empty())
}

pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failed> {
    let failed = |source| Failed::File { path: PathBuf::from(path), source };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
