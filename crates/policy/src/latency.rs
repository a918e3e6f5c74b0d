//! How long calls take: percentiles of the last seconds, and a score for choosing between endpoints.
//!
//! **Percentiles.** Hedging waits for the observed p95, the stall rule for a multiple of the p99; both must
//! follow a backend that changes, in constant memory. The model is a histogram whose buckets are evenly spaced
//! within each power of two ([`LatencyWindow`]). There are two halves: one collects, the one before is still
//! read, and the older one is forgotten, so that a reading covers between one and two halves. **Rejected:** a
//! reservoir (its p99 is noise), a decaying histogram (an old outlier fades instead of leaving), keeping every
//! sample (memory follows traffic).
//!
//! **Censored samples.** An attempt that was given up after 40 ms says "at least 40 ms". Taken for a sample of 40 ms it
//! would pull every higher percentile down; left out, the percentiles are those of the lucky. So its weight is spread
//! over all samples above 40 ms, which is the estimator of Kaplan and Meier (1958) for incomplete observations: no
//! percentile ever sinks because of one. How long it waited is kept in quarters of a power of two, rounded down, which
//! is still true of it. When nothing longer was ever seen, the longest wait is the answer: at least that.
//!
//! Worked number: 16 buckets per power of two make a bucket at most 1/16 wide, and its middle is off by at most
//! 1/32 = 3.1 %. From 1.02 us to 137 s there are 27 powers of two: 432 buckets of 4 bytes and 108 cells of 2
//! bytes for what was censored, two halves, 3912 bytes. A p99 of 200 ms is reported as 195 to 207 ms.
//!
//! **Score.** [`Ewma`] is what load balancing compares: it jumps up to a larger sample at once and falls slowly,
//! because an endpoint that has become slow hurts at once, and one that answered fast once may have been lucky.

use std::time::Duration;

use crate::Time;
use crate::time::{nanos, scaled};

/// A percentile of fewer samples would be a guess.
pub const SAMPLES_MIN: u64 = 20;

/// log2 of the buckets per power of two.
const SUB_BITS: u32 = 4;
/// Buckets per power of two.
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// log2 of the smallest duration told apart, in nanoseconds; shorter ones count as this.
const EXPONENT_MIN: u32 = 10;
/// log2 of the largest power of two told apart; longer ones count as the last bucket.
const EXPONENT_MAX: u32 = 36;
const BUCKETS: usize = (EXPONENT_MAX - EXPONENT_MIN + 1) as usize * SUB_BUCKETS;

/// Cells for censored samples per power of two.
const CELLS_PER_POWER: usize = 4;
/// Buckets that lie in one cell.
const BUCKETS_PER_CELL: usize = SUB_BUCKETS / CELLS_PER_POWER;
const CELLS: usize = BUCKETS / BUCKETS_PER_CELL;

/// Half of the default span.
const HALF_DEFAULT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Half {
    counts: [u32; BUCKETS],
    /// What took at least as long as the cell begins; beyond 65 535 in one half it stays at its maximum.
    censored: [u16; CELLS],
    samples: u64,
}

impl Half {
    const EMPTY: Half = Half { counts: [0; BUCKETS], censored: [0; CELLS], samples: 0 };
}

const _: () = assert!(size_of::<LatencyWindow>() < 4096, "the bound on memory that callers rely on");

/// Percentiles of the samples of the last one to two halves.
#[derive(Clone, Debug)]
pub struct LatencyWindow {
    /// Nanoseconds per half, at least one.
    half: u64,
    /// Which half since the origin collects now; it is `halves[slice % 2]`.
    slice: u64,
    /// The nanosecond with which it ends: most samples come before, and a division costs more than counting.
    ends: u64,
    halves: [Half; 2],
}

impl Default for LatencyWindow {
    fn default() -> Self {
        LatencyWindow::new(HALF_DEFAULT)
    }
}

impl LatencyWindow {
    /// An empty window of two halves, each this long.
    pub fn new(half: Duration) -> Self {
        let half = nanos(half).max(1);
        LatencyWindow { half, slice: 0, ends: half, halves: [Half::EMPTY; 2] }
    }

    /// Adds a sample.
    pub fn record(&mut self, now: Time, latency: Duration) {
        let half = self.collecting_half(now);
        let count = &mut half.counts[bucket_of(latency)];
        *count = count.saturating_add(1);
        half.samples = half.samples.saturating_add(1);
    }

    /// Adds a censored sample: something that was given up after `waited`, and would have taken at least that.
    pub fn record_at_least(&mut self, now: Time, waited: Duration) {
        let count = &mut self.collecting_half(now).censored[bucket_of(waited) / BUCKETS_PER_CELL];
        *count = count.saturating_add(1);
    }

    /// The half of `now`, after what is too old has been forgotten.
    fn collecting_half(&mut self, now: Time) -> &mut Half {
        if now.as_nanos() >= self.ends {
            // At the end of time a slice does not end.
            let slice = (now.as_nanos() / self.half).max(self.slice);
            // What is more than one half old is forgotten; after a long pause that is both.
            if slice > self.slice {
                self.halves[parity(slice)] = Half::EMPTY;
            }
            if slice - self.slice > 1 {
                self.halves[parity(slice - 1)] = Half::EMPTY;
            }
            self.slice = slice;
            self.ends = slice.saturating_add(1).saturating_mul(self.half);
        }
        &mut self.halves[parity(self.slice)]
    }

