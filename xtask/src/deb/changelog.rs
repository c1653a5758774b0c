//! CHANGELOG.md as Debian's changelog: one source, two readers.

use std::fmt::Write;
use std::fs;

use super::package::MAINTAINER;
use super::stamp::Stamp;
use crate::{Failed, root};

const WIDTH: usize = 78;

/// A `## …` section: its title and its points.
struct Section {
    title: String,
    points: Vec<String>,
}

/// Whether the newest section is one of a release.
pub(super) fn is_released() -> Result<bool, Failed> {
    Ok(sections(&read()?).first().is_some_and(|section| !section.title.eq_ignore_ascii_case("unreleased")))
}

/// The changelog of `package`. Only the newest section: what is older is in CHANGELOG.md, which knows no times of day.
pub(super) fn debian(package: &str, stamp: &Stamp) -> Result<String, Failed> {
    let sections = sections(&read()?);
    let newest = sections.first().ok_or_else(|| Failed::said("CHANGELOG.md has no section"))?;
    let mut text = format!("{package} ({}) unstable; urgency=medium\n\n", stamp.version);
    for point in &newest.points {
        text.push_str(&wrapped(point));
    }
    let _ = write!(text, "\n -- {MAINTAINER}  {}\n", stamp.date());
    Ok(text)
}

fn read() -> Result<String, Failed> {
    let path = root().join("CHANGELOG.md");
    fs::read_to_string(&path).map_err(|source| Failed::File { path, source })
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.trim().to_owned(), points: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            match (line.strip_prefix("- "), section.points.last_mut()) {
                (Some(point), _) => section.points.push(point.trim().to_owned()),
                (None, Some(point)) if !line.trim().is_empty() => {
                    point.push(' ');
                    point.push_str(line.trim());
                }
                (None, _) => {}
            }
        }
    }
    sections
}

fn wrapped(point: &str) -> String {
    let mut text = String::from("  *");
    let mut column = text.len();
    for word in point.split_whitespace() {
        let width = word.chars().count();
        if column + 1 + width > WIDTH {
            text.push_str("\n   ");
            column = 3;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + width;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_joined_and_wrapped() {
        let text = "# Changelog\n\n## Unreleased\n\n- One thing that\n  goes on.\n- Another.\n\n## 0.1.0\n\n- Old.\n";
        let found = sections(text);
        assert_eq!(
            found.iter().map(|section| section.title.as_str()).collect::<Vec<_>>(),
            ["Unreleased", "0.1.0"]
        );
        assert_eq!(found[0].points, ["One thing that goes on.", "Another."]);
        let long = wrapped(&"word ".repeat(40));
        assert!(long.starts_with("  * word") && long.lines().all(|line| line.len() <= WIDTH), "{long}");
        assert!(long.lines().skip(1).all(|line| line.starts_with("    word")), "{long}");
    }
}
