//! Text for a terminal: colours where they help, none where they are not wanted, and never a raw control
//! character from outside.

#![expect(clippy::print_stderr, reason = "this is where the command line speaks")]

use std::io::{IsTerminal, Write};

use felhom_shared::report::Outcome;
pub(super) use felhom_shared::text::clean;
use serde::Serialize;

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Bad,
    Quiet,
    Bold,
}

/// Colours a text, unless output is no terminal or `NO_COLOR` is set.
pub(super) fn paint(tone: Tone, text: &str) -> String {
    let text = clean(text);
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal()
    {
        return text;
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Busy => "33",
        Tone::Bad => "31",
        Tone::Quiet => "2",
        Tone::Bold => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The word of an outcome in its colour.
pub(super) fn outcome(outcome: Outcome) -> String {
    let tone = match outcome {
        Outcome::Converged => Tone::Good,
        Outcome::Converging | Outcome::Waiting | Outcome::Held => Tone::Busy,
        Outcome::Refused | Outcome::Unreadable | Outcome::Interrupted | Outcome::Failed => Tone::Bad,
    };
    paint(tone, word(outcome))
}

/// The word of an outcome.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Converged => "converged",
        Outcome::Converging => "converging",
        Outcome::Waiting => "waiting",
        Outcome::Held => "held",
        Outcome::Refused => "refused",
        Outcome::Unreadable => "unreadable",
        Outcome::Interrupted => "interrupted",
        Outcome::Failed => "failed",
    }
}

pub(super) fn line(text: &str) {
    // A reader that has gone away (`… | head`) is no failure of ours, and what was asked for is done all the same.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Laid out from what the agent can write anyway: types that know two layouts would be there twice in the program.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("the command line's values are plain data");
    let laid_out = serde_json::from_str::<serde_json::Value>(&text).map(|value| format!("{value:#}"));
    line(&laid_out.unwrap_or(text));
}

/// What failed, then why, each cause on its line.
pub(super) fn error(error: &dyn std::error::Error) {
    eprintln!("felhom-agent: {}", clean(&error.to_string()));
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {}", clean(&cause.to_string()));
        source = cause.source();
    }
}
