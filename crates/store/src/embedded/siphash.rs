//! SipHash-2-4: the 64 bits by which keys are found in a file.
//!
//! Keys come from outside. With a hash that anybody can compute, a client could choose keys that all fall on one
//! place and make each lookup read all of them; so the hash has a secret, drawn when the file is made. The hasher
//! of the standard library may change between releases, and what is on disk may not.
//!
//! After J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012).

/// The secret of a file.
#[derive(Clone, Copy)]
pub(super) struct Secret(pub(super) [u64; 2]);

/// The hash of `parts`, one after the other, each with its length.
pub(super) fn hash(secret: Secret, parts: &[&[u8]]) -> u64 {
    let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_le_bytes());
        joined.extend_from_slice(part);
    }
    siphash(secret, &joined)
}

fn siphash(Secret([k0, k1]): Secret, bytes: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        absorb(&mut v, u64::from_le_bytes(word.try_into().expect("chunks have 8 bytes")));
    }
    let mut last = [0_u8; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    last[7] = bytes.len() as u8;
    absorb(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = Secret([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

    #[test]
    fn the_vector_of_the_paper() {
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(SECRET, &message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn where_a_part_ends_matters() {
        assert_ne!(hash(SECRET, &[b"ab", b"c"]), hash(SECRET, &[b"a", b"bc"]));
        assert_eq!(hash(SECRET, &[b"ab", b"c"]), hash(SECRET, &[b"ab", b"c"]));
    }
}
