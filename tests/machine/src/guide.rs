//! The install guide as a program: its commands, taken out of the text that people read.
//!
//! Nothing is left out or mended on the way: a command that the guide has wrong fails here as it would in a cellar.

/// docs/install.md, or a text of its form.
#[derive(Debug, Clone, Copy)]
pub struct Guide<'a> {
    text: &'a str,
}

/// One fenced block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What the fence calls it: `sh`, `toml`.
    pub language: &'a str,
    /// Its lines.
    pub text: &'a str,
}

impl Guide<'static> {
    /// The guide of this tree.
    #[must_use]
    pub fn install() -> Self {
        Self { text: include_str!("../../../docs/install.md") }
    }
}

impl<'a> Guide<'a> {
    /// The blocks below a heading, up to the next heading.
    #[must_use]
    pub fn section(&self, heading: &str) -> Vec<Block<'a>> {
        let below = self.text.split("\n## ").find(|section| section.lines().next() == Some(heading));
        let below = below.unwrap_or_else(|| panic!("the guide has no section {heading:?}"));
        // Outside, inside, outside: every second piece is a block.
        let blocks = below.split("\n```").skip(1).step_by(2);
        blocks
            .filter_map(|block| block.split_once('\n'))
            .map(|(language, text)| Block { language, text })
            .collect()
    }

    /// The one block below a heading that has this word in it.
    #[must_use]
    pub fn block(&self, heading: &str, word: &str) -> &'a str {
        let with: Vec<Block<'a>> =
            self.section(heading).into_iter().filter(|block| block.text.contains(word)).collect();
        assert_eq!(with.len(), 1, "blocks with {word:?} in section {heading:?}: {with:?}");
        with[0].text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_from_their_section_only() {
        let guide = Guide {
            text: "# T\n\n## One\n\n```sh\na\nb\n```\ntext\n```toml\nc\n```\n\n## Two\n\n```sh\nd\n```\n",
        };
        let blocks = guide.section("One");
        assert_eq!(blocks, [Block { language: "sh", text: "a\nb" }, Block { language: "toml", text: "c" }]);
        assert_eq!(guide.block("Two", "d"), "d");
    }

    #[test]
    #[should_panic(expected = "no section")]
    fn a_section_that_was_renamed_is_missed() {
        let _ = Guide { text: "\n## One\n" }.section("Two");
    }
}
