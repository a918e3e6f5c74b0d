//! Deadlines between processes: what a header says, what we believe of it, and what we say ourselves.
//!
//! **Problem.** A backend that does not know how long its caller waits works for nobody. **Model.** The wire carries what
//! is *left*, not a point in time: two clocks never agree, and a wall-clock deadline is wrong wherever one of them is
//! (Finagle ships such deadlines, and does not obey them by default). Each hop takes what it was told, at most its own
//! limit, and tells the next one what is left less `deadline_margin`, so that the answer still finds its way back in
//! time. Below `min_remaining` nothing is begun: it could only be answered late.
//!
//! **What is believed.** A value counts only when every byte of it is what the format allows. One that is malformed or
//! larger than the format's digits says nothing, and its header is as good as absent; the caller's own limit then holds.
//! Several headers: the shortest holds. **Rejected:** rounding a value that is too large down to our limit, which is the
//! same here, but would also accept garbage.
//!
//! Worked number, with the defaults and a limit of 15 s: a peer says `grpc-timeout: 800m`. The deadline is 800 ms away;
//! 100 ms later the backend is told 695 ms; 795 ms later nothing is begun any more.

use std::fmt;
use std::time::Duration;

use crate::error::{require, require_positive};
use crate::{ConfigError, Deadline, Time};

/// The header in which gRPC says how long the caller waits.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The header in which Envoy says how long it waits.
pub const ENVOY_EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";
/// The most digits that a `grpc-timeout` may have (gRPC over HTTP/2, "`TimeoutValue`").
const GRPC_DIGITS_MAX: usize = 8;
/// The largest number of that many digits.
const GRPC_AMOUNT_MAX: u128 = 99_999_999;
/// The units of a `grpc-timeout`, in nanoseconds, finest first.
const GRPC_UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// How a header writes what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// Whole milliseconds: our own `deadline_header`, and Envoy's.
    Milliseconds,
    /// Up to eight digits and a unit: `H`, `M`, `S`, `m`, `u` or `n`.
    Grpc,
}

impl WireFormat {
    /// What a header's value says is left; `None` when it says nothing that can be believed.
    pub fn parse(self, value: &[u8]) -> Option<Duration> {
        match self {
            WireFormat::Milliseconds => number(value).map(Duration::from_millis),
            WireFormat::Grpc => {
                let (unit, digits) = value.split_last()?;
                let (_, nanos) = GRPC_UNITS.into_iter().find(|(letter, _)| letter == unit)?;
                let amount = if digits.len() <= GRPC_DIGITS_MAX { number(digits)? } else { return None };
                Some(duration_of(u128::from(amount) * nanos))
            }
        }
    }

    /// How to say that this much is left; rounded down, because nobody should wait for more than there is.
    pub fn render(self, left: Duration) -> Rendered {
        let nanos = left.as_nanos();
        match self {
            WireFormat::Milliseconds => {
                Rendered { amount: u64::try_from(nanos / 1_000_000).unwrap_or(u64::MAX), unit: None }
            }
            WireFormat::Grpc => {
                let fits = |(_, unit): &(u8, u128)| nanos / unit <= GRPC_AMOUNT_MAX;
                let hours = GRPC_UNITS[GRPC_UNITS.len() - 1];
                let (letter, unit) = GRPC_UNITS.into_iter().find(fits).unwrap_or(hours);
                let amount = (nanos / unit).min(GRPC_AMOUNT_MAX) as u64;
                Rendered { amount, unit: Some(char::from(letter)) }
            }
        }
    }
}

/// A header's value; it is written by [`fmt::Display`], without an allocation of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendered {
    amount: u64,
    unit: Option<char>,
}

impl fmt::Display for Rendered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.amount)?;
        self.unit.map_or(Ok(()), |unit| write!(formatter, "{unit}"))
    }
}

/// The shortest of what several headers say; `None` when none of them says anything that can be believed.
pub fn shortest<'a>(headers: impl IntoIterator<Item = (WireFormat, &'a [u8])>) -> Option<Duration> {
    headers.into_iter().filter_map(|(format, value)| format.parse(value)).min()
}

/// How deadlines are taken over and handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineConfig {
    /// The longest a call may take, whatever its caller says.
    pub total_timeout: Duration,
    /// What the way back takes: the backend is told this much less than is left (`deadline_margin`).
    pub deadline_margin: Duration,
    /// With less than this left, nothing is begun.
    pub min_remaining: Duration,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        DeadlineConfig {
            total_timeout: Duration::from_secs(15),
            deadline_margin: Duration::from_millis(5),
            min_remaining: MIN_REMAINING,
        }
    }
}

/// The default of `min_remaining`: hardly any answer takes less, whatever is asked.
pub(crate) const MIN_REMAINING: Duration = Duration::from_millis(1);

