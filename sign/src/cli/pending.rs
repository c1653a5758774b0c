//! `felhom-sign --pending`: the steps that boxes hold; which to sign; signed; uploaded or written.
//!
//! Everything is confirmed before the first signature is made, so that a "no" to the second is not half a yes.

use std::path::{Path, PathBuf};

use clap::Args;
use felhom_shared::signed::{Draft, Namespace, Op};

use super::CliError;
use super::args::{ConfirmArgs, KeyArgs, ValidArgs};
use crate::compose::{compose, now_ms};
use crate::confirm::{NotConfirmed, ask, confirm};
use crate::files::{self, Readers};
use crate::inventory::Inventory;
use crate::pending::{self, Entry, PENDING_BYTES_MAX};
use crate::render::{hub_says, render, time};
use crate::seal::seal;
use crate::show::{Tone, escape, json, line, note, paint};

#[derive(Debug, Args)]
pub(super) struct Pending {
    #[cfg(feature = "network")]
    #[command(flatten)]
    hub: super::args::HubArgs,
    /// Read the list from a file instead of the hub: the answer of GET /api/v1/operator/pending.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only this host: its id, its name in the inventory, or the hub's name for it.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only show the list.
    #[arg(long)]
    list: bool,
    /// Sign the step of this number of the list, without asking which.
    #[arg(long, value_name = "N")]
    only: Option<usize>,
    /// Write the signed operations into this folder instead of uploading them.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    valid: ValidArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

pub(super) fn run(command: &Pending, as_json: bool) -> Result<(), CliError> {
    if command.confirm.said.is_some() && command.only.is_none() {
        return Err(CliError::Usage("--yes-i-confirm goes with --only N: one name, one step".to_owned()));
    }
    let inventory = Inventory::read(command.confirm.inventory.as_deref())?;
    let host = command.host.as_deref().map(|host| inventory.host(host));
    let entries = pending::read(&command.fetch(host.as_deref())?, host.as_deref())?;
    if command.list {
        list(&entries, &inventory, as_json);
        return Ok(());
    }
    command.delivery()?;
    if entries.is_empty() {
        note("no box holds a step");
        return Ok(());
    }
    for (at, entry) in entries.iter().enumerate() {
        note(&shown(at + 1, entry, &inventory));
    }
    // After showing: the command that the hub's page offers names no key, and the list is half of what it is for.
    command.keys.some()?;
    let chosen = choose(&entries, command.only)?;
    for draft in &chosen {
        note(&format!("\n{}", render(draft, &inventory, None).consequence));
        confirm(draft, command.confirm.said.as_deref())?;
    }
    let signers = command.keys.open()?;
    let mut delivered = Vec::new();
    for draft in chosen {
        let key_id = signers.first().map(|signer| signer.public().fingerprint()).unwrap_or_default();
        let op = compose(draft.clone(), now_ms()?, command.valid.valid, key_id)?;
        let envelope = seal(Namespace::Op, &op.to_payload(), &signers)?;
        let told = command.deliver(&op, &envelope)?;
        if !as_json {
            line(&format!("{} {told}, to be taken until {}", op.request.word(), time(op.expires_at)));
        }
        delivered.push(serde_json::json!({"op": op.request.word(), "to": told, "expires_at": op.expires_at}));
    }
    if as_json {
        json(&delivered);
    }
    Ok(())
}

impl Pending {
    #[cfg_attr(not(feature = "network"), expect(unused_variables, reason = "a file holds every host"))]
    fn fetch(&self, host: Option<&str>) -> Result<Vec<u8>, CliError> {
        if let Some(path) = &self.from {
            return Ok(files::read(path, PENDING_BYTES_MAX)?.to_vec());
        }
        #[cfg(feature = "network")]
        if let Some(hub) = self.hub.connect()? {
            return Ok(hub.pending(host, PENDING_BYTES_MAX)?);
        }
        Err(CliError::Usage(
            "where is the list? --from FILE, or --hub URL --ca FILE --key-file FILE".to_owned(),
        ))
    }

