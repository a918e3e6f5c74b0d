//! The rate limiter against a naive bucket of tokens, and against the `governor` crate.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, FakeRelativeClock};
use seaworthy_policy::rate_limit::{Decision, Request, Reservation};
use seaworthy_policy::{Deadline, KeyedConfig, RateLimitConfig, RateLimiter, Rng, Time};

/// A bucket that fills as time goes by, in whole numbers: a nanosecond brings `limit`, a request takes
/// `period` times its cost. It may be in debt, and then whoever comes waits until it would not be.
struct Bucket {
    limit: i128,
    period: i128,
    burst: i128,
    tokens: i128,
    latest: i128,
    /// Whoever took something, oldest first: identity, cost, and when it may go.
    takers: Vec<(u64, i128, i128)>,
}

impl Bucket {
    fn new(config: &RateLimitConfig) -> Self {
        let period = config.limit_refresh_period.as_nanos().cast_signed();
        let burst = i128::from(config.effective_burst()) * period;
        let limit = i128::from(config.limit_for_period);
        Bucket { limit, period, burst, tokens: burst, latest: 0, takers: Vec::new() }
    }

    fn fill(&mut self, now: i128) {
        self.tokens = (self.tokens + (now - self.latest) * self.limit).min(self.burst);
        self.latest = now;
    }

    /// How long a request of that cost waits.
    fn wait(&self, cost: u32) -> i128 {
        let missing = i128::from(cost) * self.period - self.tokens;
        if missing <= 0 { 0 } else { (missing + self.limit - 1) / self.limit }
    }

    fn take(&mut self, identity: u64, cost: u32) {
        let due = self.latest + self.wait(cost);
        self.tokens -= i128::from(cost) * self.period;
        self.takers.push((identity, i128::from(cost), due));
    }

    fn cancel(&mut self, identity: u64) -> u32 {
        match self.takers.last() {
            Some((last, cost, due)) if *last == identity && self.latest < *due => {
                let cost = *cost;
                self.tokens += cost * self.period;
                self.takers.pop();
                cost as u32
            }
            _ => 0,
        }
    }
}

fn config(rng: &mut Rng) -> RateLimitConfig {
    RateLimitConfig {
        limit_for_period: 1 + rng.below(40) as u32,
        limit_refresh_period: Duration::from_nanos(100 + rng.below(5_000)),
        burst: rng.chance(0.7).then(|| 1 + rng.below(12) as u32),
        timeout_duration: Duration::from_nanos(rng.below(2) * rng.below(3_000)),
        // Never full: what a full registry does has a model of its own.
        keys: KeyedConfig { max_keys: 8, idle_ttl: Duration::from_nanos(1 + rng.below(10_000)) },
    }
}

#[test]
fn behaves_like_a_naive_bucket() {
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        let config = config(&mut rng);
        assert_eq!(config.validate(), Ok(()), "seed {seed}");
        let mut limiter: RateLimiter<u64> = RateLimiter::new(config, &mut rng);
        let mut buckets: BTreeMap<u64, Bucket> = BTreeMap::new();
        let mut places: Vec<(u64, u64, Reservation)> = Vec::new();
        let mut now = 0;
        for step in 0..300 {
            now += rng.below(2) * rng.below(400);
            let place = format!("seed {seed}, step {step}, at {now} ns");
            let time = Time::from_nanos(now);
            let key = rng.below(4);
            let bucket = buckets.entry(key).or_insert_with(|| Bucket::new(&config));
            bucket.fill(i128::from(now));
            if rng.chance(0.2) && !places.is_empty() {
                let (key, identity, reservation) =
                    places.swap_remove(rng.below(places.len() as u64) as usize);
                let bucket = buckets.get_mut(&key).unwrap();
                bucket.fill(i128::from(now));
                assert_eq!(limiter.cancel(time, &key, reservation), bucket.cancel(identity), "{place}");
            } else {
                let cost = 1 + rng.below(u64::from(config.effective_burst())) as u32;
                let left = rng.chance(0.3).then(|| rng.below(2_000));
                let deadline = left.map(|left| Deadline::after(time, Duration::from_nanos(left)));
                let wait = bucket.wait(cost);
                let in_time = left.is_none_or(|left| wait == 0 || wait < i128::from(left));
                match limiter.acquire(time, &key, Request { cost, deadline }) {
                    Decision::Admitted => {
                        assert_eq!(wait, 0, "{place}");
                        bucket.take(step, cost);
                    }
                    Decision::Wait(reservation) => {
                        assert_eq!(
                            i128::from(reservation.due().as_nanos()),
                            i128::from(now) + wait,
                            "{place}"
                        );
                        assert!(in_time && wait as u128 <= config.timeout_duration.as_nanos(), "{place}");
                        bucket.take(step, cost);
                        places.push((key, step, reservation));
                    }
                    Decision::Rejected { retry_after, shared } => {
                        assert_eq!((retry_after.as_nanos().cast_signed(), shared), (wait, false), "{place}");
                        assert!(!in_time || wait as u128 > config.timeout_duration.as_nanos(), "{place}");
                    }
                    Decision::NeverFits => panic!("{place}: a burst fits"),
                }
            }
            let whole = (buckets[&key].tokens.max(0) / buckets[&key].period) as u32;
            assert_eq!(limiter.remaining(time, &key), whole, "{place}");
            limiter.check_invariants();
        }
        for bucket in buckets.values() {
            obeys_the_limit(bucket, seed);
        }
    }
}

