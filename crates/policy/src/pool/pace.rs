//! How fast and how well one endpoint has answered lately, in a form that can be compared with its peers.
//!
//! **Problem.** Endpoints can only be compared if they did comparable work: a mean over a 2 ms route and a 100 ms route says
//! which route was asked, not which endpoint is slow. And an endpoint that has become slow answers late, so whoever waits for
//! its answers learns late.
//!
//! **Model.** Every attempt is measured against what its lane usually takes (its median), and a window of such ratios is closed
//! at each sweep: the median of the ratios. While more attempts wait than were answered, the median attempt is one of those
//! that wait; then the ratio is the time spent waiting in this window over the usual time of all its attempts (Little's law),
//! so that missing completions speak before they arrive. A window with too few attempts stays open for the next sweep, and so does one whose
//! attempts have just been sent: that they have not waited yet does not make an endpoint fast, and its peers slow.
//!
//! What is usual is fixed from sweep to sweep, and the same for all endpoints ([`Pace::set_usual`]), whenever an attempt was sent. When all become a hundred times
//! as slow, the median follows seconds later; if each attempt kept the median of its own time, endpoints would differ a hundredfold by how many
//! of the old ones they have, and some would look slow to those who have a few less.
//!
//! **Rejected.** Means (one slow query in a quiet window condemns); absolute latencies; the peak-sensitive average that load balancing
//! uses (one slow answer marks it for seconds).
//!
//! **Worked number.** A median of 5 ms, an endpoint that has begun to take 50 ms, 100 requests/s: the window has 50 attempts
//! of ratio 10. At 500 ms per answer, nothing has been answered after 400 ms: 40 attempts have waited 8 s in sum instead of 200 ms, ratio 40.

use std::time::Duration;

use crate::pool::proof::Counts;
use crate::time::{Time, nanos};
use crate::window::{Sample, Window};

/// A window with fewer attempts says nothing. With exponential times, three windows of five look four times too slow by chance
/// once in four million; with three attempts each it was seen to happen.
const ATTEMPTS_MIN: u32 = 5;
/// A window that takes longer than this to collect them starts anew.
const WINDOW_MAX: Duration = Duration::from_secs(10);
/// Ratios are told apart in quarters of a power of two, from a quarter to 512 times the usual time.
const BUCKETS_PER_DOUBLING: f64 = 4.0;
const LOG2_LEAST: f64 = -2.0;
const BUCKETS: usize = 45;
/// Failure shares are taken over this span: long enough for a share of a quiet endpoint's calls, short enough that good
/// times fade soon.
const FAILURE_SPAN: Duration = Duration::from_secs(5);
const FAILURE_BUCKETS: usize = 10;

/// A lane whose usual time has changed by more than this factor is not what it was.
const USUAL_DIFFERS: u32 = 2;

/// Slower than usual by less than this is not slow: nobody notices, and small medians scatter.
pub(super) const EXCESS_MIN: Duration = Duration::from_millis(10);

/// What the end of a wait says about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It takes so long.
    Answered,
    /// It takes at least so long, which says something only where it is longer than usual.
    Unanswered,
    /// Nothing about the endpoint as it is now.
    Untold,
}

/// What a closed window says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// The window it covers.
    pub(super) from: Time,
    pub(super) until: Time,
    /// How many times the usual time an attempt took.
    pub(super) ratio: f64,
    /// Where most of the attempts had not been answered: those that were, and those that were not.
    pub(super) missing: Option<Counts>,
}

/// What waits in one lane.
#[derive(Debug, Clone, Default)]
struct Waits {
    /// What an attempt usually takes; unknown = nothing in this lane is measured.
    usual: Option<Duration>,
    waiting: u32,
    /// Time spent waiting in this window, summed over attempts, up to `summed_until`.
    waited: u64,
    summed_until: Time,
}

impl Waits {
    fn sum(&mut self, now: Time) {
        let passed = nanos(now.saturating_since(self.summed_until));
        self.waited = self.waited.saturating_add(passed.saturating_mul(u64::from(self.waiting)));
        self.summed_until = self.summed_until.max(now);
    }
}

/// The evidence about one endpoint.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Time,
    ratios: [u16; BUCKETS],
    answered: u32,
    /// Usual time of what ended in this window.
    usual_ended: u64,
    lanes: Vec<Waits>,
    reading: Option<Reading>,
    calls: Window,
    late: Window,
    failed_since_sweep: bool,
}