    /// Asked before anything is signed: a signature that has nowhere to go is not made.
    fn delivery(&self) -> Result<(), CliError> {
        #[cfg(feature = "network")]
        if self.hub.hub.is_some() {
            return Ok(());
        }
        if self.out.is_some() {
            return Ok(());
        }
        Err(CliError::Usage("where to? name a folder with --out DIR".to_owned()))
    }

    fn deliver(&self, op: &Op, envelope: &str) -> Result<String, CliError> {
        if let Some(folder) = &self.out {
            return write(folder, op, envelope);
        }
        #[cfg(feature = "network")]
        if let Some(hub) = self.hub.connect()? {
            let queued = hub.upload_op(op.target.host_id, envelope)?;
            return Ok(format!("is queued on the hub as {}", escape(&queued)));
        }
        self.delivery().map(|()| String::new())
    }
}

fn write(folder: &Path, op: &Op, envelope: &str) -> Result<String, CliError> {
    let about = op.request.expect().map_or_else(|| "host".to_owned(), |expect| expect.name.to_string());
    let nonce: String = op.nonce.into();
    let path = folder.join(format!("{}-{about}-{}.signed", op.request.word(), &nonce[..8]));
    files::write_new(&path, envelope.as_bytes(), Readers::Anyone)?;
    Ok(format!("is written to {}", path.display()))
}

fn shown(number: usize, entry: &Entry, inventory: &Inventory) -> String {
    let mut lines = match &entry.draft {
        Ok(draft) => render(draft, inventory, Some(&entry.hub_says)).lines(),
        Err(why) => {
            let reason = felhom_shared::text::chain(why);
            vec![
                format!("\"{}\"  {}", escape(&entry.hub_says.op), paint(Tone::Bad, "CANNOT BE SIGNED")),
                format!("  host     {}", entry.host_id),
                format!("  reason   {}", escape(&reason)),
            ]
        }
    };
    lines.push(hub_says(&entry.hub_says));
    format!("\n{number}. {}", lines.join("\n"))
}

fn list(entries: &[Entry], inventory: &Inventory, as_json: bool) {
    if !as_json {
        for (at, entry) in entries.iter().enumerate() {
            line(&shown(at + 1, entry, inventory));
        }
        return;
    }
    let rows = entries.iter().enumerate().map(|(at, entry)| {
        let hub = &entry.hub_says;
        let said =
            serde_json::json!({"op": hub.op, "host": hub.host_name, "code": hub.code, "text": hub.text});
        let (step, refused) = match &entry.draft {
            Ok(draft) => (Some(render(draft, inventory, Some(hub))), None),
            Err(why) => (None, Some(felhom_shared::text::chain(why))),
        };
        serde_json::json!({"number": at + 1, "step": step, "cannot_be_signed": refused, "hub_says": said})
    });
    json(&rows.collect::<Vec<_>>());
}

fn choose(entries: &[Entry], only: Option<usize>) -> Result<Vec<&Draft>, CliError> {
    let mut numbers = match only {
        Some(number) => vec![number],
        None => {
            let typed = ask("\nWhich to sign? Numbers, separated by commas; nothing to stop: ")?;
            let number = |text: &str| text.trim().parse::<usize>();
            typed.split(',').map(number).collect::<Result<_, _>>().map_err(|_| NotConfirmed::No)?
        }
    };
    // A number typed twice is one step.
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().map(|number| pick(entries, number)).collect()
}

fn pick(entries: &[Entry], number: usize) -> Result<&Draft, CliError> {
    let entry = number.checked_sub(1).and_then(|at| entries.get(at));
    let absent = || CliError::Usage(format!("there is no step {number} in the list"));
    match &entry.ok_or_else(absent)?.draft {
        Ok(draft) => Ok(draft),
        Err(why) => Err(CliError::Unsignable { number, source: why.clone() }),
    }
}
