//! Lines out of a stream of bytes that nobody promised to be lines.

/// The longest line kept; what follows is dropped up to the next newline, and the line is marked as cut.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// One line without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What was kept of it; any bytes at all.
    pub bytes: Vec<u8>,
    /// It was longer than [`LINE_BYTES_MAX`].
    pub cut: bool,
}

/// Splits a stream into lines, keeping at most one line of at most [`LINE_BYTES_MAX`] in memory.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
    cut: bool,
}

impl LineSplitter {
    /// Takes the next bytes of the stream, and hands every line that they complete to `take`.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            take(self.cut_off());
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// The stream ended: the rest is a line, if there is a rest.
    pub fn finish(mut self) -> Option<Line> {
        if self.partial.is_empty() && !self.cut { None } else { Some(self.cut_off()) }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.partial.len();
        self.cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn cut_off(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.partial);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line { bytes, cut: std::mem::take(&mut self.cut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let (mut splitter, mut lines) = (LineSplitter::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines.into_iter().map(|line| (String::from_utf8(line.bytes).unwrap(), line.cut)).collect()
    }

    #[test]
    fn lines_survive_any_chunking() {
        let whole = |lines: &[&str]| lines.iter().map(|line| ((*line).to_owned(), false)).collect::<Vec<_>>();
        let cases: [(&[&[u8]], &[&str]); 6] = [
            (&[b"a\nb\n"], &["a", "b"]),
            (&[b"a", b"b\nc", b"\n"], &["ab", "c"]),
            (&[b"a\r\nb"], &["a", "b"]),
            (&[b"\n\n"], &["", ""]),
            (&[b"rest"], &["rest"]),
            (&[], &[]),
        ];
        for (chunks, expected) in cases {
            assert_eq!(split(chunks), whole(expected), "{chunks:?}");
        }
    }

    #[test]
    fn a_flood_without_newlines_is_cut_and_does_not_grow() {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for _ in 0..1000 {
            splitter.push(&[b'x'; 1024], |line| lines.push(line));
            assert!(splitter.partial.len() <= LINE_BYTES_MAX);
        }
        splitter.push(b"\nnext\n", |line| lines.push(line));
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].bytes.len(), lines[0].cut), (LINE_BYTES_MAX, true));
        assert_eq!((lines[1].bytes.as_slice(), lines[1].cut), (b"next".as_slice(), false));
        let exact = [b"y".repeat(LINE_BYTES_MAX), b"\n".to_vec()].concat();
        assert!(!split(&[&exact])[0].1, "exactly the bound is not cut");
    }
}
