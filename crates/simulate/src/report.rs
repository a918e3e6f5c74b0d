//! What a run came to: goodput, amplification, percentiles, time to recover, time to isolate, ejections.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use seaworthy_policy::Time;
use seaworthy_policy::call::AttemptKind;
use seaworthy_policy::pool::EjectReason;

/// A backend's traffic is counted in slots of this length.
pub const SLOT: Duration = Duration::from_millis(100);
/// A backend is isolated once it gets at most this share of what would be its fair share ...
pub const ISOLATED_SHARE: f64 = 0.1;
/// ... for this many slots in a row ...
pub const ISOLATED_SLOTS: usize = 10;
/// ... in which its fair share would have been this many attempts at least, or it may be chance.
pub const ISOLATED_FAIR_MIN: f64 = 10.0;
/// A second is good when this share of what came in it ended well ...
pub const RECOVERED_SHARE: f64 = 0.99;
/// ... and recovery begins with this many good seconds in a row.
pub const RECOVERED_SECONDS: usize = 5;

/// How a request ended, for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Answered as meant.
    Good,
    /// Answered with an error, or not in time.
    Failed,
    /// Refused by ourselves before anything was sent.
    Rejected,
}

/// One request of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When it came.
    pub arrived: Time,
    /// How long its client waited.
    pub took: Duration,
    /// What for.
    pub ending: Ending,
}

/// One second of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Requests that came.
    pub offered: u64,
    /// Those of them that ended well.
    pub good: u64,
    /// Attempts sent, whichever request they belong to.
    pub attempts: u64,
    /// Those of them that were retries.
    pub retries: u64,
    /// Those of them that were hedges.
    pub hedges: u64,
}

impl Second {
    /// The share of requests that ended well; 1 when none came.
    pub fn goodput(&self) -> f64 {
        if self.offered == 0 { 1.0 } else { self.good as f64 / self.offered as f64 }
    }
}

/// An endpoint that some gateway put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionRecord {
    /// When.
    pub at: Time,
    /// Who.
    pub gateway: usize,
    /// Whom.
    pub backend: usize,
    /// Why.
    pub reason: EjectReason,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Request by request, in the order in which they ended.
    pub outcomes: Vec<Outcome>,
    /// Ejections in order.
    pub ejections: Vec<EjectionRecord>,
    /// Attempts per slot and backend: `sent[slot][backend]`.
    sent: Vec<Vec<u32>>,
    backends: usize,
    /// Events of the engine.
    pub events: u64,
    /// The engine's trace: two runs with the same number were the same run.
    pub trace: u64,
}

impl Report {
    pub(crate) fn new(backends: usize) -> Self {
        Self { backends, ..Self::default() }
    }

    pub(crate) fn on_attempt(&mut self, now: Time, backend: usize, kind: AttemptKind) {
        let second = self.second(now);
        second.attempts += 1;
        match kind {
            AttemptKind::First => {}
            AttemptKind::Retry => second.retries += 1,
            AttemptKind::Hedge => second.hedges += 1,
        }
        let slot = slot_of(now);
        if self.sent.len() <= slot {
            self.sent.resize(slot + 1, vec![0; self.backends]);
        }
        self.sent[slot][backend] += 1;
    }

    pub(crate) fn on_arrival(&mut self, now: Time) {
        self.second(now).offered += 1;
    }

    pub(crate) fn on_end(&mut self, outcome: Outcome) {
        self.second(outcome.arrived).good += u64::from(outcome.ending == Ending::Good);
        self.outcomes.push(outcome);
    }

    fn second(&mut self, at: Time) -> &mut Second {
        let index = second_of(at);
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        &mut self.seconds[index]
    }

    /// Everything that happened in a range of seconds.
    pub fn total(&self, seconds: Range<usize>) -> Second {
        let within = self.seconds.iter().take(seconds.end).skip(seconds.start);
        within.fold(Second::default(), |sum, second| Second {
            offered: sum.offered + second.offered,
            good: sum.good + second.good,
            attempts: sum.attempts + second.attempts,
            retries: sum.retries + second.retries,
            hedges: sum.hedges + second.hedges,
        })
    }

    /// Attempts per request in a range of seconds.
    pub fn amplification(&self, seconds: Range<usize>) -> f64 {
        let total = self.total(seconds);
        total.attempts as f64 / total.offered.max(1) as f64
    }

    /// How long after `since` the first of [`RECOVERED_SECONDS`] good seconds in a row begins; `None` = not in this run.
    pub fn recovery(&self, since: Time) -> Option<Duration> {
        let first = second_of(since);
        let good = |second: &Second| second.offered > 0 && second.goodput() >= RECOVERED_SHARE;
        let stretch = self.seconds.get(first..)?.windows(RECOVERED_SECONDS);
        let index = stretch.clone().position(|seconds| seconds.iter().all(good))?;
        Some(Duration::from_secs(index as u64))
    }

