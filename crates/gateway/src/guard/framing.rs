//! The state machine of one connection's read side: head, body, head, body ...

use super::chunks::{Chunks, Followed};
use super::head::{Framing, HeadScan, Scanned};
use super::violation::Violation;

/// Follows the messages of one connection.
#[derive(Debug)]
pub struct Guard {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Head(HeadScan),
    Length(u64),
    Chunked(Chunks),
    Rejected,
}

/// The verdict on a window of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// So many bytes from the window's start may pass. The rest must be shown again, with more behind it.
    pub pass: usize,
    /// What stands behind them is not acceptable; nothing of it may pass, now or later.
    pub rejected: Option<Violation>,
}

impl Default for Guard {
    fn default() -> Self {
        Self { place: Place::Head(HeadScan::default()) }
    }
}

impl Guard {
    /// Judges the bytes from the first one that did not pass yet.
    pub fn advance(&mut self, window: &[u8]) -> Advance {
        let mut pass = 0;
        while pass < window.len() {
            let rest = &window[pass..];
            match &mut self.place {
                Place::Head(scan) => match scan.scan(rest) {
                    Scanned::Incomplete => break,
                    Scanned::Complete(length, framing) => {
                        pass += length;
                        self.place = match framing {
                            Framing::Length(0) => Place::Head(HeadScan::default()),
                            Framing::Length(length) => Place::Length(length),
                            Framing::Chunked => Place::Chunked(Chunks::new()),
                        };
                    }
                    Scanned::Rejected(violation) => return self.reject(pass, violation),
                },
                Place::Length(remaining) => {
                    let there = u64::try_from(rest.len()).expect("a length fits into 64 bits");
                    let taken = there.min(*remaining);
                    *remaining -= taken;
                    pass += usize::try_from(taken).expect("no more than the length of a slice");
                    if *remaining == 0 {
                        self.place = Place::Head(HeadScan::default());
                    }
                }
                Place::Chunked(chunks) => match chunks.follow(rest) {
                    Followed::All => pass = window.len(),
                    Followed::End(length) => {
                        pass += length;
                        self.place = Place::Head(HeadScan::default());
                    }
                    Followed::Rejected(good, violation) => return self.reject(pass + good, violation),
                },
                Place::Rejected => break,
            }
        }
        Advance { pass, rejected: None }
    }

    /// True between two messages, and before the first.
    pub fn is_between_messages(&self) -> bool {
        matches!(&self.place, Place::Head(scan) if scan.is_untouched())
    }

    /// True while a head is expected or arriving; false within a body.
    pub fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Head(_))
    }

    fn reject(&mut self, pass: usize, violation: Violation) -> Advance {
        self.place = Place::Rejected;
        Advance { pass, rejected: Some(violation) }
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
