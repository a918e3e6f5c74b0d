//! Follows a chunked body byte by byte, strictly, without taking anything out of it.

use super::bytes::{is_text, is_token};
use super::violation::Violation;
use super::{CHUNK_EXTENSIONS_LENGTH_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_FIELDS_MAX, TRAILER_LENGTH_MAX};

/// Where in a chunked body the next byte stands.
#[derive(Debug)]
pub(super) struct Chunks {
    place: Place,
    size: u64,
    digits: u8,
    extensions: usize,
    trailer: usize,
    trailer_fields: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    FieldName,
    FieldValue,
    FieldLf,
    LastLf,
}

/// What became of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// All of them belong to the body, which goes on.
    All,
    /// The body ends after this many of them.
    End(usize),
    /// This many are good; the next one is not.
    Rejected(usize, Violation),
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { place: Place::Size, size: 0, digits: 0, extensions: 0, trailer: 0, trailer_fields: 0 }
    }

    pub(super) fn follow(&mut self, bytes: &[u8]) -> Followed {
        let mut index = 0;
        while index < bytes.len() {
            if self.place == Place::Data {
                let there = u64::try_from(bytes.len() - index).expect("a length fits into 64 bits");
                let skipped = there.min(self.size);
                self.size -= skipped;
                index += usize::try_from(skipped).expect("no more than the length of a slice");
                if self.size == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            match self.step(bytes[index]) {
                Ok(true) => return Followed::End(index + 1),
                Ok(false) => index += 1,
                Err(violation) => return Followed::Rejected(index, violation),
            }
        }
        Followed::All
    }

    /// Takes one byte that is not data; true when it was the last of the body.
    fn step(&mut self, byte: u8) -> Result<bool, Violation> {
        self.place = match (self.place, byte) {
            (Place::Size, byte) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (Place::Size, b';') if self.digits > 0 => Place::Extension,
            (Place::Size, b'\r') if self.digits > 0 => Place::SizeLf,
            (Place::Extension, b'\r') => Place::SizeLf,
            (Place::Extension, byte) if is_text(byte) => self.extension()?,
            (Place::SizeLf, b'\n') => self.size_ended(),
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::LineStart, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => return Ok(true),
            (place, byte) => return self.trailer(place, byte).map(|()| false),
        };
        Ok(false)
    }

    fn digit(&mut self, byte: u8) -> Result<Place, Violation> {
        self.digits += 1;
        if self.digits > CHUNK_SIZE_DIGITS_MAX {
            return Err(Violation::Chunk);
        }
        let value = char::from(byte).to_digit(16).expect("the caller saw a hexadecimal digit");
        self.size = self.size * 16 + u64::from(value);
        Ok(Place::Size)
    }

    fn extension(&mut self) -> Result<Place, Violation> {
        self.extensions += 1;
        if self.extensions > CHUNK_EXTENSIONS_LENGTH_MAX {
            Err(Violation::Chunk)
        } else {
            Ok(Place::Extension)
        }
    }

    fn size_ended(&mut self) -> Place {
        self.digits = 0;
        if self.size == 0 { Place::LineStart } else { Place::Data }
    }

    fn trailer(&mut self, place: Place, byte: u8) -> Result<(), Violation> {
        self.place = match (place, byte) {
            (Place::LineStart, byte) if is_token(byte) => {
                self.trailer_fields += 1;
                Place::FieldName
            }
            (Place::FieldName, byte) if is_token(byte) => Place::FieldName,
            (Place::FieldName, b':') => Place::FieldValue,
            (Place::FieldValue, b'\r') => Place::FieldLf,
            (Place::FieldValue, byte) if is_text(byte) => Place::FieldValue,
            (Place::FieldLf, b'\n') => Place::LineStart,
            (Place::LineStart | Place::FieldName | Place::FieldValue | Place::FieldLf | Place::LastLf, _) => {
                return Err(Violation::Trailer);
            }
            _ => return Err(Violation::Chunk),
        };
        self.trailer += 1;
        if self.trailer > TRAILER_LENGTH_MAX || self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(Violation::Trailer);
        }
        Ok(())
    }
}
