//! The breaker against a naive model that keeps every record of every call and works everything out anew.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::breaker::{Outcome, Permit, Rejected, State, WindowType};
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};

const BUCKETS: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait {
        millis: u64,
    },
    /// A clock that another caller read a little earlier.
    Timer {
        millis_ago: u64,
    },
    Admit,
    Complete {
        which: usize,
        outcome: Kind,
        millis: u64,
    },
    Reset,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Success,
    Failure,
    Throttled,
    Ignored,
    Cancelled,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        3 => Just(Kind::Success),
        4 => Just(Kind::Failure),
        1 => Just(Kind::Throttled),
        1 => Just(Kind::Ignored),
        1 => Just(Kind::Cancelled),
    ];
    let complete = (0_usize..8, kind, 0_u64..250).prop_map(|(which, outcome, millis)| Step::Complete {
        which,
        outcome,
        millis,
    });
    let step = prop_oneof![
        30 => (0_u64..120).prop_map(|millis| Step::Wait { millis }),
        5 => (0_u64..50).prop_map(|millis_ago| Step::Timer { millis_ago }),
        50 => Just(Step::Admit),
        50 => complete,
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..300)
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    let ramp = prop_oneof![Just(0_u64), Just(400)];
    let window = prop_oneof![Just(None), (1_u32..12).prop_map(Some)];
    (1_u32..5, 0_u64..300, 1_u32..8, 1_u32..6, any::<bool>(), ramp, window).prop_map(
        |(consecutive_failures, quiet, minimum_number_of_calls, places, slow, ramp, window)| BreakerConfig {
            sliding_window_type: if window.is_some() {
                WindowType::CountBased
            } else {
                WindowType::TimeBased
            },
            sliding_window_size: window.unwrap_or(100),
            consecutive_failures,
            quiet: Duration::from_millis(quiet),
            minimum_number_of_calls,
            sliding_window: Duration::from_secs(1),
            slow_call_duration: slow.then_some(Duration::from_millis(150)),
            wait_duration_in_open_state: Duration::from_millis(100),
            max_wait: Duration::from_millis(350),
            permitted_number_of_calls_in_half_open_state: places,
            probe_timeout: Duration::from_millis(300),
            recovery_ramp: Duration::from_millis(ramp),
            ..BreakerConfig::default()
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Good,
    Bad,
    Freed,
}

/// A probe of the present half-open state, kept whatever becomes of it.
#[derive(Clone, Copy, Debug)]
struct ProbeRecord {
    admitted: Time,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ModelState {
    Closed,
    Open { since: Time, until: Option<Time> },
    HalfOpen,
    Ramp { since: Time },
}

/// What one call left behind. Kept for ever.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a record of facts, each independent")]
struct Record {
    at: Time,
    era: u32,
    ok: bool,
    failed: bool,
    slow: bool,
    /// Counts in a run of failures.
    in_a_row: bool,
}

#[derive(Debug)]
struct Model {
    config: BreakerConfig,
    state: ModelState,
    generation: u32,
    /// Counts up whenever the evidence is discarded.
    era: u32,
    era_began: Time,
    records: Vec<Record>,
    probes: Vec<ProbeRecord>,
    openings: u32,
    now: Time,
}

impl Model {
    fn new(config: BreakerConfig) -> Self {
        Model {
            config,
            state: ModelState::Closed,
            generation: 0,
            era: 0,
            era_began: Time::ZERO,
            records: Vec::new(),
            probes: Vec::new(),
            openings: 0,
            now: Time::ZERO,
        }
    }

    fn enter(&mut self, state: ModelState, keep_evidence: bool) {
        self.state = state;
        self.generation += 1;
        self.probes.clear();
        if !keep_evidence {
            self.era += 1;
            self.era_began = self.now;
        }
    }

    fn open(&mut self) {
        self.openings += 1;
        self.enter(ModelState::Open { since: self.now, until: None }, false);
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        match self.state {
            ModelState::Open { until: Some(until), .. } if until <= self.now => {
                self.enter(ModelState::HalfOpen, false);
            }
            ModelState::HalfOpen => self.follow_probes(),
            ModelState::Ramp { since } if since + self.config.recovery_ramp <= self.now => {
                self.openings = 0;
                self.enter(ModelState::Closed, true);
            }
            _ => {}
        }
    }

    fn verdicts(&self) -> (u32, u32, u32) {
        let count = |wanted: Option<Verdict>| {
            let verdict = |probe: &&ProbeRecord| {
                let overdue = probe.admitted + self.config.probe_timeout <= self.now;
                probe.verdict.or(overdue.then_some(Verdict::Bad)) == wanted
            };
            self.probes.iter().filter(verdict).count() as u32
        };
        (count(Some(Verdict::Good)), count(Some(Verdict::Bad)), count(None))
    }

    fn follow_probes(&mut self) {
        let (good, bad, _) = self.verdicts();
        let places = self.config.permitted_number_of_calls_in_half_open_state;
        // A majority of all places; half of an even number is none.
        if 2 * good > places {
            if self.config.recovery_ramp.is_zero() {
                self.openings = 0;
                self.enter(ModelState::Closed, false);
            } else {
                self.enter(ModelState::Ramp { since: self.now }, false);
            }
        } else if 2 * (places - bad) <= places {
            self.open();
        }
    }

    fn in_window(&self) -> Vec<Record> {
        if self.config.sliding_window_type == WindowType::CountBased {
            let of_this_era = self.records.iter().copied().filter(|record| record.era == self.era);
            let newest_first: Vec<Record> = of_this_era.rev().collect();
            return newest_first.into_iter().take(self.config.sliding_window_size as usize).collect();
        }
        let width = self.config.sliding_window.as_nanos() as u64 / BUCKETS;
        let newest = self.now.as_nanos() / width;
        let live =
            |record: &Record| record.era == self.era && newest - record.at.as_nanos() / width < BUCKETS;
        self.records.iter().copied().filter(live).collect()
    }

    fn complete(&mut self, generation: u32, probe: Option<usize>, outcome: Outcome) {
        if generation != self.generation {
            return;
        }
        let limit = self.config.slow_call_duration;
        let is_slow = |elapsed: Duration| limit.is_some_and(|limit| elapsed >= limit);
        if let Some(number) = probe {
            let overdue = self.probes[number].admitted + self.config.probe_timeout <= self.now;
            let verdict = match outcome {
                _ if overdue => Verdict::Bad,
                Outcome::Success { elapsed } if !is_slow(elapsed) => Verdict::Good,
                Outcome::Success { .. } | Outcome::Failure { .. } | Outcome::Throttled { .. } => Verdict::Bad,
                Outcome::Cancelled { elapsed } if is_slow(elapsed) => Verdict::Bad,
                Outcome::Cancelled { .. } | Outcome::Ignored => Verdict::Freed,
            };
            self.probes[number].verdict = Some(verdict);
            self.follow_probes();
            return;
        }
        let (ok, failed, slow) = match outcome {
            Outcome::Success { elapsed } => (true, false, is_slow(elapsed)),
            Outcome::Failure { elapsed } | Outcome::Throttled { elapsed } => (false, true, is_slow(elapsed)),
            Outcome::Cancelled { elapsed } if is_slow(elapsed) => (false, false, true),
            Outcome::Cancelled { .. } | Outcome::Ignored => return,
        };
        let in_a_row = matches!(outcome, Outcome::Failure { .. });
        self.records.push(Record { at: self.now, era: self.era, ok, failed, slow, in_a_row });
        if (failed || slow) && self.should_open() {
            self.open();
        }
    }

    fn should_open(&self) -> bool {
        let era: Vec<Record> = self.records.iter().copied().filter(|record| record.era == self.era).collect();
        let last_ok = era.iter().filter(|record| record.ok).map(|record| record.at).max();
        let run = era.iter().rev().take_while(|record| !record.ok).filter(|record| record.in_a_row).count();
        let quiet = self.now.saturating_since(last_ok.unwrap_or(self.era_began)) >= self.config.quiet;
        if run >= self.config.consecutive_failures as usize && quiet {
            return true;
        }
        let window = self.in_window();
        if window.len() < self.config.minimum_number_of_calls as usize {
            return false;
        }
        let share = |count: usize| count as f64 / window.len() as f64;
        share(window.iter().filter(|record| record.failed).count()) >= self.config.failure_rate_threshold
            || (self.config.slow_call_duration.is_some()
                && share(window.iter().filter(|record| record.slow).count())
                    >= self.config.slow_call_rate_threshold)
    }

    /// What the model cannot know is a random wait; it takes it over, having checked its range.
    fn compare(&mut self, breaker: &Breaker) {
        assert_eq!(breaker.generation(), self.generation, "generation");
        let (shown, modelled) = (breaker.state(self.now), self.state);
        match (shown, modelled) {
            (State::Closed, ModelState::Closed)
            | (State::HalfOpen, ModelState::HalfOpen)
            | (State::Ramp { .. }, ModelState::Ramp { .. }) => {}
            (State::Open { until }, ModelState::Open { since, until: None }) => {
                let doubled = self.config.wait_duration_in_open_state * (1 << (self.openings - 1).min(10));
                let base = doubled.min(self.config.max_wait);
                let wait = until.saturating_since(since);
                assert!(wait >= base.mul_f64(0.799) && wait <= base.mul_f64(1.201), "{wait:?} for {base:?}");
                self.state = ModelState::Open { since, until: Some(until) };
            }
            (State::Open { until }, ModelState::Open { until: Some(expected), .. }) => {
                assert_eq!(until, expected);
            }
            (shown, modelled) => panic!("{shown:?}, but the model says {modelled:?}"),
        }
        let window = self.in_window();
        let totals = breaker.totals(self.now);
        let count =
            |wanted: fn(&Record) -> bool| window.iter().filter(|record| wanted(record)).count() as u64;
        assert_eq!(totals.ok, count(|record| record.ok));
        assert_eq!(totals.failed, count(|record| record.failed));
        assert_eq!(totals.slow, count(|record| record.slow));
        assert_eq!(totals.calls(), window.len() as u64);
    }
}

/// A permit, and where its probe stands in the model.
type Held = (Permit, Option<usize>);

fn admit(breaker: &mut Breaker, rng: &mut Rng, model: &mut Model, now: Time) -> Option<Held> {
    model.advance(now);
    let answer = breaker.admit(now, rng);
    if let Err(rejected) = &answer {
        assert!(rejected.retry_after() > Duration::ZERO, "{rejected:?} says when to try again");
    }
    let (good, bad, outstanding) = model.verdicts();
    let places = model.config.permitted_number_of_calls_in_half_open_state;
    match (model.state, answer) {
        (ModelState::Closed | ModelState::Ramp { .. }, Ok(permit)) if !permit.is_probe() => {
            Some((permit, None))
        }
        (ModelState::HalfOpen, Ok(permit)) if permit.is_probe() && good + bad + outstanding < places => {
            model.probes.push(ProbeRecord { admitted: model.now, verdict: None });
            Some((permit, Some(model.probes.len() - 1)))
        }
        (ModelState::HalfOpen, Err(Rejected::ProbesBusy { .. })) if good + bad + outstanding == places => {
            None
        }
        (ModelState::Open { .. }, Err(Rejected::Open { .. }))
        | (ModelState::Ramp { .. }, Err(Rejected::Ramping { .. })) => None,
        (state, answer) => panic!("{answer:?}, but the model says {state:?}"),
    }
}

fn run(config: BreakerConfig, seed: u64, steps: &[Step]) {
    let (mut breaker, mut model) = (Breaker::new(config, Time::ZERO), Model::new(config));
    let mut rng = Rng::seeded(seed);
    let mut now = Time::ZERO;
    let mut held: Vec<Held> = Vec::new();
    for step in steps {
        match *step {
            Step::Wait { millis } => {
                now = now + Duration::from_millis(millis);
                continue;
            }
            Step::Timer { millis_ago } => {
                let earlier = Time::from_nanos(now.as_nanos().saturating_sub(millis_ago * 1_000_000));
                model.advance(earlier);
                breaker.on_timer(earlier, &mut rng);
            }
            Step::Admit => held.extend(admit(&mut breaker, &mut rng, &mut model, now)),
            Step::Complete { which, outcome, millis } if !held.is_empty() => {
                let (permit, probe) = held.swap_remove(which % held.len());
                let elapsed = Duration::from_millis(millis);
                let outcome = match outcome {
                    Kind::Success => Outcome::Success { elapsed },
                    Kind::Failure => Outcome::Failure { elapsed },
                    Kind::Throttled => Outcome::Throttled { elapsed },
                    Kind::Ignored => Outcome::Ignored,
                    Kind::Cancelled => Outcome::Cancelled { elapsed },
                };
                model.advance(now);
                model.complete(permit.generation(), probe, outcome);
                breaker.complete(now, &mut rng, permit, outcome);
            }
            Step::Complete { .. } => {}
            Step::Reset => {
                model.now = model.now.max(now);
                model.openings = 0;
                model.enter(ModelState::Closed, false);
                breaker.reset(now);
            }
        }
        breaker.check_invariants();
        model.compare(&breaker);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn behaves_like_the_naive_model(config in configs(), seed in any::<u64>(), steps in steps()) {
        prop_assume!(config.validate().is_ok());
        run(config, seed, &steps);
    }
}