    /// The waits of requests that came in a range of seconds, good or not, sorted. What was rejected did not wait.
    pub fn latencies(&self, seconds: Range<usize>) -> Latencies {
        let within = self.outcomes.iter().filter(|outcome| seconds.contains(&second_of(outcome.arrived)));
        let mut sorted: Vec<Duration> =
            within.filter(|outcome| outcome.ending != Ending::Rejected).map(|outcome| outcome.took).collect();
        sorted.sort_unstable();
        Latencies(sorted)
    }

    /// When `backend` was isolated, after `since`: from then on it got at most [`ISOLATED_SHARE`] of its fair share for
    /// [`ISOLATED_SLOTS`]; `None` = not in this run.
    pub fn isolation(&self, backend: usize, since: Time) -> Option<Duration> {
        let first = slot_of(since);
        let quiet = |slots: &[Vec<u32>]| {
            let all: u32 = slots.iter().flatten().sum();
            let own: u32 = slots.iter().map(|slot| slot[backend]).sum();
            let fair = f64::from(all) / self.backends as f64;
            fair >= ISOLATED_FAIR_MIN && f64::from(own) <= ISOLATED_SHARE * fair
        };
        let index = self.sent.get(first..)?.windows(ISOLATED_SLOTS).position(quiet)?;
        Some(SLOT * index as u32)
    }

    /// Attempts at `backend` in a range of seconds, as a share of its fair share.
    pub fn share(&self, backend: usize, seconds: Range<usize>) -> f64 {
        let slots_per_second = (1_000 / SLOT.as_millis()) as usize;
        let slots =
            self.sent.iter().take(seconds.end * slots_per_second).skip(seconds.start * slots_per_second);
        let (own, all) = slots.fold((0_u64, 0_u64), |(own, all), slot| {
            let sum: u64 = slot.iter().map(|sent| u64::from(*sent)).sum();
            (own + u64::from(slot[backend]), all + sum)
        });
        own as f64 * self.backends as f64 / all.max(1) as f64
    }

    /// When `backend` was first ejected, after `since`.
    pub fn ejection(&self, backend: usize, since: Time) -> Option<Duration> {
        let of_it = |record: &&EjectionRecord| record.backend == backend && record.at >= since;
        self.ejections.iter().find(of_it).map(|record| record.at.saturating_since(since))
    }
}

fn second_of(at: Time) -> usize {
    (at.as_nanos() / 1_000_000_000) as usize
}

fn slot_of(at: Time) -> usize {
    (u128::from(at.as_nanos()) / SLOT.as_nanos()) as usize
}

/// Waits, sorted.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a share `q` of them does not exceed, exactly; zero when there is none.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (q.clamp(0.0, 1.0) * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(Duration::ZERO)
    }
}

/// A table for people, as lines of aligned columns.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(formatter, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A duration as seconds, or `never`.
pub fn seconds(duration: Option<Duration>) -> String {
    duration.map_or("never".to_owned(), |duration| format!("{:.1} s", duration.as_secs_f64()))
}

/// A duration as milliseconds.
pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(good: &[u64]) -> Report {
        let second = |good| Second { offered: 100, good, attempts: 110, ..Second::default() };
        Report { seconds: good.iter().copied().map(second).collect(), ..Report::new(2) }
    }

    #[test]
    fn recovery_wants_five_good_seconds_in_a_row() {
        let at = |seconds: u64| Time::from_millis(seconds * 1_000);
        let report = report(&[100, 0, 0, 99, 100, 98, 100, 99, 100, 100, 100, 0]);
        assert_eq!(report.recovery(at(1)), Some(Duration::from_secs(5)));
        assert_eq!(report.recovery(at(6)), Some(Duration::ZERO));
        assert_eq!(report.recovery(at(7)), None);
        assert_eq!(report.recovery(at(70)), None);
        assert!((report.amplification(0..3) - 1.1).abs() < 1e-9);
        assert_eq!(report.total(0..3).good, 100);
    }

    #[test]
    fn isolation_is_the_beginning_of_a_quiet_second() {
        let mut report = Report::new(2);
        for slot in 0..40 {
            let now = Time::from_millis(slot * 100);
            for _ in 0..50 {
                report.on_attempt(now, 0, AttemptKind::First);
            }
            let noisy = slot < 13 || slot == 19;
            for _ in 0..if noisy { 50 } else { 0 } {
                report.on_attempt(now, 1, AttemptKind::First);
            }
        }
        assert_eq!(report.isolation(1, Time::from_millis(1_000)), Some(Duration::from_secs(1)));
        assert_eq!(report.isolation(0, Time::ZERO), None);
        assert!((report.share(1, 0..1) - 1.0).abs() < 1e-9);
        assert!(report.share(1, 3..4) < 1e-9);
    }

    #[test]
    fn quantiles_are_exact() {
        let latencies = Latencies((1..=1_000).map(Duration::from_millis).collect());
        for (q, ms) in [(0.0, 1), (0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1_000)] {
            assert_eq!(latencies.quantile(q), Duration::from_millis(ms), "{q}");
        }
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["policy", "p99"]);
        table.row(&["none".to_owned(), "1500.0 ms".to_owned()]);
        assert_eq!(table.to_string(), "policy        p99\nnone    1500.0 ms\n");
    }
}
