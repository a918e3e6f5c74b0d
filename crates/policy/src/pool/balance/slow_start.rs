//! How much a newcomer can bear.
//!
//! **Problem.** A process that has just started has cold caches and an empty connection pool; its full share at once makes it
//! slow, and then it is judged by that.
//!
//! **Model.** Its weight grows linearly (what Envoy calls an aggression of 1) from a tenth to the whole. Never less than a
//! tenth: an endpoint that nobody asks never warms up. Where all are new they are equal, and nothing is lost.
//!
//! **Worked number.** Over 10 s: a tenth until 1 s, half at 5 s, everything from 10 s on.

use std::time::Duration;

/// The least that is left of a weight, in thousandths of it.
const FLOOR: u64 = 100;
/// The whole weight, in the same unit.
pub(in crate::pool) const WHOLE: u64 = 1_000;

/// The share of its weight that an endpoint has after serving for `age`, in thousandths.
pub(in crate::pool) fn share(age: Duration, slow_start: Duration) -> u64 {
    if age >= slow_start {
        return WHOLE;
    }
    // Not zero, because it is longer than an age.
    let grown = age.as_nanos() * u128::from(WHOLE) / slow_start.as_nanos();
    (grown as u64).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_in_a_straight_line_from_a_tenth() {
        let ms = Duration::from_millis;
        for (age, slow_start, expected) in [
            (0, 10_000, 100),
            (999, 10_000, 100),
            (1_500, 10_000, 150),
            (5_000, 10_000, 500),
            (9_999, 10_000, 999),
            (10_000, 10_000, 1_000),
            (60_000, 10_000, 1_000),
            (0, 0, 1_000),
        ] {
            assert_eq!(share(ms(age), ms(slow_start)), expected, "{age} of {slow_start} ms");
        }
        assert_eq!(share(ms(1), Duration::MAX), FLOOR);
    }
}
