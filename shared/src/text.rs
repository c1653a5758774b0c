//! Text from elsewhere, for people: never obeyed by a terminal, and errors with all their causes.

use std::error::Error;
use std::fmt::Write;

/// Shows control and direction-changing characters instead of obeying them.
#[must_use]
pub fn clean(text: &str) -> String {
    let unsafe_char = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if unsafe_char(c) {
            // Writing to a string does not fail.
            let _ = write!(clean, "{}", c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// An error with all its causes on one line; a cause that the text before already tells is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        assert_eq!(clean("a\x1b[31mb\r\u{202e}c"), "a\\u{1b}[31mb\\u{d}\\u{202e}c");
        assert_eq!(clean("árvíztűrő tükörfúrógép"), "árvíztűrő tükörfúrógép");
    }

    #[test]
    fn a_chain_tells_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("the disk is full"));
        assert_eq!(chain(&error), "outer: the disk is full");
    }
}
