//! The text of a spec, and the way from byte offsets to the lines and columns people read.

use sha2::{Digest, Sha256};

use crate::plan::Place;

/// A range of bytes in the text of a spec; the end is exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// From the start of this one to the end of the other.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start, other.end.max(self.end))
    }
}

/// A spec as it was read: its name for messages, its text and its fingerprint.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: String,
    sha256: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// Wraps text that is already known to be UTF-8.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let sha256 = fingerprint(text.as_bytes());
        Self::assemble(name.into(), text, sha256)
    }

    /// Wraps bytes as they came from disk; what is not UTF-8 is replaced, but the fingerprint is that of the bytes.
    pub(crate) fn lossy(name: &str, bytes: &[u8]) -> Self {
        Self::assemble(name.to_owned(), String::from_utf8_lossy(bytes).into_owned(), fingerprint(bytes))
    }

    fn assemble(name: String, text: String, sha256: String) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(offset, _)| offset + 1)).collect();
        Self { name, text, sha256, line_starts }
    }

    /// The file as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the file's bytes, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Line and column, both from 1, of a byte offset; columns count characters. Offsets past the end are the end.
    pub fn place(&self, offset: usize) -> Place {
        let offset = self.boundary(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let column = self.text[start..offset].chars().count() + 1;
        Place { line: count(line), column: count(column) }
    }

    /// The span of the word or quoted text that stands at a place; empty when there is no such place.
    pub fn token(&self, place: Place) -> Span {
        let line = place.line as usize;
        let Some(start) = line.checked_sub(1).and_then(|index| self.line_starts.get(index)) else {
            return Span::new(self.text.len(), self.text.len());
        };
        let rest = self.text[*start..].lines().next().unwrap_or_default();
        let skipped: usize =
            rest.chars().take((place.column as usize).saturating_sub(1)).map(char::len_utf8).sum();
        let token = &rest[skipped..];
        let length = match token.chars().next() {
            Some(quote @ ('"' | '\'')) => token[1..].find(quote).map_or(token.len(), |end| end + 2),
            _ => token
                .find(|character: char| character.is_whitespace() || ",:{}[]".contains(character))
                .unwrap_or(token.len()),
        };
        Span::new(start + skipped, start + skipped + length)
    }

    /// The nearest character boundary at or before an offset.
    pub(crate) fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn fingerprint(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns_in_characters() {
        let source = Source::new("x", "a: 1\nname: ⛵ü x\r\n\nend");
        for (needle, line, column) in [("a", 1, 1), ("1", 1, 4), ("name", 2, 1), ("x", 2, 10), ("end", 4, 1)]
        {
            let offset = source.text().find(needle).unwrap();
            assert_eq!(source.place(offset), Place { line, column }, "{needle}");
        }
        assert_eq!(source.place(usize::MAX), Place { line: 4, column: 4 });
        let inside_the_ship = source.text().find('⛵').unwrap() + 1;
        assert_eq!(source.place(inside_the_ship), Place { line: 2, column: 7 });
    }

    #[test]
    fn a_place_becomes_the_word_that_stands_there() {
        let source = Source::new("x", "näme: { to: api, x: \"a b\" }\nlast");
        for (line, column, word) in [
            (1, 1, "näme"),
            (1, 9, "to"),
            (1, 13, "api"),
            (1, 21, "\"a b\""),
            (2, 1, "last"),
            (9, 1, ""),
            (1, 99, ""),
        ] {
            let span = source.token(Place { line, column });
            assert_eq!(&source.text()[span.start..span.end], word, "{line}:{column}");
        }
    }

    #[test]
    fn the_fingerprint_is_that_of_the_bytes() {
        // echo -n abc | sha256sum
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Source::new("x", "abc").sha256(), expected);
        assert_ne!(Source::lossy("x", b"\xff").sha256(), Source::new("x", "\u{fffd}").sha256());
    }
}
