//! The guard: a strict reader of request framing that stands between the socket and the HTTP library.
//!
//! A proxy and its backend that disagree about where a request ends can be made to disagree about whose request it
//! is. HTTP libraries are lenient by tradition: they take a bare LF for a line end, drop one of two contradicting
//! lengths, and do not say so. The guard therefore follows every byte of a connection, decides what is acceptable
//! before the library sees it, and lets nothing through that two readers could read differently.
//!
//! It is a state machine over bytes without IO ([`Guard`]); [`GuardedStream`] puts it into a socket's read side. A
//! head is held back until it is complete; in the usual case it arrives in one read and is judged in place. The
//! alternative, an HTTP parser of our own, would make this unnecessary; it was put off until the rest has proven
//! itself.

mod bytes;
mod chunks;
mod framing;
mod head;
mod stream;
mod violation;

pub use framing::{Advance, Guard};
pub use stream::{GuardedStream, REJECTED_HEAD, Signals};
pub use violation::Violation;

/// A request head may have this many bytes.
pub const HEAD_LENGTH_MAX: usize = 64 * 1024;
/// A request head may have this many fields; the HTTP library's table ends here too.
pub const FIELDS_MAX: usize = 100;
/// A request target may have this many bytes.
pub const TARGET_LENGTH_MAX: usize = 32 * 1024;
/// Empty lines that are ignored before a request line.
pub const LEADING_EMPTY_LINES_MAX: u8 = 2;
/// Hexadecimal digits of a chunk size: 2^60 bytes are enough.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of chunk extensions within one body.
pub const CHUNK_EXTENSIONS_LENGTH_MAX: usize = 4 * 1024;
/// Bytes of a trailer section.
pub const TRAILER_LENGTH_MAX: usize = 8 * 1024;
/// Fields of a trailer section.
pub const TRAILER_FIELDS_MAX: usize = 50;
/// The method of the harmless request that takes the place of a rejected one. Clients cannot send it.
pub const REJECTED_METHOD: &str = "SEAWORTHY-REJECTED";
