//! `felhom-sign keyset`: who may sign. Each edit writes the payload, and the envelope as soon as enough root keys
//! have signed it; until then the same command, run again with one signature more, goes on where it stood.

mod write;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use felhom_shared::limits::ENVELOPE_BYTES_MAX;
use felhom_shared::signed::{KeyEntry, Keyset, Rejection, Role};

pub(super) use write::describe;
use write::{Paths, finish, tell, write_payload};

use super::CliError;
use super::args::{AlsoSigned, KeyArgs};
use crate::confirm::confirm_keyset;
use crate::files;
use crate::judge;
use crate::keyset_edit::{self, Settings};
use crate::seal::{is_envelope, unseal};
use crate::signer;

#[derive(Debug, Subcommand)]
pub(super) enum KeysetCommand {
    /// The first keyset. Prints the digest for the enrolment slip.
    Init(Init),
    /// The next keyset, with one key more.
    Add(Add),
    /// The next keyset, without a key. What it had signed and no box has begun is void there.
    Revoke(Revoke),
    /// The next keyset, with a new key in the place of an old one.
    Rotate(Rotate),
    /// Sign a keyset that somebody else has made, after looking at it.
    Sign(SignKeyset),
    /// Put a signed keyset on the hub, for every box to fetch.
    #[cfg(feature = "network")]
    Upload(UploadKeyset),
}

/// What every edit takes.
#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// Set a threshold, e.g. destroy=2. Repeat it for several.
    #[arg(long = "threshold", value_name = "NAME=NUMBER")]
    thresholds: Vec<String>,
    /// SHA-256 of a hub key (SPKI), lower-case hex; two to four, replacing the ones before.
    #[arg(long = "hub-pin", value_name = "SHA256")]
    hub_pins: Vec<String>,
    /// An offline age recipient of the escrow; replaces the ones before.
    #[arg(long = "escrow-recipient", value_name = "age1…")]
    escrow_recipients: Vec<String>,
    /// The folder that keyset-N.json and keyset-N.signed go to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    also_signed: AlsoSigned,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// A root key: a public key file or line. Repeat it: two, kept in different places.
    #[arg(long = "root", value_name = "KEY.pub", required = true)]
    root: Vec<String>,
    /// A key for operations. Repeat it for several.
    #[arg(long = "ops", value_name = "KEY.pub")]
    ops: Vec<String>,
    /// A key for releases. Repeat it for several.
    #[arg(long = "release", value_name = "KEY.pub")]
    release: Vec<String>,
    #[command(flatten)]
    edit: EditArgs,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The new key: a public key file or line.
    key: String,
    /// What it may sign. Repeat it for several roles.
    #[arg(long = "role", value_enum, required = true)]
    roles: Vec<RoleArg>,
    #[command(flatten)]
    before: Before,
    #[command(flatten)]
    edit: EditArgs,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The key to leave out: a fingerprint, public key file or line.
    key: String,
    #[command(flatten)]
    before: Before,
    #[command(flatten)]
    edit: EditArgs,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The old key: a fingerprint, public key file or line.
    old: String,
    /// The new key: a public key file or line.
    new: String,
    #[command(flatten)]
    before: Before,
    #[command(flatten)]
    edit: EditArgs,
}

#[derive(Debug, Args)]
pub(super) struct SignKeyset {
    /// The keyset's payload, or an envelope to sign too.
    file: PathBuf,
    /// The keyset before it; left out for version 1.
    #[arg(long, value_name = "FILE")]
    keyset: Option<PathBuf>,
    /// Where the envelope goes; without it, FILE.signed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// For scripts: the same as typing yes when asked; VERSION is the keyset's.
    #[arg(long = "yes-i-confirm", value_name = "VERSION")]
    said: Option<u64>,
    #[command(flatten)]
    also_signed: AlsoSigned,
    #[command(flatten)]
    keys: KeyArgs,
}

#[cfg(feature = "network")]
#[derive(Debug, Args)]
pub(super) struct UploadKeyset {
    /// The signed keyset.
    file: PathBuf,
    #[command(flatten)]
    hub: super::args::HubArgs,
}

#[derive(Debug, Args)]
pub(super) struct Before {
    /// The keyset in force (the signed file).
    #[arg(long = "keyset", value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    Root,
    Ops,
    Release,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Root => Self::Root,
            RoleArg::Ops => Self::Ops,
            RoleArg::Release => Self::Release,
        }
    }
}

