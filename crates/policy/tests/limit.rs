//! The concurrency limit: its accounting against a naive list, and the mistakes that other limits have made.

use std::time::Duration;

use seaworthy_policy::limit::{Algorithm, Outcome, Permit};
use seaworthy_policy::{Limit, LimitConfig, Rng, Time};

const ADAPTIVE: [Algorithm; 3] = [Algorithm::Aimd, Algorithm::Vegas, Algorithm::Gradient2];

fn with(algorithm: Algorithm) -> LimitConfig {
    LimitConfig { algorithm, ..LimitConfig::default() }
}

/// Calls that come in rounds: as many as are let in, and all end together.
struct Rounds {
    limit: Limit,
    rng: Rng,
    now: u64,
}

impl Rounds {
    fn new(config: LimitConfig) -> Self {
        Rounds { limit: Limit::new(config), rng: Rng::seeded(1), now: 0 }
    }

    fn at(&self) -> Time {
        Time::from_millis(self.now)
    }

    /// One round: at most `most` calls, which take what `millis` says for that many and end in that way.
    fn round(&mut self, most: u32, millis: impl Fn(u32) -> u64, outcome: Outcome) {
        let mut permits: Vec<Permit> = Vec::new();
        while (permits.len() as u32) < most
            && let Some(permit) = self.limit.try_acquire(self.at())
        {
            permits.push(permit);
        }
        self.now += millis(permits.len() as u32);
        for permit in permits {
            self.limit.release(self.at(), &mut self.rng, permit, outcome);
        }
    }

    fn rounds(&mut self, seconds: u64, most: u32, millis: impl Fn(u32) -> u64, outcome: Outcome) {
        let until = self.now + 1_000 * seconds;
        while self.now < until {
            self.round(most, &millis, outcome);
        }
    }
}

/// A backend with so many workers: beyond them, calls wait.
fn workers(count: u32, service_millis: u64) -> impl Fn(u32) -> u64 {
    move |calls| service_millis * u64::from(calls.div_ceil(count).max(1))
}

#[test]
fn in_flight_is_what_was_let_in_and_has_not_ended() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let algorithm = [Algorithm::Fixed, Algorithm::Aimd, Algorithm::Vegas, Algorithm::Gradient2]
            [rng.below(4) as usize];
        let config = LimitConfig {
            algorithm,
            initial_limit: 1 + rng.below(30) as u32,
            max_limit: 40,
            sample_window: Duration::from_millis(50),
            samples_min: 5,
            ..LimitConfig::default()
        };
        let mut limit = Limit::new(config);
        let (mut under_way, mut now): (Vec<Permit>, u64) = (Vec::new(), 0);
        for _ in 0..1_500 {
            now += rng.below(3);
            let at = Time::from_millis(now);
            if rng.chance(0.55) {
                let room = (under_way.len() as u32) < limit.limit();
                let permit = limit.try_acquire(at);
                assert_eq!(permit.is_some(), room, "seed {seed}: {} of {}", under_way.len(), limit.limit());
                under_way.extend(permit);
            } else if !under_way.is_empty() {
                let permit = under_way.swap_remove(rng.below(under_way.len() as u64) as usize);
                let outcomes = [
                    Outcome::Success,
                    Outcome::Failed,
                    Outcome::TimedOut,
                    Outcome::Overloaded,
                    Outcome::Cancelled,
                ];
                let outcome = outcomes[if rng.chance(0.8) { 0 } else { rng.below(5) as usize }];
                limit.release(at, &mut rng, permit, outcome);
            }
            assert_eq!(limit.in_flight() as usize, under_way.len(), "seed {seed}");
            assert!((1..=40).contains(&limit.limit()), "seed {seed}: {}", limit.limit());
        }
    }
}

#[test]
fn a_fixed_limit_stays() {
    let mut rounds = Rounds::new(LimitConfig::fixed(7));
    rounds.rounds(100, u32::MAX, workers(1, 100), Outcome::Success);
    rounds.rounds(100, u32::MAX, workers(1, 100), Outcome::TimedOut);
    assert_eq!((rounds.limit.limit(), rounds.limit.in_flight()), (7, 0));
}

