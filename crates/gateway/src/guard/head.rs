//! Reads a request head line by line, strictly.
//!
//! The scanner is handed the head from its first byte on, each time with more of it, and remembers how far it came:
//! a head that trickles in costs no more than one that arrives at once. It decides in the order of the bytes, so its
//! verdict does not depend on how they were split.

use super::bytes::{is_authority, is_path, is_query, is_text, is_token, trim};
use super::violation::Violation;
use super::{FIELDS_MAX, HEAD_LENGTH_MAX, LEADING_EMPTY_LINES_MAX, REJECTED_METHOD, TARGET_LENGTH_MAX};

/// How the body that follows a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; 0 when there is no body.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What the scanner found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The head goes on.
    Incomplete,
    /// It ends after this many bytes.
    Complete(usize, Framing),
    /// It is not acceptable.
    Rejected(Violation),
}

/// The scanner's memory between two looks.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    position: usize,
    line_start: usize,
    empty_lines: u8,
    request_line: Option<RequestLine>,
    fields: usize,
    host: Option<(usize, usize)>,
    length: Option<u64>,
    encoding: Encoding,
}

#[derive(Debug)]
struct RequestLine {
    old_version: bool,
    /// The authority of an absolute target.
    authority: Option<(usize, usize)>,
}

/// What the Transfer-Encoding fields said so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    #[default]
    None,
    Chunked,
    /// Only codings that we do not know.
    Unknown,
    /// Those, then `chunked`: framed, but we could not undo the others.
    UnknownThenChunked,
    /// Something after `chunked`, or no coding at all: nobody knows where the body ends.
    Broken,
}

impl HeadScan {
    /// Goes on where the last look ended; `head` begins with the first byte of the head.
    pub(super) fn scan(&mut self, head: &[u8]) -> Scanned {
        let limit = head.len().min(HEAD_LENGTH_MAX);
        loop {
            while self.position < limit && is_text(head[self.position]) {
                self.position += 1;
            }
            if self.position >= HEAD_LENGTH_MAX {
                return Scanned::Rejected(Violation::HeadTooLong);
            }
            let Some(byte) = head.get(self.position) else { return Scanned::Incomplete };
            match byte {
                b'\r' => match head.get(self.position + 1) {
                    None => return Scanned::Incomplete,
                    Some(b'\n') if self.position + 1 < HEAD_LENGTH_MAX => {}
                    Some(b'\n') => return Scanned::Rejected(Violation::HeadTooLong),
                    Some(_) => return Scanned::Rejected(Violation::BareCr),
                },
                b'\n' => return Scanned::Rejected(Violation::BareLf),
                _ => return Scanned::Rejected(Violation::ControlByte),
            }
            let start = self.line_start;
            let end = self.position;
            self.position += 2;
            self.line_start = self.position;
            match self.line(head, start, end) {
                Ok(false) => {}
                Ok(true) => return self.finish(head),
                Err(violation) => return Scanned::Rejected(violation),
            }
        }
    }

    /// True when nothing but line ends came so far: the client sends nothing just now.
    pub(super) fn is_untouched(&self) -> bool {
        self.position == 0
    }

    /// Takes one line; true when it was the empty one that ends the head.
    fn line(&mut self, head: &[u8], start: usize, end: usize) -> Result<bool, Violation> {
        if self.request_line.is_some() {
            if start == end {
                return Ok(true);
            }
            return self.field(head, start, end).map(|()| false);
        }
        if start == end {
            self.empty_lines += 1;
            // RFC 9112 §2.2: an empty line before the request line is to be ignored.
            return if self.empty_lines > LEADING_EMPTY_LINES_MAX {
                Err(Violation::RequestLine)
            } else {
                Ok(false)
            };
        }
        self.request_line = Some(request_line(&head[start..end], start)?);
        Ok(false)
    }