pub(super) fn run(command: &KeysetCommand, as_json: bool) -> Result<(), CliError> {
    let (before, keyset, edit) = match command {
        KeysetCommand::Init(init) => {
            (None, keyset_edit::init(init.entries()?, &init.edit.settings())?, &init.edit)
        }
        KeysetCommand::Add(add) => {
            let before = add.before.read()?;
            let roles = add.roles.iter().copied().map(Role::from).collect();
            let key = signer::public_key(&add.key)?;
            let keyset = keyset_edit::add(&before, key, roles, &add.edit.settings())?;
            (Some(before), keyset, &add.edit)
        }
        KeysetCommand::Revoke(revoke) => {
            let before = revoke.before.read()?;
            let keyset = keyset_edit::revoke(&before, &fingerprint(&revoke.key)?, &revoke.edit.settings())?;
            (Some(before), keyset, &revoke.edit)
        }
        KeysetCommand::Rotate(rotate) => {
            let before = rotate.before.read()?;
            let new = signer::public_key(&rotate.new)?;
            let settings = rotate.edit.settings();
            let keyset = keyset_edit::rotate(&before, &fingerprint(&rotate.old)?, new, &settings)?;
            (Some(before), keyset, &rotate.edit)
        }
        KeysetCommand::Sign(sign) => return sign_keyset(sign, as_json),
        #[cfg(feature = "network")]
        KeysetCommand::Upload(upload) => return upload_keyset(upload),
    };
    let payload_path = edit.out.join(format!("keyset-{}.json", keyset.version));
    let mut signers = edit.also_signed.open()?;
    signers.extend(edit.keys.open()?);
    write_payload(&payload_path, &keyset)?;
    tell(before.as_ref(), &keyset);
    finish(
        before.as_ref(),
        &keyset,
        &signers,
        Paths { envelope: payload_path.with_extension("signed"), payload: payload_path, as_json },
    )
}

impl Init {
    fn entries(&self) -> Result<Vec<KeyEntry>, CliError> {
        let mut entries = Vec::new();
        for (texts, role) in
            [(&self.root, Role::Root), (&self.ops, Role::Ops), (&self.release, Role::Release)]
        {
            for text in texts {
                entries.push(KeyEntry { public: signer::public_key(text)?, roles: vec![role] });
            }
        }
        Ok(entries)
    }
}

impl EditArgs {
    fn settings(&self) -> Settings {
        Settings {
            thresholds: self.thresholds.clone(),
            hub_pins: self.hub_pins.clone(),
            escrow_recipients: self.escrow_recipients.clone(),
        }
    }
}

impl Before {
    fn read(&self) -> Result<Keyset, CliError> {
        read_before(&self.file)
    }
}

fn read_before(path: &Path) -> Result<Keyset, CliError> {
    let envelope = files::read(path, ENVELOPE_BYTES_MAX)?;
    let not = |source| CliError::NotVerified { what: path.display().to_string(), source };
    judge::own_word(&envelope).map(|judged| judged.keyset).map_err(not)
}

/// A key that is in the keyset may be named by its fingerprint too.
fn fingerprint(text: &str) -> Result<String, CliError> {
    if text.starts_with("SHA256:") {
        Ok(text.to_owned())
    } else {
        Ok(signer::public_key(text)?.fingerprint())
    }
}

fn sign_keyset(command: &SignKeyset, as_json: bool) -> Result<(), CliError> {
    let text = files::read_text(&command.file, ENVELOPE_BYTES_MAX)?;
    let (payload, mut signers) =
        if is_envelope(&text) { unseal(&text, &command.file)? } else { (text, Vec::new()) };
    let keyset = Keyset::parse(payload.as_bytes()).map_err(CliError::Refused)?;
    let before = command.keyset.as_deref().map(read_before).transpose()?;
    let is_next = match &before {
        Some(before) => {
            Some(keyset.version) == before.version.checked_add(1)
                && keyset.prev_sha256.as_deref() == Some(before.digest().as_str())
        }
        None => keyset.version == 1,
    };
    if !is_next {
        return Err(CliError::Refused(Rejection::KeysetPrev));
    }
    tell(before.as_ref(), &keyset);
    confirm_keyset(&keyset, command.said)?;
    signers.extend(command.also_signed.open()?);
    signers.extend(command.keys.open()?);
    let envelope = command.out.clone().unwrap_or_else(|| files::with_suffix(&command.file, ".signed"));
    finish(before.as_ref(), &keyset, &signers, Paths { payload: command.file.clone(), envelope, as_json })
}

#[cfg(feature = "network")]
fn upload_keyset(command: &UploadKeyset) -> Result<(), CliError> {
    let text = files::read_text(&command.file, ENVELOPE_BYTES_MAX)?;
    let not = |source| CliError::NotVerified { what: command.file.display().to_string(), source };
    let keyset = judge::own_word(text.as_bytes()).map_err(not)?.keyset;
    command.hub.required()?.put_keyset(keyset.version, &text)?;
    crate::show::line(&format!(
        "keyset {} is on the hub; boxes fetch it with their next poll",
        keyset.version
    ));
    Ok(())
}