#[test]
fn grows_while_there_is_no_queue_and_demand_for_more() {
    for algorithm in ADAPTIVE {
        let mut rounds = Rounds::new(with(algorithm));
        rounds.rounds(120, 400, workers(400, 50), Outcome::Success);
        assert!(rounds.limit.limit() > 100, "{algorithm:?}: {}", rounds.limit.limit());
    }
}

#[test]
fn does_not_grow_when_idle() {
    for algorithm in ADAPTIVE {
        let mut rounds = Rounds::new(with(algorithm));
        // Nine of twenty places are used: fewer than half.
        rounds.rounds(600, 9, workers(400, 50), Outcome::Success);
        assert_eq!(rounds.limit.limit(), 20, "{algorithm:?}");
    }
}

#[test]
fn losses_shrink_the_limit_and_a_few_do_not() {
    for algorithm in ADAPTIVE {
        for outcome in [Outcome::TimedOut, Outcome::Overloaded] {
            let mut rounds = Rounds::new(with(algorithm));
            rounds.rounds(30, u32::MAX, |_| 200, outcome);
            assert!(rounds.limit.limit() <= 3, "{algorithm:?} {outcome:?}: {}", rounds.limit.limit());
        }
        let mut rounds = Rounds::new(with(algorithm));
        for _ in 0..200 {
            rounds.rounds(1, 15, |_| 20, Outcome::Success);
            rounds.round(1, |_| 20, Outcome::TimedOut);
        }
        assert!(rounds.limit.limit() >= 20, "{algorithm:?}: {}", rounds.limit.limit());
    }
}

/// At a gradient of 0.8 an allowance for a queue made Gradient's limit grow, for ever.
#[test]
fn netflix_134_does_not_grow_for_ever_at_gradient_0_8() {
    let mut rounds = Rounds::new(with(Algorithm::Gradient2));
    rounds.rounds(600, 20, |_| 100, Outcome::Success);
    let before = rounds.limit.limit();
    // Latency at which the tolerated one is 0.8 of it, whatever the limit.
    rounds.rounds(40, u32::MAX, |_| 188, Outcome::Success);
    assert!(rounds.limit.limit() <= before, "{before} became {}", rounds.limit.limit());
}

/// The same for Vegas, which asks what growth brings: it goes on where throughput follows, and nowhere else.
#[test]
fn netflix_134_growth_needs_throughput() {
    let slower = |bears: u32| move |calls: u32| 125 * u64::from(calls.max(bears)) / u64::from(bears);
    for (bears, grows) in [(40, false), (4_000, true)] {
        let mut rounds = Rounds::new(with(Algorithm::Vegas));
        rounds.rounds(60, 20, |_| 100, Outcome::Success);
        rounds.rounds(300, u32::MAX, slower(bears), Outcome::Success);
        let limit = rounds.limit.limit();
        assert_eq!(limit > 80, grows, "a backend that bears {bears} calls: {limit}");
    }
}

/// A backend that does nothing any more looks perfectly steady: each call takes exactly the timeout.
#[test]
fn netflix_137_a_constant_timeout_is_no_stable_latency() {
    for algorithm in ADAPTIVE {
        for outcome in [Outcome::TimedOut, Outcome::Success, Outcome::Failed] {
            let mut rounds = Rounds::new(with(algorithm));
            rounds.rounds(400, u32::MAX, |_| 5_000, outcome);
            assert!(rounds.limit.limit() <= 2, "{algorithm:?} {outcome:?}: {}", rounds.limit.limit());
            assert_eq!(rounds.limit.baseline(), None, "{algorithm:?}: learnt a timeout");
        }
    }
}

/// Callers that hang up early would otherwise make the backend look fast, or those that hang up late, slow.
#[test]
fn netflix_146_cancelled_calls_are_no_samples() {
    for algorithm in ADAPTIVE {
        let mut rounds = Rounds::new(with(algorithm));
        rounds.rounds(20, 15, workers(400, 50), Outcome::Success);
        let (limit, baseline) = (rounds.limit.limit(), rounds.limit.baseline());
        for millis in [1, 4_000] {
            rounds.rounds(100, u32::MAX, |_| millis, Outcome::Cancelled);
            let after = (rounds.limit.limit(), rounds.limit.baseline());
            assert_eq!(after, (limit, baseline), "{algorithm:?}, given up after {millis} ms");
        }
        assert_eq!(rounds.limit.in_flight(), 0);
    }
}