/// Too little time is left to begin. Ours: it says nothing about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineInsufficient {
    /// What there is, the margin taken off.
    pub left: Duration,
    /// What there would have to be.
    pub needed: Duration,
}

impl fmt::Display for DeadlineInsufficient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} are left, and nothing is begun with less than {:?}", self.left, self.needed)
    }
}

impl std::error::Error for DeadlineInsufficient {}

impl DeadlineConfig {
    /// Whether a call can begin at all.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.total_timeout, "total_timeout")?;
        let fits = self.deadline_margin < self.total_timeout;
        require(fits, "deadline_margin", "be shorter than `total_timeout`")?;
        let fits = self.min_remaining <= self.total_timeout.saturating_sub(self.deadline_margin);
        require(fits, "min_remaining", "fit into `total_timeout` less `deadline_margin`")
    }

    /// The deadline of a call that begins at `now`, whose caller said that `told` is left. It can only be shorter than ours.
    pub fn begin(&self, now: Time, told: Option<Duration>) -> Result<Deadline, DeadlineInsufficient> {
        let left = told.map_or(self.total_timeout, |told| told.min(self.total_timeout));
        self.require(left)?;
        Ok(Deadline::after(now, left))
    }

    /// What to tell the backend of a request that is sent at `now`.
    pub fn forward(&self, now: Time, deadline: Deadline) -> Result<Duration, DeadlineInsufficient> {
        let left = deadline.remaining(now).saturating_sub(self.deadline_margin);
        self.require(left)?;
        Ok(left)
    }

    fn require(&self, left: Duration) -> Result<(), DeadlineInsufficient> {
        if left.is_zero() || left < self.min_remaining {
            return Err(DeadlineInsufficient { left, needed: self.min_remaining });
        }
        Ok(())
    }
}

