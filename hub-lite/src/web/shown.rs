//! Text from outside, made fit to be shown to a person.
//!
//! Escaping for HTML is the template's work. This takes out what escaping leaves in: terminal sequences that bite
//! when somebody copies the text, and characters that reorder or hide what stands beside them.

use std::fmt;

/// Text that may come from anybody, with everything taken out that is not meant to be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Shown(String);

impl Shown {
    pub(super) fn new(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\u{1b}' | '\u{9b}' => {
                    let introduced = c == '\u{9b}' || chars.next_if_eq(&'[').is_some();
                    if introduced {
                        skip_control_sequence(&mut chars);
                    }
                }
                '\n' | '\t' | '\r' | '\u{2028}' | '\u{2029}' => {
                    if !shown.ends_with(' ') {
                        shown.push(' ');
                    }
                }
                c if c.is_control() || is_hidden(c) => {}
                c => shown.push(c),
            }
        }
        Self(shown)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parameters up to the final byte of an ECMA-48 control sequence. A sequence that breaks off takes nothing else along.
fn skip_control_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_some() {}
    chars.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
}

/// Zero-width, direction-changing, annotating and tag characters.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Shown::new(text).to_string()
    }

    #[test]
    fn terminal_sequences_are_taken_out_whole() {
        assert_eq!(shown("\x1b[31mred\x1b[0m \x1b[2J\u{9b}1mbold"), "red bold");
        assert_eq!(shown("\x1b]0;title\x07x"), "]0;titlex");
        assert_eq!(shown("cut \x1b[3"), "cut ");
        assert_eq!(shown("é\x1b[é"), "éé");
    }

    #[test]
    fn a_carriage_return_cannot_overwrite_and_a_null_is_gone() {
        assert_eq!(shown("all well\r\nfailed\0\u{7f}"), "all well failed");
    }

    #[test]
    fn characters_that_reorder_or_hide_are_taken_out() {
        assert_eq!(shown("exe.\u{202e}gpj\u{202c}"), "exe.gpj");
        assert_eq!(shown("we\u{200b}b\u{2066}1\u{2069}\u{feff}\u{61c}"), "web1");
        assert_eq!(shown("a\u{e0041}b"), "ab");
    }

    #[test]
    fn letters_of_every_script_stay() {
        for text in ["Árvíztűrő tükörfúrógép", "שלום", "日本", "e\u{301}", "<b>&\"'"] {
            assert_eq!(shown(text), text);
        }
    }
}
