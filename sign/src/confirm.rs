//! A person's yes. What destroys is confirmed by typing the guest's name or the drive's serial number, which a habit of
//! pressing `y` does not do.

use std::io::{BufRead, IsTerminal};

use felhom_shared::signed::{Draft, DriveWord, Keyset, Request, authority_of};

use crate::show::question;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Nobody confirmed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum NotConfirmed {
    #[error("what was typed is not {expected:?}; nothing was signed")]
    WrongName { expected: String },
    #[error("not confirmed; nothing was signed")]
    No,
    #[error("no answer can be read; nothing was signed")]
    NoAnswer(#[source] std::io::Error),
}

/// What must be typed: the guest's name, the serial number of a drive that is formatted, the storage's name, or the host's
/// id for an operation on the host.
#[must_use]
pub fn word_of(draft: &Draft) -> String {
    let request = &draft.request;
    let name = request.expect().map(|expect| expect.name.to_string());
    let serial = serial_of(request).map(|serial| serial.as_str().to_owned());
    let storage = request.storage().map(ToString::to_string);
    name.or(serial).or(storage).unwrap_or_else(|| draft.target.host_id.to_string())
}

/// What stands on the drive itself, where the person who signs can have it read out.
fn serial_of(request: &Request) -> Option<&DriveWord> {
    match request {
        Request::FormatDrive(format) => format.expect.serial.as_ref(),
        _ => None,
    }
}

/// Asks, unless `said` holds what would have been typed.
pub fn confirm(draft: &Draft, said: Option<&str>) -> Result<(), NotConfirmed> {
    let expected = word_of(draft);
    let typed = match said {
        Some(said) => said.to_owned(),
        None if authority_of(&draft.request).destroys() => {
            let what = match (serial_of(&draft.request), draft.request.storage()) {
                (Some(_), _) => "drive's serial number",
                (None, Some(_)) => "storage's name",
                (None, None) => "guest's name",
            };
            ask(&format!("Type the {what} to sign, anything else to stop: "))?
        }
        None => return yes("Sign this? Type yes, anything else to stop: "),
    };
    if typed == expected { Ok(()) } else { Err(NotConfirmed::WrongName { expected }) }
}

/// Asks whether to sign a keyset that somebody else has made, unless `said` is its version.
pub fn confirm_keyset(keyset: &Keyset, said: Option<u64>) -> Result<(), NotConfirmed> {
    match said {
        Some(version) if version == keyset.version => Ok(()),
        Some(_) => Err(NotConfirmed::WrongName { expected: keyset.version.to_string() }),
        None => {
            yes("Boxes will trust exactly these keys. Sign this keyset? Type yes, anything else to stop: ")
        }
    }
}

fn yes(question: &str) -> Result<(), NotConfirmed> {
    if ask(question)? == "yes" { Ok(()) } else { Err(NotConfirmed::No) }
}

/// Reads one line as it was typed, without its end; the end of input is an empty answer.
pub(crate) fn ask(text: &str) -> Result<String, NotConfirmed> {
    use std::io::Read as _;
    question(text);
    let mut answer = String::new();
    let stdin = std::io::stdin();
    stdin.lock().take(ANSWER_BYTES_MAX).read_line(&mut answer).map_err(NotConfirmed::NoAnswer)?;
    if !stdin.is_terminal() {
        crate::show::note("");
    }
    let line = answer.strip_suffix('\n').unwrap_or(&answer);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