/// Failing fast is no speed: the baseline must not follow it down, or every good answer would look like a queue.
#[test]
fn fast_failures_do_not_lower_the_baseline() {
    let mut rounds = Rounds::new(with(Algorithm::Vegas));
    rounds.rounds(20, 15, workers(400, 50), Outcome::Success);
    let baseline = rounds.limit.baseline();
    rounds.rounds(20, 15, |_| 1, Outcome::Failed);
    assert_eq!(rounds.limit.baseline(), baseline);
}

/// Envoy's minimum latency climbed from one measurement to the next, because each one began under load.
#[test]
fn envoy_11579_the_baseline_does_not_climb_under_steady_overload() {
    let mut rounds = Rounds::new(with(Algorithm::Vegas));
    let backend = |calls: u32| 50 + u64::from(calls.saturating_sub(40)) * 50 / 40;
    rounds.rounds(60, u32::MAX, backend, Outcome::Success);
    let (early, baseline) = (rounds.limit.limit(), rounds.limit.baseline().unwrap());
    rounds.rounds(1_200, u32::MAX, backend, Outcome::Success);
    let (late, climbed) = (rounds.limit.limit(), rounds.limit.baseline().unwrap());
    assert!(climbed < baseline.mul_f64(1.25), "{baseline:?} became {climbed:?}");
    assert!(late < early + early / 2 && late < 80, "{early} became {late}");
}

/// Envoy measures its minimum latency at a concurrency of 3 and answers 503 to everybody else meanwhile.
#[test]
fn envoy_18152_experiments_leave_four_fifths() {
    let mut rounds = Rounds::new(with(Algorithm::Vegas));
    let mut limits = Vec::new();
    for _ in 0..300 {
        rounds.rounds(1, u32::MAX, workers(40, 50), Outcome::Success);
        limits.push(f64::from(rounds.limit.limit()));
    }
    let settled = &limits[60..];
    let dips = settled.windows(2).filter(|pair| pair[1] < pair[0] * 0.85).count();
    let least = settled.iter().copied().fold(f64::MAX, f64::min);
    assert!(dips >= 4, "no experiment in four minutes: {settled:?}");
    assert!(least >= 0.75 * 40.0, "a dip to {least}: {settled:?}");
}

/// Calls from before a cut took long because of what the cut has ended.
#[test]
fn results_from_before_a_reset_are_no_samples() {
    let mut rounds = Rounds::new(with(Algorithm::Vegas));
    rounds.rounds(20, 15, workers(400, 50), Outcome::Success);
    let old: Vec<Permit> = (0..15).filter_map(|_| rounds.limit.try_acquire(rounds.at())).collect();
    rounds.limit.reset();
    assert_eq!((rounds.limit.baseline(), rounds.limit.in_flight()), (None, 15));
    rounds.now += 4_000;
    let fresh = rounds.limit.try_acquire(rounds.at()).unwrap();
    for permit in old {
        rounds.limit.release(rounds.at(), &mut rounds.rng, permit, Outcome::Success);
    }
    rounds.now += 50;
    rounds.limit.release(rounds.at(), &mut rounds.rng, fresh, Outcome::Success);
    // One at a time: the old ones would be a third of the first window.
    rounds.rounds(4, 1, workers(400, 50), Outcome::Success);
    let baseline = rounds.limit.baseline().unwrap();
    assert!(baseline < Duration::from_millis(60), "{baseline:?}");
}

/// A backend with little traffic is not forgotten at its lowest limit.
#[test]
fn a_limit_of_one_finds_its_way_back() {
    for algorithm in ADAPTIVE {
        let mut rounds = Rounds::new(with(algorithm));
        rounds.rounds(400, u32::MAX, |_| 5_000, Outcome::TimedOut);
        assert!(rounds.limit.limit() <= 2, "{algorithm:?}");
        rounds.rounds(600, u32::MAX, workers(40, 2_000), Outcome::Success);
        assert!(rounds.limit.limit() >= 8, "{algorithm:?}: {}", rounds.limit.limit());
    }
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut limit = Limit::new(with(Algorithm::Vegas));
    let mut rng = Rng::seeded(1);
    let permit = limit.try_acquire(Time::from_millis(5_000)).unwrap();
    limit.release(Time::from_millis(1_000), &mut rng, permit, Outcome::Success);
    assert_eq!((limit.in_flight(), limit.limit()), (0, 20));
}
