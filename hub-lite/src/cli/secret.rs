//! `felhom-hub secret`: values that documents name. One is typed or piped in, never an argument, and never shown again.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use felhom_shared::limits::SECRET_BYTES_MAX;
use felhom_shared::secret::{SecretName, SecretValue};
use zeroize::Zeroizing;

use super::show::{json, line};
use super::{Cli, CliError, Which, author, find, said};
use crate::secrets::{put, remove};
use crate::store::secrets::list;

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Put a secret of a host here; it is asked for, or read from standard input. Prints what the document says of it.
    Put(Named),
    /// Show the names and hashes of a host's secrets; never the secrets.
    List(Which),
    /// Remove a secret that the host's document does not name.
    Remove(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    #[command(flatten)]
    which: Which,
    /// What the secret is called, e.g. tunnel-token.
    name: SecretName,
}

pub(super) fn run(cli: &Cli, command: &SecretCommand) -> Result<ExitCode, CliError> {
    match command {
        SecretCommand::Put(named) => put_one(cli, named)?,
        SecretCommand::List(which) => show(cli, which)?,
        SecretCommand::Remove(named) => {
            cli.transact(|sql, _| {
                let host = find(sql, &named.which)?;
                remove(sql, host.host_id, &named.name, &author()).map_err(|error| said(&error))
            })?;
            line(&format!("{} is removed", named.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn put_one(cli: &Cli, named: &Named) -> Result<(), CliError> {
    let value = SecretValue::new(&read()?).map_err(|error| said(&error))?;
    let secret = cli.transact(|sql, keys| {
        let host = find(sql, &named.which)?;
        put(sql, keys, host.host_id, (&named.name, &value), &author()).map_err(|error| said(&error))
    })?;
    if cli.json {
        json(&secret);
        return Ok(());
    }
    line("it is here, sealed; the document names it like this:\n");
    line(&format!("    {}", serde_json::to_string(&secret).expect("two words")));
    Ok(())
}

fn read() -> Result<Zeroizing<String>, CliError> {
    let failed = |source| CliError::File { path: "the terminal".into(), source };
    if std::io::stdin().is_terminal() {
        return Ok(Zeroizing::new(rpassword::prompt_password("secret: ").map_err(failed)?));
    }
    let mut text = Zeroizing::new(String::new());
    // One byte more than allowed, and room for a line's end, is enough to refuse it.
    std::io::stdin().take(SECRET_BYTES_MAX as u64 + 3).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn show(cli: &Cli, which: &Which) -> Result<(), CliError> {
    let rows = cli.read(|sql| {
        let host = find(sql, which)?;
        Ok(list(sql, host.host_id)?)
    })?;
    if cli.json {
        json(&rows);
    } else if rows.is_empty() {
        line("this host has no secrets; `felhom-hub secret put` puts one here");
    }
    for row in rows.iter().filter(|_| !cli.json) {
        let put = jiff::Timestamp::from_millisecond(row.put_at_ms).unwrap_or_default();
        line(&format!("{:<24} {}  put {put:.0}", row.name.as_str(), row.sha256));
    }
    Ok(())
}