/// A number that consists of digits only and fits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn duration_of(nanos: u128) -> Duration {
    Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn only_what_the_format_allows_is_believed() {
        let hour = 3_600_000_u64;
        for (format, value, millis) in [
            (WireFormat::Milliseconds, "250", Some(250)),
            (WireFormat::Milliseconds, "0", Some(0)),
            (WireFormat::Milliseconds, "0250", Some(250)),
            (WireFormat::Milliseconds, "18446744073709551615", Some(u64::MAX)),
            (WireFormat::Milliseconds, "18446744073709551616", None),
            (WireFormat::Milliseconds, "99999999999999999999999999", None),
            (WireFormat::Milliseconds, "", None),
            (WireFormat::Milliseconds, "-1", None),
            (WireFormat::Milliseconds, "+1", None),
            (WireFormat::Milliseconds, " 1", None),
            (WireFormat::Milliseconds, "1.5", None),
            (WireFormat::Milliseconds, "1e3", None),
            (WireFormat::Milliseconds, "250ms", None),
            (WireFormat::Milliseconds, "0x10", None),
            (WireFormat::Grpc, "2H", Some(2 * hour)),
            (WireFormat::Grpc, "3M", Some(180_000)),
            (WireFormat::Grpc, "4S", Some(4_000)),
            (WireFormat::Grpc, "250m", Some(250)),
            (WireFormat::Grpc, "250000u", Some(250)),
            (WireFormat::Grpc, "99000000n", Some(99)),
            (WireFormat::Grpc, "0n", Some(0)),
            (WireFormat::Grpc, "99999999H", Some(99_999_999 * hour)),
            (WireFormat::Grpc, "100000000n", None),
            (WireFormat::Grpc, "000000001S", None),
            (WireFormat::Grpc, "250", None),
            (WireFormat::Grpc, "m", None),
            (WireFormat::Grpc, "", None),
            (WireFormat::Grpc, "250s", None),
            (WireFormat::Grpc, "250ms", None),
            (WireFormat::Grpc, "-250m", None),
            (WireFormat::Grpc, "2 5m", None),
            (WireFormat::Grpc, "\u{661}m", None),
        ] {
            let parsed = format.parse(value.as_bytes());
            assert_eq!(parsed, millis.map(Duration::from_millis), "{format:?} {value:?}");
        }
    }

    #[test]
    fn what_is_said_is_rounded_down_and_fits_the_format() {
        for (nanos, millis, grpc) in [
            (0, "0", "0n"),
            (999_999, "0", "999999n"),
            (99_999_999, "99", "99999999n"),
            (100_000_000, "100", "100000u"),
            (1_500_000_000, "1500", "1500000u"),
            (99_999_999_999, "99999", "99999999u"),
            (100_000_000_000, "100000", "100000m"),
            (99_999_999_999_999, "99999999", "99999999m"),
            (100_000_000_000_000, "100000000", "100000S"),
        ] {
            let left = Duration::from_nanos(nanos);
            assert_eq!(WireFormat::Milliseconds.render(left).to_string(), millis);
            assert_eq!(WireFormat::Grpc.render(left).to_string(), grpc);
        }
        assert_eq!(WireFormat::Grpc.render(Duration::MAX).to_string(), "99999999H");
        assert_eq!(WireFormat::Milliseconds.render(Duration::MAX).to_string(), u64::MAX.to_string());
    }

    #[test]
    fn what_was_said_is_understood_and_never_longer() {
        for seed in 0..20_000 {
            let mut rng = Rng::seeded(seed);
            let left = Duration::from_nanos(rng.next_u64() >> rng.below(64));
            for format in [WireFormat::Milliseconds, WireFormat::Grpc] {
                let said = format.render(left).to_string();
                let understood =
                    format.parse(said.as_bytes()).unwrap_or_else(|| panic!("seed {seed}: {said}"));
                assert!(understood <= left, "seed {seed}: {said} for {left:?}");
                // A unit is chosen so that what is lost is small: a thousandth, or one millisecond.
                let lost = left.saturating_sub(understood);
                assert!(
                    lost <= (left / 1_000).max(Duration::from_millis(1)),
                    "seed {seed}: {said} for {left:?}"
                );
            }
        }
    }

    #[test]
    fn any_bytes_at_all_are_read_without_harm() {
        for seed in 0..20_000 {
            let mut rng = Rng::seeded(seed);
            let letters = b"0123456789HMSmun -+.\xff";
            let value: Vec<u8> =
                (0..rng.below(24)).map(|_| letters[rng.below(letters.len() as u64) as usize]).collect();
            for format in [WireFormat::Milliseconds, WireFormat::Grpc] {
                if let Some(left) = format.parse(&value) {
                    assert!(value[0].is_ascii_digit(), "seed {seed}: {value:?}");
                    let deadline = DeadlineConfig::default().begin(Time::ZERO, Some(left));
                    assert!(
                        deadline.is_err() || deadline.is_ok_and(|at| at.time() <= Time::from_millis(15_000))
                    );
                }
            }
        }
    }

    #[test]
    fn several_headers_the_shortest_that_can_be_believed() {
        let (ours, grpc) = (WireFormat::Milliseconds, WireFormat::Grpc);
        for (headers, millis) in [
            (vec![(ours, "900"), (grpc, "250m"), (ours, "300")], Some(250)),
            (vec![(ours, "900"), (grpc, "1x")], Some(900)),
            (vec![(ours, "-5")], None),
            (vec![], None),
        ] {
            let values = headers.iter().map(|(format, value)| (*format, value.as_bytes()));
            assert_eq!(shortest(values), millis.map(Duration::from_millis), "{headers:?}");
        }
    }

    #[test]
    fn a_deadline_is_only_shortened_and_nothing_begins_too_late() {
        let config = DeadlineConfig {
            total_timeout: Duration::from_secs(2),
            deadline_margin: Duration::from_millis(5),
            min_remaining: Duration::from_millis(10),
        };
        let now = Time::from_millis(1_000);
        // (milliseconds told, milliseconds from now to the deadline)
        for (told, expected) in [
            (None, Some(2_000)),
            (Some(99_000), Some(2_000)),
            (Some(u64::MAX), Some(2_000)),
            (Some(250), Some(250)),
            (Some(10), Some(10)),
            (Some(9), None),
            (Some(0), None),
        ] {
            let begun = config.begin(now, told.map(Duration::from_millis));
            let left = begun.ok().map(|deadline| deadline.remaining(now).as_millis());
            assert_eq!(left, expected, "{told:?}");
        }
        let deadline = Deadline::after(now, Duration::from_millis(100));
        for (at, expected) in
            [(1_000, Some(95)), (1_085, Some(10)), (1_086, None), (1_100, None), (9_999, None)]
        {
            let told = config.forward(Time::from_millis(at), deadline);
            assert_eq!(told.ok().map(|left| left.as_millis()), expected, "at {at}");
        }
        let refused = config.begin(now, Some(Duration::from_millis(3))).unwrap_err();
        assert_eq!(refused.to_string(), "3ms are left, and nothing is begun with less than 10ms");
    }

    #[test]
    fn without_a_least_time_a_deadline_that_has_passed_is_still_one() {
        let config = DeadlineConfig { min_remaining: Duration::ZERO, ..DeadlineConfig::default() };
        assert!(config.begin(Time::ZERO, Some(Duration::ZERO)).is_err());
        assert!(config.begin(Time::ZERO, Some(Duration::from_nanos(1))).is_ok());
    }

    #[test]
    fn validation_names_the_field() {
        let good = DeadlineConfig::default();
        assert_eq!(good.validate(), Ok(()));
        for (config, field) in [
            (DeadlineConfig { total_timeout: Duration::ZERO, ..good }, "total_timeout"),
            (DeadlineConfig { deadline_margin: Duration::from_secs(15), ..good }, "deadline_margin"),
            (DeadlineConfig { min_remaining: Duration::from_secs(15), ..good }, "min_remaining"),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
