//! Passphrases: typed on the terminal, or read from a file or standard input for scripts.
//!
//! Never an argument and never an environment variable: both are readable by other programs of the same user,
//! and both end up in histories.

use std::io::BufRead;
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes that a passphrase file may have; more is some other file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Fewest characters of a passphrase for a new key: the file may be copied and tried at leisure.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum PassphraseError {
    #[error("the passphrase cannot be read from {from}")]
    Read { from: String, source: std::io::Error },
    #[error("there is no passphrase in {0}")]
    Missing(String),
    #[error("the two passphrases differ; nothing was written")]
    Differ,
    #[error("a passphrase needs at least {PASSPHRASE_CHARS_MIN} characters; nothing was written")]
    Short,
}

/// Where passphrases come from. Each encrypted key takes the next line of a file; the last line serves the rest.
pub enum Passphrases {
    /// Asked for on the terminal.
    Terminal,
    /// Lines of a file.
    Lines {
        /// The name for messages.
        from: String,
        /// What is left, the next one last.
        lines: Vec<Zeroizing<String>>,
    },
}

impl Passphrases {
    /// From `file`, `-` being standard input; without one, from the terminal.
    pub fn open(file: Option<&Path>) -> Result<Self, PassphraseError> {
        let Some(path) = file else { return Ok(Self::Terminal) };
        let (from, text) = if path == Path::new("-") {
            ("standard input".to_owned(), first_line_of_stdin())
        } else {
            (path.display().to_string(), read_small(path))
        };
        let text = text.map_err(|source| PassphraseError::Read { from: from.clone(), source })?;
        let mut lines: Vec<_> = text.lines().map(|line| Zeroizing::new(line.to_owned())).collect();
        lines.reverse();
        if lines.is_empty() {
            return Err(PassphraseError::Missing(from));
        }
        Ok(Self::Lines { from, lines })
    }

    /// The passphrase of an existing key.
    pub fn existing(&mut self, key: &Path) -> Result<Zeroizing<String>, PassphraseError> {
        match self {
            Self::Terminal => ask(&format!("passphrase of {}: ", key.display())),
            Self::Lines { from, lines } => next(from, lines),
        }
    }

    /// The passphrase for a new key; asked for twice where a person types.
    pub fn fresh(&mut self) -> Result<Zeroizing<String>, PassphraseError> {
        let passphrase = match self {
            Self::Terminal => {
                let first = ask("passphrase for the new key: ")?;
                if *first != *ask("again: ")? {
                    return Err(PassphraseError::Differ);
                }
                first
            }
            Self::Lines { from, lines } => next(from, lines)?,
        };
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(PassphraseError::Short);
        }
        Ok(passphrase)
    }
}

fn next(from: &str, lines: &mut Vec<Zeroizing<String>>) -> Result<Zeroizing<String>, PassphraseError> {
    let taken = if lines.len() > 1 { lines.pop() } else { lines.last().cloned() };
    taken.ok_or_else(|| PassphraseError::Missing(from.to_owned()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, PassphraseError> {
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|source| PassphraseError::Read { from: "the terminal".to_owned(), source })
}

fn first_line_of_stdin() -> std::io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

fn read_small(path: &Path) -> std::io::Result<Zeroizing<String>> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is far too large for a passphrase"));
    }
    std::fs::read_to_string(path).map(Zeroizing::new)
}
