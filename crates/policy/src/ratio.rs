//! A share of a whole, checked once where it is made.

use std::fmt;

/// A number from 0 to 1; never NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Ratio = Ratio(0.0);
    /// All of it.
    pub const ONE: Ratio = Ratio(1.0);

    /// The ratio of that value, or nothing when it lies outside 0 to 1 or is no number.
    pub fn new(value: f64) -> Option<Ratio> {
        (0.0..=1.0).contains(&value).then_some(Ratio(value))
    }

    /// The ratio nearest to that value; zero for what is no number.
    pub fn clamped(value: f64) -> Ratio {
        if value.is_nan() { Ratio::ZERO } else { Ratio(value.clamp(0.0, 1.0)) }
    }

    /// `part` of `whole`; zero when there is no whole, one when the part is larger.
    pub fn of(part: u64, whole: u64) -> Ratio {
        if whole == 0 { Ratio::ZERO } else { Ratio::clamped(part as f64 / whole as f64) }
    }

    /// The plain number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to a thousandth of a percent, then printed without trailing zeros.
        write!(formatter, "{}%", (self.0 * 100_000.0).round() / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shares_are_ratios() {
        for (value, accepted, nearest) in [
            (0.0, true, 0.0),
            (0.5, true, 0.5),
            (1.0, true, 1.0),
            (-0.1, false, 0.0),
            (1.1, false, 1.0),
            (f64::NAN, false, 0.0),
            (f64::INFINITY, false, 1.0),
        ] {
            assert_eq!(Ratio::new(value).is_some(), accepted, "{value}");
            assert!((Ratio::clamped(value).get() - nearest).abs() < f64::EPSILON, "{value}");
        }
        assert_eq!(
            (Ratio::of(0, 0), Ratio::of(1, 4), Ratio::of(5, 4)),
            (Ratio::ZERO, Ratio(0.25), Ratio::ONE)
        );
    }

    #[test]
    fn prints_as_a_percentage() {
        for (value, text) in
            [(0.999, "99.9%"), (1.0, "100%"), (0.1, "10%"), (0.0, "0%"), (0.123_456_7, "12.346%")]
        {
            assert_eq!(Ratio(value).to_string(), text);
        }
    }
}