/// What the limit means, whatever the arithmetic: from any moment to any other, no more than a burst and what
/// the time between them allows.
fn obeys_the_limit(bucket: &Bucket, seed: u64) {
    for (first, (_, _, from)) in bucket.takers.iter().enumerate() {
        let mut cost = 0;
        for (_, more, until) in &bucket.takers[first..] {
            cost += more;
            // Turns are rounded up to whole nanoseconds, the first one here included.
            let allowed = bucket.burst + (until - from + 1) * bucket.limit;
            assert!(until >= from, "seed {seed}: somebody was overtaken");
            assert!(cost * bucket.period <= allowed, "seed {seed}: {cost} from {from} to {until} ns");
        }
    }
}

#[test]
fn agrees_with_governor() {
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        // Governor rounds the interval to whole nanoseconds; here it is one.
        let limit = 1 + rng.below(50);
        let interval = 1 + rng.below(1_000_000);
        let burst = NonZeroU32::new(1 + rng.below(20) as u32).unwrap();
        let config = RateLimitConfig {
            limit_for_period: limit as u32,
            limit_refresh_period: Duration::from_nanos(limit * interval),
            burst: Some(burst.get()),
            ..RateLimitConfig::default()
        };
        assert_eq!(config.validate(), Ok(()), "seed {seed}");
        let clock = FakeRelativeClock::default();
        let quota = Quota::with_period(Duration::from_nanos(interval)).unwrap().allow_burst(burst);
        let oracle =
            |clock: &FakeRelativeClock| governor::RateLimiter::direct_with_clock(quota, clock.clone());
        let mut oracles: BTreeMap<u64, governor::RateLimiter<_, _, FakeRelativeClock, _>> = BTreeMap::new();
        let mut limiter: RateLimiter<u64> = RateLimiter::new(config, &mut rng);
        let mut now = Time::ZERO;
        for step in 0..300 {
            let wait = Duration::from_nanos(rng.below(2) * rng.below(3 * interval + 1));
            clock.advance(wait);
            now = now + wait;
            let key = rng.below(3);
            let cost = NonZeroU32::new(1 + rng.below(u64::from(burst.get()) + 1) as u32).unwrap();
            let theirs = oracles.entry(key).or_insert_with(|| oracle(&clock));
            let expected = match theirs.check_n(cost) {
                Ok(Ok(())) => Decision::Admitted,
                Ok(Err(not_until)) => {
                    let retry_after = not_until.wait_time_from(clock.now());
                    Decision::Rejected { retry_after, shared: false }
                }
                Err(_) => Decision::NeverFits,
            };
            let ours = limiter.acquire(now, &key, Request { cost: cost.get(), deadline: None });
            assert_eq!(
                ours, expected,
                "seed {seed}, step {step}: {cost} for key {key} at {now:?}, {config:?}"
            );
        }
    }
}