impl Pace {
    pub(super) fn new(now: Time, lanes: usize) -> Self {
        Self {
            begun: now,
            ratios: [0; BUCKETS],
            answered: 0,
            usual_ended: 0,
            lanes: vec![Waits { summed_until: now, ..Waits::default() }; lanes.max(1)],
            reading: None,
            calls: Window::new(FAILURE_SPAN, FAILURE_BUCKETS),
            late: Window::new(FAILURE_SPAN, FAILURE_BUCKETS),
            failed_since_sweep: false,
        }
    }

    /// What attempts in `lane` usually take, until this is said anew. Where it has become something quite different, an open window
    /// would mix the two, and begins anew.
    pub(super) fn set_usual(&mut self, now: Time, lane: usize, usual: Option<Duration>) {
        let before = std::mem::replace(&mut self.lanes[lane].usual, usual);
        let differ = |(one, other): (Duration, Duration)| one > other.saturating_mul(USUAL_DIFFERS);
        if before.zip(usual).is_some_and(|(one, other)| differ((one, other)) || differ((other, one))) {
            self.begin(now);
        }
    }

    /// An attempt was sent.
    pub(super) fn on_sent(&mut self, now: Time, lane: usize) {
        let waits = &mut self.lanes[lane];
        waits.sum(now);
        waits.waiting += 1;
    }

    /// An attempt no longer waits, after `elapsed`. `counts` = its duration says something about the endpoint as it is now.
    pub(super) fn on_ended(&mut self, now: Time, lane: usize, elapsed: Duration, counts: Ended) {
        let waits = &mut self.lanes[lane];
        waits.sum(now);
        waits.waiting = waits.waiting.saturating_sub(1);
        let Some(usual) = waits.usual else { return };
        if counts == Ended::Untold || counts == Ended::Unanswered && elapsed <= usual {
            return;
        }
        self.answered = self.answered.saturating_add(1);
        self.usual_ended = self.usual_ended.saturating_add(nanos(usual));
        let bucket = &mut self.ratios[bucket_of(ratio_of(elapsed, usual))];
        *bucket = bucket.saturating_add(1);
    }

    /// An attempt succeeded, or failed through its endpoint's fault.
    pub(super) fn on_outcome(&mut self, now: Time, failed: bool) {
        self.calls.record(now, if failed { Sample::Failed } else { Sample::Ok });
        self.failed_since_sweep |= failed;
    }

    /// The last success came so late that nobody does worse by not answering at all.
    pub(super) fn on_late(&mut self, now: Time) {
        self.late.record(now, Sample::Ok);
    }

    /// Closes the window if enough has happened in it; the reading, if there is a new one.
    pub(super) fn close(&mut self, now: Time) -> Option<Reading> {
        self.lanes.iter_mut().for_each(|waits| waits.sum(now));
        let waiting = self.measured().map(|(waits, _)| waits.waiting).sum();
        if self.answered + waiting < ATTEMPTS_MIN {
            if now.saturating_since(self.begun) >= WINDOW_MAX {
                self.begin(now);
            }
            return None;
        }
        let told = self.answered >= waiting;
        let ratio = if told { self.median() } else { self.ratio_by_waiting(waiting) };
        // Who has waited for less than is usual may still take any time: that is no reading yet.
        if !told && ratio < 1.0 {
            return None;
        }
        let missing = (!told).then(|| Counts::of(self.answered.into(), waiting.into()));
        let reading = Reading { from: self.begun, until: now, ratio, missing };
        self.reading = Some(reading);
        self.begin(now);
        Some(reading)
    }

    /// The latest reading.
    pub(super) fn reading(&self) -> Option<Reading> {
        self.reading
    }

    /// Failed and all calls lately.
    pub(super) fn failures(&self, now: Time) -> (u64, u64) {
        let totals = self.calls.totals(now);
        (totals.failed, totals.calls())
    }

    /// As peers: those that came late count among the failed.
    pub(super) fn failures_or_late(&self, now: Time) -> (u64, u64) {
        let (failed, calls) = self.failures(now);
        (failed + self.late.totals(now).calls(), calls)
    }

