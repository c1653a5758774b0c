//! `felhom-hub operator`: who may log in, and the keys of their programs. A password is typed or piped in, never an
//! argument; a key is shown once.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Subcommand;
use felhom_shared::key::KeyKind;
use zeroize::Zeroizing;

use super::show::{clean, json, line};
use super::{Cli, CliError, author};
use crate::auth::{admit_operator_key, draw};
use crate::clock::now_ms;
use crate::password;
use crate::store::{audit, keys, operators, sessions};

const PASSWORD_CHARS_MIN: usize = 12;
/// What the login form takes.
const PASSWORD_BYTES_MAX: usize = 1024;

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Add an operator; the password is asked for, or read from standard input.
    Add {
        /// The login name.
        name: String,
    },
    /// Change an operator's password; who is logged in with the old one is logged out.
    Passwd {
        /// The login name.
        name: String,
    },
    /// Show who may log in.
    List,
    /// Take an operator's access away, at once, and every key of theirs.
    Remove {
        /// The login name.
        name: String,
    },
    /// Make a key for an operator's programs, as felhom-sign, and print it, once.
    Key {
        /// The login name.
        name: String,
    },
    /// Show the keys that there are; never the keys themselves.
    Keys,
    /// Take one key away, at once.
    RevokeKey {
        /// What `felhom-hub operator keys` calls it.
        lookup: String,
    },
}

pub(super) fn run(cli: &Cli, command: &OperatorCommand) -> Result<ExitCode, CliError> {
    match command {
        OperatorCommand::Add { name } => add(cli, name)?,
        OperatorCommand::Passwd { name } => passwd(cli, name)?,
        OperatorCommand::List => list(cli)?,
        OperatorCommand::Remove { name } => remove(cli, name)?,
        OperatorCommand::Key { name } => key(cli, name)?,
        OperatorCommand::Keys => keys(cli)?,
        OperatorCommand::RevokeKey { lookup } => revoke(cli, lookup)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(cli: &Cli, name: &str) -> Result<(), CliError> {
    let plain = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(CliError::Said(
            "a login name has 1 to 64 letters, digits, '-', '_', '.' or '@'".to_owned(),
        ));
    }
    let hash = ask_hash()?;
    cli.transact(|sql, _| {
        if operators::password(sql, name)?.is_some() {
            let text = format!(
                "there is an operator {name:?} already; `felhom-hub operator passwd` changes a password"
            );
            return Err(CliError::Said(text));
        }
        operators::put(sql, name, &hash, now_ms())?;
        Ok(audit::append(sql, &author(), "operator_added", None, (name, now_ms()))?)
    })?;
    line(&format!("{name} may log in"));
    Ok(())
}

fn passwd(cli: &Cli, name: &str) -> Result<(), CliError> {
    let hash = ask_hash()?;
    cli.transact(|sql, _| {
        if operators::password(sql, name)?.is_none() {
            return Err(CliError::Said(format!("there is no operator {name:?}")));
        }
        operators::put(sql, name, &hash, now_ms())?;
        sessions::remove_all(sql, name)?;
        Ok(audit::append(sql, &author(), "password_changed", None, (name, now_ms()))?)
    })?;
    line(&format!("{name} has the new password and is logged out everywhere"));
    Ok(())
}

fn ask_hash() -> Result<String, CliError> {
    let typed = read_password()?;
    if typed.chars().count() < PASSWORD_CHARS_MIN {
        return Err(CliError::Said(format!("the password needs at least {PASSWORD_CHARS_MIN} characters")));
    }
    if typed.len() > PASSWORD_BYTES_MAX {
        return Err(CliError::Said(format!("the password has more than {PASSWORD_BYTES_MAX} bytes")));
    }
    password::hash(&typed).map_err(|error| CliError::Said(format!("the password cannot be hashed: {error}")))
}

fn read_password() -> Result<Zeroizing<String>, CliError> {
    let failed = |source| CliError::File { path: "the terminal".into(), source };
    if !std::io::stdin().is_terminal() {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut text).map_err(failed)?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let first = Zeroizing::new(rpassword::prompt_password("password: ").map_err(failed)?);
    let second = Zeroizing::new(rpassword::prompt_password("again: ").map_err(failed)?);
    if *first == *second {
        Ok(first)
    } else {
        Err(CliError::Said("the two differ; nothing was changed".to_owned()))
    }
}

fn list(cli: &Cli) -> Result<(), CliError> {
    let rows = cli.transact(|sql, _| Ok(operators::list(sql)?))?;
    if cli.json {
        json(&rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
        return Ok(());
    }
    rows.iter().for_each(|(name, _)| line(&clean(name)));
    Ok(())
}

fn remove(cli: &Cli, name: &str) -> Result<(), CliError> {
    cli.transact(|sql, _| {
        if !operators::remove(sql, name)? {
            return Err(CliError::Said(format!("there is no operator {name:?}")));
        }
        sessions::remove_all(sql, name)?;
        keys::revoke_all_of_operator(sql, name)?;
        Ok(audit::append(sql, &author(), "operator_removed", None, (name, now_ms()))?)
    })?;
    line(&format!("{name} is logged out and may no longer log in"));
    Ok(())
}

fn key(cli: &Cli, name: &str) -> Result<(), CliError> {
    let key = draw(KeyKind::Operator).map_err(|error| CliError::Said(format!("no randomness: {error}")))?;
    cli.transact(|sql, keys| {
        if operators::password(sql, name)?.is_none() {
            let text = format!("there is no operator {name:?}; `felhom-hub operator add` adds one");
            return Err(CliError::Said(text));
        }
        Ok(admit_operator_key(sql, keys, &key, (name, &author()))?)
    })?;
    if cli.json {
        json(&serde_json::json!({"name": name, "lookup": key.lookup(), "key": key.expose()}));
        return Ok(());
    }
    line(&format!(
        "The key of {name}, shown only this once; put it into a file that only they can read (chmod 600):\n"
    ));
    line(&format!("    {}\n", key.expose()));
    line(&format!(
        "It may see what waits and hand in; it signs nothing. To take it away: felhom-hub operator revoke-key {}",
        key.lookup()
    ));
    Ok(())
}

fn keys(cli: &Cli) -> Result<(), CliError> {
    let rows = cli.read(|sql| Ok(keys::operator_keys(sql)?))?;
    if cli.json {
        json(&rows);
    } else if rows.is_empty() {
        line("no operator has a key; make one with `felhom-hub operator key NAME`");
    }
    for row in rows.iter().filter(|_| !cli.json) {
        let made = jiff::Timestamp::from_millisecond(row.created_at_ms).unwrap_or_default();
        line(&format!("{}  {:<24} made {made:.0}", row.lookup, clean(&row.operator)));
    }
    Ok(())
}

fn revoke(cli: &Cli, lookup: &str) -> Result<(), CliError> {
    let name = cli.transact(|sql, _| {
        let Some(name) = keys::revoke_operator_key(sql, lookup)? else {
            let text = format!("there is no key {lookup:?}; `felhom-hub operator keys` shows them");
            return Err(CliError::Said(text));
        };
        let detail = format!("{name}, {lookup}");
        audit::append(sql, &author(), "operator_key_revoked", None, (&detail, now_ms()))?;
        Ok(name)
    })?;
    line(&format!("this key of {} opens nothing any more", clean(&name)));
    Ok(())
}
