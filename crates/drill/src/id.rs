//! Ids of requests: unique for each run, so that a read-back can tell this run's writes from all others,
//! and an idempotency key of yesterday's run never answers today's request.

use std::fmt::Write as _;

/// Stands for the id in paths, bodies and keys of a load.
pub(crate) const PLACEHOLDER: &str = "$id";

/// Makes the ids of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIds {
    prefix: String,
}

impl RunIds {
    /// Ids of the run with this seed; `nonce` keeps two runs of one seed apart.
    pub fn new(seed: u64, nonce: u64) -> Self {
        let mut prefix = String::with_capacity(16);
        prefix.push_str("sw");
        push_base36(&mut prefix, mix(mix(seed) ^ nonce));
        Self { prefix }
    }

    /// What every id of this run begins with, up to the part that names the load.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The id of request `number` of the load with this index: letters, digits and `-` only.
    pub fn id(&self, load: usize, number: u64) -> String {
        let mut id = String::with_capacity(self.prefix.len() + 12);
        let _ = write!(id, "{}-{load}-", self.prefix);
        push_base36(&mut id, number);
        id
    }

    /// Load and number of an id of this run; `None` for every other text.
    pub fn parse(&self, id: &str) -> Option<(usize, u64)> {
        let rest = id.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let (load, number) = rest.split_once('-')?;
        let parsed = (load.parse().ok()?, u64::from_str_radix(number, 36).ok()?);
        // Only the spelling we use ourselves, so that "01" and "+1" are not taken for "1".
        (self.id(parsed.0, parsed.1) == id).then_some(parsed)
    }
}

/// Puts the id wherever the placeholder stands.
pub(crate) fn fill(template: &str, id: &str) -> String {
    template.replace(PLACEHOLDER, id)
}

/// One step of the splitmix64 generator: spreads a number over all 64 bits.
pub(crate) fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn push_base36(text: &mut String, mut number: u64) {
    let start = text.len();
    loop {
        let digit = u32::try_from(number % 36).expect("a remainder of 36 fits");
        text.push(char::from_digit(digit, 36).expect("the digit is below 36"));
        number /= 36;
        if number == 0 {
            break;
        }
    }
    let reversed: String = text[start..].chars().rev().collect();
    text.replace_range(start.., &reversed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_as_they_were_made() {
        let ids = RunIds::new(7, 99);
        for (load, number) in [(0, 0), (0, 35), (0, 36), (3, 123_456_789), (12, u64::MAX)] {
            let id = ids.id(load, number);
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id}");
            assert!(id.len() <= 40, "{id}");
            assert_eq!(ids.parse(&id), Some((load, number)), "{id}");
        }
    }

    #[test]
    fn other_texts_are_not_ours() {
        let ids = RunIds::new(7, 99);
        let prefix = ids.prefix();
        let other_run = RunIds::new(7, 100).id(0, 1);
        for text in [
            "",
            "x",
            prefix,
            &format!("{prefix}-0"),
            &format!("{prefix}-0-"),
            &format!("{prefix}-00-1"),
            &format!("{prefix}-0-01"),
            &format!("{prefix}-0-A"),
            &format!("{prefix}-+0-1"),
            &other_run,
        ] {
            assert_eq!(ids.parse(text), None, "{text}");
        }
    }

    #[test]
    fn base36_is_the_usual_one() {
        for (number, expected) in [(0, "0"), (35, "z"), (36, "10"), (1_295, "zz")] {
            let mut text = String::new();
            push_base36(&mut text, number);
            assert_eq!(text, expected);
        }
    }
}