    /// Whether anything failed since this was last asked.
    pub(super) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed_since_sweep)
    }

    /// What was seen says nothing any more; what is under way stays under way.
    pub(super) fn forget(&mut self, now: Time) {
        self.begin(now);
        self.reading = None;
        self.calls.clear();
        self.late.clear();
        self.failed_since_sweep = false;
    }

    /// Attempts that wait.
    pub(super) fn waiting(&self) -> u32 {
        self.lanes.iter().map(|waits| waits.waiting).sum()
    }

    fn measured(&self) -> impl Iterator<Item = (&Waits, Duration)> {
        self.lanes.iter().filter_map(|waits| Some((waits, waits.usual?)))
    }

    fn begin(&mut self, now: Time) {
        self.begun = now;
        self.ratios = [0; BUCKETS];
        self.answered = 0;
        self.usual_ended = 0;
        for waits in &mut self.lanes {
            waits.waited = 0;
            waits.summed_until = now;
        }
    }

    /// The lower median of the ratios.
    fn median(&self) -> f64 {
        let middle = self.answered.div_ceil(2);
        let mut seen = 0;
        let found = self.ratios.iter().position(|count| {
            seen += u32::from(*count);
            seen >= middle
        });
        middle_of(found.unwrap_or(BUCKETS - 1))
    }

    fn ratio_by_waiting(&self, waiting: u32) -> f64 {
        let attempts = u64::from(self.answered + waiting).max(1);
        let (mut waited, mut usual) = (0_u64, self.usual_ended);
        for (waits, takes) in self.measured() {
            waited = waited.saturating_add(waits.waited);
            usual = usual.saturating_add(nanos(takes).saturating_mul(waits.waiting.into()));
        }
        ratio_of(Duration::from_nanos(waited / attempts), Duration::from_nanos(usual.max(1) / attempts))
    }
}

/// How many times the usual time it took; what exceeds it by too little to matter counts as usual.
fn ratio_of(elapsed: Duration, usual: Duration) -> f64 {
    let ratio = elapsed.as_secs_f64() / usual.as_secs_f64().max(1e-9);
    if elapsed < usual.saturating_add(EXCESS_MIN) { ratio.min(1.0) } else { ratio }
}

