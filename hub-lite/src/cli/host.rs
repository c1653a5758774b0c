//! `felhom-hub host`: the boxes, and the keys they are known by.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;
use felhom_shared::id::{Generation, HostId, Label};
use felhom_shared::key::{ApiKey, KeyKind};
use felhom_shared::report::{DocumentRefusal, Outcome};
use rusqlite::Connection;
use serde::Serialize;
use uuid::Uuid;

use super::show::{clean, coloured, json, line};
use super::{Cli, CliError, Which, author, find, said};
use crate::auth::{Keys, draw};
use crate::checks::staleness::{Liveness, liveness_at};
use crate::clock::now_ms;
use crate::config::Config;
use crate::store::hosts::{self, Overview};
use crate::store::{audit, keys};
use crate::tls;

#[derive(Debug, Subcommand)]
pub(super) enum HostCommand {
    /// Add a box and print its key, once.
    Add {
        /// Its name.
        name: String,
        /// Whose it is.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show all boxes.
    List,
    /// Let a box observe and report, and change nothing.
    Pause(Which),
    /// Let a paused box go on.
    Resume(Which),
    /// Give a box a new key; the old one stops working.
    KeyRotate(Which),
}

pub(super) fn run(cli: &Cli, command: &HostCommand) -> Result<ExitCode, CliError> {
    match command {
        HostCommand::Add { name, customer } => add(cli, name, customer.as_deref())?,
        HostCommand::List => list(cli)?,
        HostCommand::Pause(which) => set_paused(cli, which, true)?,
        HostCommand::Resume(which) => set_paused(cli, which, false)?,
        HostCommand::KeyRotate(which) => rotate(cli, which)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the box needs to know; shown once.
#[derive(Serialize)]
struct Slip<'a> {
    host_id: HostId,
    name: &'a str,
    key: &'a str,
    pin: String,
    url: String,
}

fn add(cli: &Cli, name: &str, customer: Option<&str>) -> Result<(), CliError> {
    let name = Label::new(name).map_err(|error| said(&error))?;
    let host_id = HostId(Uuid::new_v4());
    let key = cli.transact(|sql, keys| {
        if hosts::find(sql, name.as_str())?.is_some() {
            return Err(CliError::Said(format!("there is a host {name} already; choose another name")));
        }
        hosts::add(sql, host_id, name.as_str(), customer, now_ms())?;
        audit::append(sql, &author(), "host_added", Some(host_id), (name.as_str(), now_ms()))?;
        new_key(sql, keys, host_id)
    })?;
    slip(cli, host_id, name.as_str(), &key)
}

fn rotate(cli: &Cli, which: &Which) -> Result<(), CliError> {
    let (host, key) = cli.transact(|sql, keys| {
        let host = find(sql, which)?;
        audit::append(sql, &author(), "key_rotated", Some(host.host_id), ("", now_ms()))?;
        let key = new_key(sql, keys, host.host_id)?;
        Ok((host, key))
    })?;
    slip(cli, host.host_id, &host.name, &key)
}

fn new_key(sql: &Connection, keys: &Keys, host_id: HostId) -> Result<ApiKey, CliError> {
    let key = draw(KeyKind::Host).map_err(|error| CliError::Said(format!("no randomness: {error}")))?;
    keys::replace_host_key(sql, host_id, key.lookup(), &keys.hmac(&key), now_ms())?;
    Ok(key)
}

fn slip(cli: &Cli, host_id: HostId, name: &str, key: &ApiKey) -> Result<(), CliError> {
    let config = cli.read_config()?;
    let slip = Slip {
        host_id,
        name,
        key: key.expose(),
        pin: tls::identity(&config)?.pin,
        url: config.public_url.unwrap_or_else(|| format!("https://{}", config.listen)),
    };
    if cli.json {
        json(&slip);
        return Ok(());
    }
    line(&format!("host {} is {}\n", slip.name, slip.host_id));
    line("On the box, /etc/felhom/hub-key (chmod 600), shown only this once:\n");
    line(&format!("    {}\n", slip.key));
    line("and /etc/felhom/agent.toml:\n");
    line(&format!(
        "    host_id = \"{}\"\n\n    [hub]\n    url = \"{}\"\n    pins = [\"{}\"]\n    key_file = \"/etc/felhom/hub-key\"",
        slip.host_id, slip.url, slip.pin
    ));
    Ok(())
}

/// A host as the list shows it.
#[derive(Serialize)]
struct Row {
    host_id: HostId,
    name: String,
    customer: Option<String>,
    paused: bool,
    conflict: bool,
    liveness: Liveness,
    last_seen: Option<jiff::Timestamp>,
    desired: Option<Generation>,
    received: Option<Generation>,
    reached: Option<Generation>,
    outcomes: BTreeMap<Outcome, u32>,
    refused: Option<DocumentRefusal>,
}

impl Row {
    fn of(overview: Overview, config: &Config) -> Self {
        let (host, summary) = (overview.host, overview.summary);
        Self {
            conflict: host.in_conflict(),
            liveness: liveness_at(host.last_seen_ms, now_ms(), config),
            last_seen: host.last_seen_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()),
            host_id: host.host_id,
            name: host.name,
            customer: host.customer,
            paused: host.paused,
            desired: host.desired,
            received: host.received,
            reached: host.reached,
            outcomes: summary.as_ref().map(|summary| summary.outcomes.clone()).unwrap_or_default(),
            refused: summary.and_then(|summary| summary.refused),
        }
    }

    fn text(&self) -> String {
        let number =
            |generation: Option<Generation>| generation.map_or_else(|| "-".to_owned(), |g| g.to_string());
        let mut text = format!(
            "{:<24} {}  {:<5}  desired {} received {} reached {}",
            clean(&self.name),
            self.host_id,
            self.liveness.word(),
            number(self.desired),
            number(self.received),
            number(self.reached),
        );
        for (outcome, count) in &self.outcomes {
            let word = serde_json::to_value(outcome).unwrap_or_default();
            text.push_str(&format!("  {count} {}", word.as_str().unwrap_or_default()));
        }
        if let Some(refused) = &self.refused {
            let (generation, code) = (refused.generation, clean(&refused.code));
            text.push_str(&coloured("31", &format!("  refused {generation} ({code})")));
        }
        if self.conflict {
            text.push_str(&coloured("31", "  CONFLICT"));
        }
        if self.paused {
            text.push_str("  paused");
        }
        text
    }
}

/// When a box was last heard is written down every few minutes; the running hub's pages know it to the second.
fn list(cli: &Cli) -> Result<(), CliError> {
    let config = cli.read_config()?;
    let rows: Vec<Row> = cli.read(|sql| {
        Ok(hosts::overview(sql)?.into_iter().map(|overview| Row::of(overview, &config)).collect())
    })?;
    if cli.json {
        json(&rows);
    } else if rows.is_empty() {
        line("no hosts yet; add one with `felhom-hub host add NAME`");
    } else {
        rows.iter().for_each(|row| line(&row.text()));
    }
    Ok(())
}

fn set_paused(cli: &Cli, which: &Which, paused: bool) -> Result<(), CliError> {
    let host = cli.transact(|sql, _| {
        let host = find(sql, which)?;
        hosts::set_paused(sql, host.host_id, paused)?;
        let deed = if paused { "host_paused" } else { "host_resumed" };
        audit::append(sql, &author(), deed, Some(host.host_id), ("", now_ms()))?;
        Ok(host)
    })?;
    if cli.json {
        json(&serde_json::json!({"host_id": host.host_id, "name": host.name, "paused": paused}));
    } else if paused {
        line(&format!("{} is paused: it observes and reports, and changes nothing", host.name));
    } else {
        line(&format!("{} goes on", host.name));
    }
    Ok(())
}
