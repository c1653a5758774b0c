//! Text for a terminal. Never a raw control character from outside.

#![expect(clippy::print_stderr, reason = "this is where the command line speaks")]

use std::io::{IsTerminal, Write};

pub(super) use felhom_shared::text::clean;
use serde::Serialize;

pub(super) fn line(text: &str) {
    // A reader that has gone away (`… | head`) is no failure of ours, and what was asked for is done all the same.
    let _ = writeln!(std::io::stdout(), "{text}");
}

pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string_pretty(value).expect("the command line's values are plain data"));
}

/// Bytes as they are, for `desired show`.
pub(super) fn raw(bytes: &[u8]) {
    // A reader that has gone away is no failure of ours.
    let _ = std::io::stdout().write_all(bytes);
}

/// What failed, then why, each cause on its line.
pub(super) fn error(error: &dyn std::error::Error) {
    eprintln!("felhom-hub: {}", clean(&error.to_string()));
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {}", clean(&cause.to_string()));
        source = cause.source();
    }
}

/// Green for what is added, red for what is taken away, unless colours are not wanted.
pub(super) fn coloured(code: &str, text: &str) -> String {
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal()
    {
        return text.to_owned();
    }
    format!("\x1b[{code}m{text}\x1b[0m")
}
