//! Few samples, told honestly: the median and the whole spread.

use serde_json::{Value, json};

/// Samples of one measure, one per round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one, or the mean of the middle two; NaN without samples.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    pub(crate) fn json(&self) -> Value {
        let rounded: Vec<f64> = self.0.iter().copied().map(two_decimals).collect();
        json!({
            "median": two_decimals(self.median()),
            "min": two_decimals(self.least()),
            "max": two_decimals(self.most()),
            "samples": rounded,
        })
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// Enough for microseconds per request, and no more than was measured.
pub(crate) fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, median) in [
            (vec![1.0], 1.0),
            (vec![3.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (vec![9.0, 1.0], 5.0),
        ] {
            let samples: Samples = values.iter().copied().collect();
            assert!((samples.median() - median).abs() < 1e-9, "{values:?}");
        }
        assert!(Samples::default().median().is_nan());
    }
}