    fn field(&mut self, head: &[u8], start: usize, end: usize) -> Result<(), Violation> {
        let line = &head[start..end];
        if matches!(line[0], b' ' | b'\t') {
            return Err(Violation::ObsoleteFold);
        }
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Violation::TooManyFields);
        }
        let colon = line.iter().position(|byte| !is_token(*byte)).ok_or(Violation::FieldName)?;
        if colon == 0 || line[colon] != b':' {
            return Err(Violation::FieldName);
        }
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Lengths first: most fields are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trim(value), head),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.encoding(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8], head: &[u8]) -> Result<(), Violation> {
        if self.host.is_some() {
            return Err(Violation::HostRepeated);
        }
        if !is_authority(value) {
            return Err(Violation::HostInvalid);
        }
        // `value` is a part of `head`, so the distance of their starts is its place.
        let start = value.as_ptr().addr() - head.as_ptr().addr();
        self.host = Some((start, start + value.len()));
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Violation> {
        // Nineteen digits always fit into 64 bits. Repeated equal lengths are refused too: nobody honest sends them.
        let sane = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !sane || self.length.is_some() {
            return Err(Violation::ContentLength);
        }
        self.length = Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn encoding(&mut self, value: &[u8]) {
        for coding in value.split(|byte| *byte == b',').map(trim) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.encoding = match self.encoding {
                _ if coding.is_empty() => Encoding::Broken,
                Encoding::None if chunked => Encoding::Chunked,
                Encoding::Unknown if chunked => Encoding::UnknownThenChunked,
                Encoding::None | Encoding::Unknown => Encoding::Unknown,
                _ => Encoding::Broken,
            };
        }
    }

    fn finish(&self, head: &[u8]) -> Scanned {
        match self.framing(head) {
            Ok(framing) => Scanned::Complete(self.position, framing),
            Err(violation) => Scanned::Rejected(violation),
        }
    }

    fn framing(&self, head: &[u8]) -> Result<Framing, Violation> {
        let request = self.request_line.as_ref().expect("a head ends after its request line");
        match (self.host, request.authority) {
            (None, _) if !request.old_version => return Err(Violation::HostMissing),
            (Some((start, end)), Some((from, to)))
                if !head[start..end].eq_ignore_ascii_case(&head[from..to]) =>
            {
                return Err(Violation::HostInvalid);
            }
            _ => {}
        }
        if self.encoding == Encoding::None {
            return Ok(Framing::Length(self.length.unwrap_or(0)));
        }
        if self.length.is_some() {
            return Err(Violation::LengthAndEncoding);
        }
        if request.old_version {
            return Err(Violation::EncodingOnOldVersion);
        }
        match self.encoding {
            Encoding::Chunked => Ok(Framing::Chunked),
            Encoding::UnknownThenChunked => Err(Violation::TransferCoding),
            _ => Err(Violation::TransferEncoding),
        }
    }
}

fn request_line(line: &[u8], offset: usize) -> Result<RequestLine, Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Violation::RequestLine);
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Violation::Method);
    }
    let old_version = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Violation::Version);
        }
        _ => return Err(Violation::RequestLine),
    };
    if method == b"CONNECT" || method == REJECTED_METHOD.as_bytes() {
        return Err(Violation::MethodRefused);
    }
    if target.len() > TARGET_LENGTH_MAX {
        return Err(Violation::TargetTooLong);
    }
    let target_start = offset + method.len() + 1;
    Ok(RequestLine { old_version, authority: authority(method, target, target_start)? })
}

/// Checks the target and finds the authority of an absolute one.
fn authority(method: &[u8], target: &[u8], start: usize) -> Result<Option<(usize, usize)>, Violation> {
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(None) } else { Err(Violation::Target) };
    }
    let (authority, path) = if target.first() == Some(&b'/') {
        (None, target)
    } else {
        let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| target.starts_with(scheme));
        let scheme = scheme.ok_or(Violation::Target)?.len();
        let rest = &target[scheme..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        if !is_authority(&rest[..end]) {
            return Err(Violation::Target);
        }
        (Some((start + scheme, start + scheme + end)), &rest[end..])
    };
    let query = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let well_formed = path[..query].iter().all(|byte| is_path(*byte))
        && path.get(query + 1..).unwrap_or(&[]).iter().all(|byte| is_query(*byte));
    if well_formed { Ok(authority) } else { Err(Violation::Target) }
}
