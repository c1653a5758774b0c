//! Text for a terminal. Everything from outside passes [`escape`]: printable ASCII stays, everything else is
//! shown as its code, so that no name can move the cursor, run backwards, or look like another name.

#![expect(clippy::print_stderr, reason = "this is where the command line speaks")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use felhom_shared::text::clean;
use serde::Serialize;

/// Longest text from outside that is shown; the rest is counted.
const SHOWN_CHARS_MAX: usize = 2000;

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Well.
    Good,
    /// Look twice.
    Warn,
    /// Destroys, or failed.
    Bad,
    /// Said by somebody who is not trusted.
    Quiet,
    /// Headings.
    Bold,
}

/// Shows a text from outside with nothing but printable ASCII; a backslash is doubled, so nothing can imitate an
/// escape.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            // Writing to a string does not fail.
            let _ = write!(shown, "... ({} characters in all)", text.chars().count());
            break;
        }
        match c {
            '\\' => shown.push_str("\\\\"),
            ' '..='~' => shown.push(c),
            _ => {
                let _ = write!(shown, "{}", c.escape_unicode());
            }
        }
    }
    shown
}

/// Colours a text of our own, unless output is no terminal or `NO_COLOR` is set.
#[must_use]
pub fn paint(tone: Tone, text: &str) -> String {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if unwanted || !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "1;31",
        Tone::Quiet => "2",
        Tone::Bold => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// One line on standard output.
pub(crate) fn line(text: &str) {
    // A reader that has gone away is no failure of ours.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// One line on standard error: what a person should know beside the result.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// A question, without a line's end.
pub(crate) fn question(text: &str) {
    use std::io::Write as _;
    eprint!("{text}");
    // A question that cannot be shown is answered by nobody, and that is a refusal.
    let _ = std::io::stderr().flush();
}

/// A value as JSON in ASCII: what a name holds is data to a program, and harmless on a terminal.
pub(crate) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("the command line's values are plain data");
    let _ = writeln!(std::io::stdout(), "{}", ascii_json(&text));
}

/// Characters outside of printable ASCII stand only within JSON's strings, where `\u` means the same.
fn ascii_json(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ' '..='~' | '\n') {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

/// What failed, then why, each cause on its line; then what to do.
pub(crate) fn error(error: &dyn Error, next: Option<&str>) {
    let mut said = error.to_string();
    eprintln!("felhom-sign: {}", clean(&said));
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !said.contains(&text) {
            eprintln!("  because: {}", clean(&text));
        }
        said = text;
        source = cause.source();
    }
    if let Some(next) = next {
        eprintln!("  next: {next}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_printable_ascii_passes() {
        let hostile = "web\r\x1b[2K\u{9b}1m\u{202e}bew\u{200b}\u{2028}wеb\\u{41}\0\n\t";
        let shown = escape(hostile);
        assert!(shown.bytes().all(|b| (b' '..=b'~').contains(&b)), "{shown}");
        assert!(shown.contains("\\u{d}") && shown.contains("\\u{202e}") && shown.contains("w\\u{435}b"));
        assert!(shown.contains("\\\\u{41}"), "a written escape is not mistaken for a made one");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let shown = escape(&"a".repeat(5000));
        assert!(shown.len() < 2100 && shown.ends_with("(5000 characters in all)"));
    }

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let value = serde_json::json!({"name": "\u{202e}é😀\u{7f}\u{9b}"});
        let text = ascii_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.is_ascii() && !text.contains('\u{7f}'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
