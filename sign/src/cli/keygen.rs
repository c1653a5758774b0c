//! `felhom-sign keygen`: a new key, never over an old one and never unencrypted.

use std::path::PathBuf;

use clap::Args;
use felhom_shared::signed::PublicKey;

use super::CliError;
use crate::files::{self, FileError, Readers};
use crate::keyfile::{Container, KeyFileError, SecretKey};
use crate::secret::Passphrases;
use crate::show::{json, line};

const COMMENT_CHARS_MAX: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// The new private key file; the public line goes to FILE.pub.
    file: PathBuf,
    /// Stands behind the public key, e.g. whose key it is.
    #[arg(long, default_value = "")]
    comment: String,
    /// Write an age file (opens with `age -d`) instead of an OpenSSH file.
    #[arg(long)]
    age: bool,
    /// Read the passphrase from this file; `-` is standard input. Without it it is asked for, twice.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn run(command: &Keygen, as_json: bool) -> Result<(), CliError> {
    let path = &command.file;
    let public_path = files::with_suffix(path, ".pub");
    // Before anybody thinks of a passphrase.
    for path in [path, &public_path] {
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists(path.clone()).into());
        }
    }
    let comment = &command.comment;
    if comment.chars().count() > COMMENT_CHARS_MAX || comment.chars().any(char::is_control) {
        let text = format!("a comment is one line of at most {COMMENT_CHARS_MAX} characters");
        return Err(CliError::Usage(text));
    }
    let passphrase = Passphrases::open(command.passphrase_file.as_deref())?.fresh()?;
    let secret = SecretKey::generate(comment)?;
    let public_line = secret.public_line();
    let public: PublicKey = public_line.parse().map_err(|_| KeyFileError::Halves(path.clone()))?;
    let container = if command.age { Container::Age } else { Container::OpenSsh };
    secret.write_new(path, container, &passphrase)?;
    files::write_new(&public_path, format!("{}\n", public_line.trim_end()).as_bytes(), Readers::Anyone)?;
    if as_json {
        json(&serde_json::json!({
            "file": path, "public": public.to_string(), "comment": comment, "fingerprint": public.fingerprint(),
        }));
    } else {
        line(public_line.trim_end());
        line(&public.fingerprint());
    }
    Ok(())
}