    /// The duration that a share `q` (0 to 1) of the samples does not exceed, off by less than 5 %; `None` while
    /// there are fewer than [`SAMPLES_MIN`] samples, censored ones not counted. Those above which nothing was seen push
    /// a percentile no further than their own wait.
    pub fn quantile(&self, now: Time, q: f64) -> Option<Duration> {
        if self.samples(now) < SAMPLES_MIN {
            return None;
        }
        let live = self.live_halves(now);
        let counted =
            |bucket: usize| live.iter().flatten().map(|half| u64::from(half.counts[bucket])).sum::<u64>();
        let censored =
            |cell: usize| live.iter().flatten().map(|half| u64::from(half.censored[cell])).sum::<u64>();
        let mut at_risk = self.samples(now) + (0..CELLS).map(censored).sum::<u64>();
        let rank = q.clamp(0.0, 1.0) * at_risk as f64;
        // What was censored so far has left its weight to all that took longer.
        let (mut seen, mut weight, mut last) = (0.0, 1.0, 0);
        for bucket in 0..BUCKETS {
            if bucket % BUCKETS_PER_CELL == 0 {
                let leaving = censored(bucket / BUCKETS_PER_CELL);
                if leaving > 0 {
                    last = bucket;
                    weight *= at_risk as f64 / (at_risk - leaving).max(1) as f64;
                    at_risk -= leaving;
                }
            }
            let here = counted(bucket);
            if here > 0 {
                last = bucket;
                seen += here as f64 * weight;
                at_risk -= here;
                // The share of rounding that many additions can leave.
                if seen * (1.0 + 1e-12) >= rank {
                    break;
                }
            }
        }
        Some(middle_of(last))
    }

    /// How many samples a reading at `now` rests on.
    pub fn samples(&self, now: Time) -> u64 {
        self.live_halves(now).iter().flatten().map(|half| half.samples).sum()
    }

    /// Forgets every sample; time goes on.
    pub fn clear(&mut self) {
        self.halves = [Half::EMPTY; 2];
    }

    /// The halves that a reading at `now` covers: both, the newer one, or none.
    fn live_halves(&self, now: Time) -> [Option<&Half>; 2] {
        let (newer, older) = (&self.halves[parity(self.slice)], &self.halves[parity(self.slice + 1)]);
        match (now.as_nanos() / self.half).saturating_sub(self.slice) {
            0 => [Some(newer), Some(older)],
            1 => [Some(newer), None],
            _ => [None, None],
        }
    }
}

fn parity(slice: u64) -> usize {
    (slice % 2) as usize
}

fn bucket_of(latency: Duration) -> usize {
    let value = nanos(latency).clamp(1 << EXPONENT_MIN, (1 << (EXPONENT_MAX + 1)) - 1);
    let exponent = value.ilog2();
    let sub = (value >> (exponent - SUB_BITS)) as usize % SUB_BUCKETS;
    (exponent - EXPONENT_MIN) as usize * SUB_BUCKETS + sub
}

fn middle_of(bucket: usize) -> Duration {
    let exponent = EXPONENT_MIN + (bucket / SUB_BUCKETS) as u32;
    let width = 1_u64 << (exponent - SUB_BITS);
    let low = (SUB_BUCKETS + bucket % SUB_BUCKETS) as u64 * width;
    Duration::from_nanos(low + width / 2)
}

/// An average that jumps up and sinks slowly.
///
/// Worked number, with a time constant of 10 s: a sample of 400 ms at an average of 10 ms makes it 400 ms at
/// once; a sample of 10 ms 10 s later brings it to 10 + 390 / e = 153 ms; without any sample it sinks towards
/// zero at the same pace, so that an endpoint nobody dares to use is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Ewma {
    time_constant: Duration,
    /// The average at `latest`; `None` before the first sample.
    average: Option<Duration>,
    latest: Time,
}

impl Default for Ewma {
    fn default() -> Self {
        Ewma::new(Duration::from_secs(10))
    }
}

impl Ewma {
    /// An average without samples that forgets 63 % of a difference in one time constant (at least 1 ns).
    pub fn new(time_constant: Duration) -> Self {
        let time_constant = time_constant.max(Duration::from_nanos(1));
        Ewma { time_constant, average: None, latest: Time::ZERO }
    }

    /// Adds a sample.
    pub fn record(&mut self, now: Time, sample: Duration) {
        let now = now.max(self.latest);
        let average = match self.average {
            // The old average keeps its weight less what time took; the sample gets that.
            Some(average) if sample < average => {
                let weight = self.weight(now);
                scaled(average, weight).saturating_add(scaled(sample, 1.0 - weight))
            }
            _ => sample,
        };
        self.average = Some(average);
        self.latest = now;
    }

    /// Adds a censored sample: something that was given up after `waited`. It proves that answers take at least this long,
    /// never that they are fast.
    pub fn record_at_least(&mut self, now: Time, waited: Duration) {
        if self.value(now).is_none_or(|known| waited > known) {
            self.record(now, waited);
        }
    }

    /// The average as of `now`; `None` before the first sample.
    pub fn value(&self, now: Time) -> Option<Duration> {
        self.average.map(|average| scaled(average, self.weight(now)))
    }

    /// What is left of the average at `now`: 1 at once, 1/e after a time constant.
    fn weight(&self, now: Time) -> f64 {
        let elapsed = now.saturating_since(self.latest).as_secs_f64();
        (-elapsed / self.time_constant.as_secs_f64()).exp()
    }
}
