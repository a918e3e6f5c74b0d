//! Classes of bytes, as tables: the scanners look at every byte of every head.

/// tchar of RFC 9110 §5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Anything that may stand inside a line of a head: visible, space, tab, and bytes beyond ASCII.
pub(super) const fn is_text(byte: u8) -> bool {
    TEXT[byte as usize]
}

const TOKEN: [bool; 256] = table(Class::Token);
const TEXT: [bool; 256] = table(Class::Text);

enum Class {
    Token,
    Text,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a const fn cannot take a reference to a temporary more simply"
)]
const fn table(class: Class) -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        table[index] = match class {
            Class::Token => {
                byte.is_ascii_alphanumeric()
                    || matches!(
                        byte,
                        b'!' | b'#'
                            | b'$'
                            | b'%'
                            | b'&'
                            | b'\''
                            | b'*'
                            | b'+'
                            | b'-'
                            | b'.'
                            | b'^'
                            | b'_'
                            | b'`'
                            | b'|'
                            | b'~'
                    )
            }
            Class::Text => matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff),
        };
        index += 1;
    }
    table
}

/// May stand in the path of a target. Laxer than RFC 3986 where clients are (`"`, `{`, `|`), but without the
/// backslash, which some backends read as a slash.
pub(super) const fn is_path(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x22 | 0x24..=0x3b | 0x3d | 0x40..=0x5b | 0x5d..=0x5f | 0x61..=0x7e)
}

/// May stand in the query of a target.
pub(super) const fn is_query(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e)
}

/// True for `host`, `host:port`, `[v6]` and `[v6]:port`.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host, rest) = if text.first() == Some(&b'[') {
        let Some(end) = text.iter().position(|byte| *byte == b']') else { return false };
        let inside = &text[1..end];
        if inside.is_empty()
            || !inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        {
            return false;
        }
        (inside, &text[end + 1..])
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let host = &text[..end];
        if !host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
            return false;
        }
        (host, &text[end..])
    };
    !host.is_empty() && is_port(rest)
}

/// True for nothing, and for a colon with one to five digits that make a port.
fn is_port(text: &[u8]) -> bool {
    let [b':', digits @ ..] = text else { return text.is_empty() };
    (1..=5).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
}

/// The value without spaces and tabs around it.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(|byte| !blank(byte)) else { return &[] };
    let end = value.iter().rposition(|byte| !blank(byte)).expect("there is one, just found") + 1;
    &value[start..end]
}
