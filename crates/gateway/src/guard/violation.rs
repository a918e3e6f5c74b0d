//! What a client can get wrong on the wire, and how we answer it.

use http::StatusCode;

/// Why a request was refused before anybody looked at its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A line ended without CR.
    BareLf,
    /// A CR that no LF follows.
    BareCr,
    /// A NUL or another control byte in the head.
    ControlByte,
    /// The request line is not `METHOD SP target SP HTTP/1.x`.
    RequestLine,
    /// The method is no token.
    Method,
    /// CONNECT, or a method that we keep for ourselves.
    MethodRefused,
    /// The target has a byte or a form that does not belong there.
    Target,
    /// The target is longer than [`super::TARGET_LENGTH_MAX`].
    TargetTooLong,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A field continued on the next line.
    ObsoleteFold,
    /// A field name that is no token, a space before the colon included.
    FieldName,
    /// The head is longer than [`super::HEAD_LENGTH_MAX`].
    HeadTooLong,
    /// More than [`super::FIELDS_MAX`] fields.
    TooManyFields,
    /// No Host on HTTP/1.1.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// A Host that is no authority, or differs from the one in the target.
    HostInvalid,
    /// A Content-Length that is no number, or more than one.
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// Transfer-Encoding that does not end in `chunked`.
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// Transfer-Encoding on HTTP/1.0.
    EncodingOnOldVersion,
    /// The framing of a chunked body.
    Chunk,
    /// The trailer section of a chunked body.
    Trailer,
    /// The head did not arrive in time.
    HeadTimeout,
}

impl Violation {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MethodRefused | Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// What to tell the client; never contains a quote or a byte of the request.
    pub fn details(self) -> &'static str {
        match self {
            Self::BareLf => "a line of the head ends without CR",
            Self::BareCr => "a CR in the head is not followed by LF",
            Self::ControlByte => "the head contains a control byte",
            Self::RequestLine => "the request line is not METHOD, target and version with one space between",
            Self::Method => "the method is not a token",
            Self::MethodRefused => "this method is not served here",
            Self::Target => "the request target is not a valid path or http URI",
            Self::TargetTooLong => "the request target is longer than 32 KiB",
            Self::Version => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::ObsoleteFold => "a field value continues on a second line",
            Self::FieldName => "a field name is not a token directly followed by a colon",
            Self::HeadTooLong => "the head is longer than 64 KiB",
            Self::TooManyFields => "the head has more than 100 fields",
            Self::HostMissing => "Host is missing",
            Self::HostRepeated => "Host is there more than once",
            Self::HostInvalid => {
                "Host is not a host with an optional port, or contradicts the request target"
            }
            Self::ContentLength => "Content-Length is not one decimal number",
            Self::LengthAndEncoding => "Content-Length and Transfer-Encoding exclude each other",
            Self::TransferEncoding => "Transfer-Encoding does not end in chunked",
            Self::TransferCoding => "no transfer coding but chunked is understood",
            Self::EncodingOnOldVersion => "HTTP/1.0 has no Transfer-Encoding",
            Self::Chunk => "the chunked body is malformed",
            Self::Trailer => "the trailer section is malformed or too long",
            Self::HeadTimeout => "the head did not arrive within 10 s",
        }
    }
}

impl Violation {
    /// True when the head was fine and its request is already being worked on.
    pub fn is_in_body(self) -> bool {
        matches!(self, Self::Chunk | Self::Trailer)
    }
}
