//! The headers of a job as the store keeps them: a line for the format, then one for each header, as HTTP/1.1 has them.
//! Values may be any bytes that a header may have, none of which is the end of a line.

use http::{HeaderMap, HeaderName, HeaderValue};

const FORMAT: &[u8] = b"1";

/// The headers as bytes.
pub fn encode_headers(headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = FORMAT.to_vec();
    for (name, value) in headers {
        bytes.push(b'\n');
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// The headers that were kept; `None` when the bytes are not ours.
pub fn decode_headers(bytes: &[u8]) -> Option<HeaderMap> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if lines.next()? != FORMAT {
        return None;
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-a", b"1".as_slice()), ("x-a", b"2"), ("x-b", b""), ("x-c", b"a: b"), ("x-d", b"\xff\t")]
        {
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        assert_eq!(decode_headers(&encode_headers(&headers)), Some(headers));
        assert_eq!(decode_headers(&encode_headers(&HeaderMap::new())), Some(HeaderMap::new()));
        for strange in [b"".as_slice(), b"2", b"1\nno colon", b"1\n:empty", b"1\nx:\x00", b"1\n"] {
            assert_eq!(decode_headers(strange), None, "{strange:?}");
        }
    }
}
