//! Numbers as SQLite keeps them: 64 bits with a sign. Ours never come near the sign.

use crate::Timestamp;

pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn nat(number: i64) -> u64 {
    number.cast_unsigned()
}

pub(super) fn time(number: i64) -> Timestamp {
    Timestamp(nat(number))
}
