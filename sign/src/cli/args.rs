//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::secret::Passphrases;
use crate::signer::{self, Detached, Signer};

/// Who signs.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// A private key file (OpenSSH or age); or a public key file or SHA256:… fingerprint whose private half
    /// ssh-agent holds. Repeat it for several signatures.
    #[arg(long = "key", value_name = "FILE|SHA256:…")]
    pub(super) keys: Vec<String>,
    /// Read passphrases from this file, one line for each encrypted key (the last line serves the rest); `-` is
    /// one line of standard input. Without it they are asked for on the terminal.
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Asked before a person is: a yes that nobody can sign is a wasted one.
    pub(super) fn some(&self) -> Result<(), CliError> {
        if self.keys.is_empty() {
            return Err(CliError::Usage("who signs? name a key with --key".to_owned()));
        }
        Ok(())
    }

    pub(super) fn open(&self) -> Result<Vec<Box<dyn Signer>>, CliError> {
        let mut passphrases = Passphrases::open(self.passphrase_file.as_deref())?;
        let open = |key: &String| Ok(signer::open(key, &mut passphrases)?);
        self.keys.iter().map(open).collect()
    }
}

/// Signatures that were made elsewhere.
#[derive(Debug, Args)]
pub(super) struct AlsoSigned {
    /// A signature of this very payload, made with `ssh-keygen -Y sign`. Repeat it for several.
    #[arg(long = "also-signed", value_name = "FILE.sig")]
    pub(super) files: Vec<PathBuf>,
}

impl AlsoSigned {
    pub(super) fn open(&self) -> Result<Vec<Box<dyn Signer>>, CliError> {
        let read = |path: &PathBuf| Ok(Box::new(Detached::read(path)?) as Box<dyn Signer>);
        self.files.iter().map(read).collect()
    }
}

/// How a person's yes is given.
#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// For scripts: the same as typing NAME when asked (the guest's name; the host's id for an operation on a
    /// host).
    #[arg(long = "yes-i-confirm", value_name = "NAME")]
    pub(super) said: Option<String>,
    /// The names you trust, as TOML: tables `[hosts]` and `[guests]`, each id = "name".
    #[arg(long, value_name = "FILE")]
    pub(super) inventory: Option<PathBuf>,
}

/// For how long the operation may be taken.
#[derive(Debug, Args)]
pub(super) struct ValidArgs {
    /// How long the operation may be taken, e.g. 90m, 24h, 2d; never longer than its kind allows.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration_ms)]
    pub(super) valid: u64,
}

fn duration_ms(text: &str) -> Result<u64, String> {
    let unlike = || "a time is a number with m, h or d, e.g. 90m, 24h, 2d".to_owned();
    let at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(unlike)?;
    let (number, unit) = text.split_at(at);
    let unit_ms = match unit {
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(unlike()),
    };
    let number: u64 = number.parse().map_err(|_| unlike())?;
    number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(unlike)
}

/// Which hub.
#[cfg(feature = "network")]
#[derive(Debug, Args)]
pub(super) struct HubArgs {
    /// The hub's address, https://…
    #[arg(long, value_name = "URL", requires_all = ["ca", "key_file"])]
    pub(super) hub: Option<String>,
    /// What the hub is known by: its own certificate, or the authority that signed it (PEM).
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// A file with an operator's API key (fhk1_o_…).
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
}

#[cfg(feature = "network")]
impl HubArgs {
    pub(super) fn connect(&self) -> Result<Option<crate::network::Hub>, CliError> {
        match (&self.hub, &self.ca, &self.key_file) {
            (Some(url), Some(ca), Some(key_file)) => Ok(Some(crate::network::Hub::new(url, ca, key_file)?)),
            _ => Ok(None),
        }
    }

    pub(super) fn required(&self) -> Result<crate::network::Hub, CliError> {
        let missing = || CliError::Usage("name the hub: --hub URL --ca FILE --key-file FILE".to_owned());
        self.connect()?.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!(duration_ms("90m"), Ok(5_400_000));
        assert_eq!(duration_ms("2d"), Ok(172_800_000));
        for text in ["", "h", "0h", "24", "-1h", "1w", "99999999999999999999h", "1é"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }
}