fn bucket_of(ratio: f64) -> usize {
    // A negative float becomes 0, as does what is no number.
    let place = (ratio.max(f64::MIN_POSITIVE).log2() - LOG2_LEAST) * BUCKETS_PER_DOUBLING;
    (place as usize).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> f64 {
    ((bucket as f64 + 0.5) / BUCKETS_PER_DOUBLING + LOG2_LEAST).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    const USUAL: Duration = Duration::from_millis(20);

    fn pace() -> Pace {
        let mut pace = Pace::new(at(0), 2);
        pace.set_usual(at(0), 0, Some(USUAL));
        pace
    }

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn at(value: u64) -> Time {
        Time::from_millis(value)
    }

    fn check(reading: Option<Reading>, expected: f64) {
        let ratio = reading.expect("a reading").ratio;
        assert!((ratio / expected - 1.0).abs() < 0.1, "{ratio} instead of {expected}");
    }

    #[test]
    fn the_median_of_what_was_answered() {
        let mut pace = pace();
        for elapsed in [20, 20, 200, 200, 200, 20_000, 5] {
            pace.on_sent(at(0), 0);
            pace.on_ended(at(elapsed.min(400)), 0, ms(elapsed), Ended::Answered);
        }
        check(pace.close(at(500)), 10.0);
        assert_eq!(pace.close(at(1_000)), None, "nothing new");
    }

    #[test]
    fn what_is_missing_speaks_before_it_arrives() {
        let mut pace = pace();
        for sent in [0, 100, 200, 300, 400] {
            pace.on_sent(at(sent), 0);
        }
        // 500 + 400 + 300 + 200 + 100 ms of waiting where 100 ms are usual.
        check(pace.close(at(500)), 15.0);
        // In the next window the same five wait 500 ms each.
        check(pace.close(at(1_000)), 25.0);
    }

    #[test]
    fn who_has_just_been_asked_is_neither_slow_nor_fast() {
        let mut pace = pace();
        for _ in 0..20 {
            pace.on_sent(at(495), 0);
        }
        assert_eq!(pace.close(at(500)), None);
        check(pace.close(at(595)), 5.0);
    }

    #[test]
    fn too_few_attempts_keep_the_window_open_for_a_while() {
        let mut pace = pace();
        let answer = |pace: &mut Pace, moment: u64| {
            pace.on_sent(at(moment), 0);
            pace.on_ended(at(moment), 0, ms(40), Ended::Answered);
        };
        for sweep in 0..4 {
            answer(&mut pace, sweep * 500);
            assert_eq!(pace.close(at(sweep * 500 + 499)), None);
        }
        answer(&mut pace, 2_000);
        check(pace.close(at(2_499)), 2.0);
        answer(&mut pace, 2_500);
        assert_eq!(pace.close(at(13_000)), None, "too old now");
        for _ in 0..4 {
            answer(&mut pace, 13_000);
        }
        assert_eq!(pace.close(at(13_499)), None, "the first one was forgotten");
    }

    #[test]
    fn small_differences_and_unknown_lanes_do_not_count() {
        let mut pace = pace();
        pace.set_usual(at(0), 0, Some(ms(1)));
        for _ in 0..9 {
            pace.on_sent(at(0), 0);
            pace.on_ended(at(9), 0, ms(9), Ended::Answered);
            pace.on_sent(at(0), 1);
            pace.on_sent(at(0), 1);
            pace.on_ended(at(9_000), 1, ms(9_000), Ended::Answered);
        }
        assert!(pace.close(at(9_500)).expect("a reading").ratio < 1.2, "8 ms too slow is not slow");
    }

    #[test]
    fn close_to_the_exact_median_and_sum_for_random_windows() {
        for seed in 0..100 {
            let mut rng = Rng::seeded(seed);
            let mut pace = pace();
            let (mut ratios, mut waited, mut waiting) = (Vec::new(), 0, 0_u64);
            for _ in 0..5 + rng.below(60) {
                let sent = rng.below(500);
                let takes = 30 + rng.below(400);
                if sent + takes <= 500 {
                    ratios.push(takes as f64 / 20.0);
                    waited += takes;
                } else {
                    waiting += 1;
                    waited += 500 - sent;
                }
                replay(&mut pace, sent, takes);
            }
            ratios.sort_by(f64::total_cmp);
            let expected = if ratios.len() as u64 >= waiting {
                ratios[(ratios.len() - 1) / 2]
            } else {
                let attempts = ratios.len() as u64 + waiting;
                let ratio = waited as f64 / (attempts * 20) as f64;
                if waited / attempts < 30 { ratio.min(1.0) } else { ratio }
            };
            let Some(Reading { ratio, .. }) = pace.close(at(500)) else {
                assert!(expected < 1.1, "seed {seed}: nothing instead of {expected}");
                continue;
            };
            assert!((ratio / expected - 1.0).abs() < 0.1, "seed {seed}: {ratio} instead of {expected}");
        }
    }

    #[test]
    fn when_the_usual_time_changes_all_are_measured_by_the_new_one() {
        let (mut old, mut new) = (pace(), pace());
        // A hundred times as slow: one waits for what was sent before the median followed, the other has just been sent as much.
        (0..30).for_each(|sent| old.on_sent(at(sent * 100), 0));
        (0..30).for_each(|sent| new.on_sent(at(2_500 + sent * 10), 0));
        for pace in [&mut old, &mut new] {
            pace.close(at(3_000));
            pace.set_usual(at(3_000), 0, Some(ms(2_000)));
        }
        let [old, new] = [old, new].map(|mut pace| pace.close(at(6_000)).expect("a reading").ratio);
        assert!((old / new - 1.0).abs() < 1e-9, "{old} and {new}");
        assert!((old - 1.5).abs() < 1e-9, "three seconds each where two are usual: {old}");
    }

    /// Attempts one after another instead of interleaved: sums do not depend on the order.
    fn replay(pace: &mut Pace, sent: u64, takes: u64) {
        let others = std::mem::take(&mut pace.lanes[0].waiting);
        pace.lanes[0].summed_until = at(sent);
        pace.on_sent(at(sent), 0);
        if sent + takes <= 500 {
            pace.on_ended(at(sent + takes), 0, ms(takes), Ended::Answered);
        }
        pace.lanes[0].sum(at(500));
        pace.lanes[0].waiting += others;
    }
}
