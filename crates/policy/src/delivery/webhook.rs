//! What a delivery says about itself, after the Standard Webhooks specification: names, what is signed, and with which
//! secrets. The signature itself (HMAC-SHA256) is the shell's: nothing here needs cryptography.
//!
//! - `webhook-id` is the same for every attempt of a job, so that a receiver can tell repetitions.
//! - `webhook-timestamp` is when the attempt was made, in whole seconds; a receiver refuses one that is more than
//!   [`TOLERANCE`] away from its own clock, so that a recorded delivery cannot be replayed later.
//! - `webhook-signature` has one entry for each secret, separated by spaces. While a secret is being replaced there are
//!   two: receivers accept a delivery that one of theirs has signed, so nobody has to change at the same moment.
//!
//! Worked number: `whsec_` and 32 characters of base64 are 24 bytes, the least that a secret may have.

use std::time::Duration;

/// The header with the job's own id.
pub const ID: &str = "webhook-id";
/// The header with the second of the attempt.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// How far clocks may be apart.
pub const TOLERANCE: Duration = Duration::from_mins(5);
/// What a secret begins with.
pub const SECRET_PREFIX: &str = "whsec_";
/// How many secrets sign at once: the present one, and those being replaced.
pub const SECRETS_MAX: usize = 4;
/// The fewest bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 24;
/// The most bytes of a secret.
pub const SECRET_BYTES_MAX: usize = 64;
/// The longest id.
pub const ID_LENGTH_MAX: usize = 256;

/// The version of a symmetric signature.
const VERSION: &str = "v1";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSecret {
    /// After the prefix, if there is one, it is not base64.
    NotBase64,
    /// Fewer bytes than [`SECRET_BYTES_MIN`], or more than [`SECRET_BYTES_MAX`].
    Length(usize),
}

/// The key of a secret as people write it: `whsec_` and base64. The prefix may be missing.
///
/// # Errors
/// When it is not base64, too short or too long. The error never repeats the secret.
pub fn secret(text: &str) -> Result<Vec<u8>, BadSecret> {
    let text = text.trim();
    let key = from_base64(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).ok_or(BadSecret::NotBase64)?;
    let right = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&key.len());
    if right { Ok(key) } else { Err(BadSecret::Length(key.len())) }
}

/// Whether a text can be an id: visible ASCII without the full stop, which separates it from what follows.
pub fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
    (1..=ID_LENGTH_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// What is signed before the body: `id.timestamp.`; the body follows as it is sent, byte by byte.
pub fn signed_prefix(id: &str, timestamp: u64) -> String {
    format!("{id}.{timestamp}.")
}

/// The value of [`SIGNATURE`] for these signatures, one for each secret, that of the newest first.
pub fn signature_value<'a>(signatures: impl IntoIterator<Item = &'a [u8]>) -> String {
    let signatures = signatures.into_iter().take(SECRETS_MAX);
    let entries: Vec<String> = signatures.map(|bytes| format!("{VERSION},{}", base64(bytes))).collect();
    entries.join(" ")
}

/// The signatures in a value of [`SIGNATURE`] that a secret can have made; others are passed over. A receiver accepts
/// the delivery when any of its secrets made any of them.
pub fn signatures(value: &str) -> impl Iterator<Item = Vec<u8>> {
    /// More than anybody needs, and few enough to be no burden.
    const ENTRIES_MAX: usize = 16;
    value.split(' ').take(ENTRIES_MAX).filter_map(|entry| {
        let (version, signature) = entry.split_once(',')?;
        if version == VERSION { from_base64(signature) } else { None }
    })
}

/// Whether a delivery made at this second may be believed at that one.
pub fn is_timely(timestamp: u64, now: u64) -> bool {
    timestamp.abs_diff(now) <= TOLERANCE.as_secs()
}

/// Whether two signatures are the same, in a time that does not tell where they differ.
pub fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |sum, (left, right)| sum | (left ^ right)) == 0
}

/// Standard base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = ALPHABET[group >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The bytes of a base64 text; padding may be missing. `None` when it is not canonical.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || (text.len() != digits.len() && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut group, mut bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == digit)?;
        group = group << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    // What is left over is nothing but zeros, and no whole digit.
    (bits < 6 && group == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(plain.as_bytes()), "{text}");
            assert_eq!(from_base64(text.trim_end_matches('=')).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&base64(&all)), Some(all));
        for wrong in ["Z", "A", "AAAAA", "Zg=", "Zh==", "Zg===", "Z g=", "Zg==Zg==", "Zm9-", "===="] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_long_enough_and_never_repeated() {
        let key = [7_u8; 24];
        let text = format!("{SECRET_PREFIX}{}", base64(&key));
        assert_eq!(secret(&text).as_deref(), Ok(key.as_slice()));
        assert_eq!(secret(&format!(" {text}\n")).as_deref(), Ok(key.as_slice()), "as a file has it");
        assert_eq!(secret(text.trim_start_matches(SECRET_PREFIX)).as_deref(), Ok(key.as_slice()));
        assert_eq!(secret(&base64(&[7; 23])), Err(BadSecret::Length(23)));
        assert_eq!(secret(&base64(&[7; 65])), Err(BadSecret::Length(65)));
        assert_eq!(secret("whsec_hunter-2"), Err(BadSecret::NotBase64));
        assert_eq!(secret(""), Err(BadSecret::Length(0)));
    }

    #[test]
    fn signatures_of_all_secrets_are_sent_and_found() {
        let (new, old) = ([1_u8; 32], [2_u8; 32]);
        let value = signature_value([new.as_slice(), old.as_slice()]);
        assert_eq!(value, format!("v1,{} v1,{}", base64(&new), base64(&old)));
        assert_eq!(signatures(&value).collect::<Vec<_>>(), [new.to_vec(), old.to_vec()]);
        let mixed = format!("v1a,{} nonsense v1,? v1,{}", base64(&old), base64(&new));
        assert_eq!(signatures(&mixed).collect::<Vec<_>>(), [new.to_vec()], "other versions are passed over");
        let many = signature_value(std::iter::repeat_n(new.as_slice(), SECRETS_MAX + 1));
        assert_eq!(signatures(&many).count(), SECRETS_MAX);
        assert!(is_same(&new, &[1; 32]) && !is_same(&new, &old) && !is_same(&new, &new[..31]));
    }

    #[test]
    fn what_is_signed() {
        assert_eq!(signed_prefix("msg_1", 1_614_265_330), "msg_1.1614265330.");
        for (id, fits) in [("msg_1", true), ("", false), ("a.b", false), ("a b", false), ("ä", false)] {
            assert_eq!(is_id(id), fits, "{id}");
        }
        assert!(is_id(&"x".repeat(ID_LENGTH_MAX)) && !is_id(&"x".repeat(ID_LENGTH_MAX + 1)));
        for (timestamp, now, timely) in
            [(1_000, 1_300, true), (1_000, 1_301, false), (1_300, 1_000, true), (1_301, 1_000, false)]
        {
            assert_eq!(is_timely(timestamp, now), timely, "{timestamp} at {now}");
        }
    }
}
