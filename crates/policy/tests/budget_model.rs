//! The budget against a naive one that works its store out anew from the whole history.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::{Budget, BudgetConfig, Time};

const BUCKETS: u64 = 10;
const TOKEN: u128 = 1_000_000;
/// Nanoseconds times millionths per token: fine enough that the model never rounds.
const FINE: u128 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait { millis: u64 },
    Success { times: u32 },
    Request { times: u32 },
    Retry,
    Hedge,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..400).prop_map(|millis| Step::Wait { millis }),
        3 => (1_u32..8).prop_map(|times| Step::Success { times }),
        3 => (1_u32..8).prop_map(|times| Step::Request { times }),
        6 => Just(Step::Retry),
        3 => Just(Step::Hedge),
        3 => Just(Step::Release),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Clone, Copy)]
enum Event {
    Success(u64),
    Request(u64),
    Charge {
        at: u64,
        hedge: bool,
    },
    /// A moment at which the store was read, and therefore cut to its ceiling.
    Read(u64),
}

struct Model {
    ratio: u128,
    floor: u128,
    hedge_ratio: u128,
    burst: u128,
    window: u64,
    history: Vec<Event>,
}

impl Model {
    fn in_window(&self, newest: u64, at: u64) -> bool {
        let width = self.window / BUCKETS;
        at <= newest && newest / width - at / width < BUCKETS
    }

    fn count(&self, upto: usize, now: u64, wanted: fn(&Event) -> Option<u64>) -> u128 {
        let moments = self.history[..upto].iter().filter_map(wanted);
        moments.filter(|at| self.in_window(now, *at)).count() as u128
    }

    /// The store and the hedges allowed at `now`: the history is replayed from its beginning, and after each
    /// event, not only when it is read, what exceeds the ceiling is cut off.
    fn replay(&self, now: u64) -> (u128, u128) {
        let (mut stored, mut hedges, mut last) = (self.burst * TOKEN * FINE, 0, 0);
        for (index, event) in self.history.iter().chain([&Event::Read(now)]).enumerate() {
            let (Event::Success(at) | Event::Request(at) | Event::Charge { at, .. } | Event::Read(at)) =
                *event;
            stored += u128::from(at - last) * self.floor;
            last = at;
            match event {
                Event::Success(_) => stored += self.ratio * FINE,
                Event::Request(_) => hedges += self.hedge_ratio,
                Event::Charge { .. } | Event::Read(_) => {}
            }
            let upto = (index + 1).min(self.history.len());
            let success = |event: &Event| if let Event::Success(at) = event { Some(*at) } else { None };
            let request = |event: &Event| if let Event::Request(at) = event { Some(*at) } else { None };
            stored = stored.min((self.burst * TOKEN + self.count(upto, at, success) * self.ratio) * FINE);
            hedges = hedges.min((self.count(upto, at, request) * self.hedge_ratio).max(TOKEN));
            if let Event::Charge { hedge, .. } = event {
                stored -= TOKEN * FINE;
                hedges -= if *hedge { TOKEN } else { 0 };
            }
        }
        (stored, hedges)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn behaves_like_the_naive_budget(
        ratio_permille in 0_u32..=1_000,
        floor_tenths in 0_u32..30,
        hedge_permille in 0_u32..=1_000,
        burst in 0_u32..5,
        max_concurrent in 1_u32..20,
        steps in steps(),
    ) {
        let config = BudgetConfig {
            retry_ratio: f64::from(ratio_permille) / 1_000.0,
            floor_per_second: f64::from(floor_tenths) / 10.0,
            burst,
            window: Duration::from_secs(2),
            hedge_ratio: f64::from(hedge_permille) / 1_000.0,
            max_concurrent,
        };
        prop_assert_eq!(config.validate(), Ok(()));
        let mut budget = Budget::new(config);
        let mut model = Model {
            ratio: u128::from(ratio_permille) * 1_000,
            floor: u128::from(floor_tenths) * 100_000,
            hedge_ratio: u128::from(hedge_permille) * 1_000,
            burst: u128::from(burst),
            window: 2_000_000_000,
            history: Vec::new(),
        };
        let (mut now, mut running) = (0_u64, 0_u32);
        for step in steps {
            let at = Time::from_nanos(now);
            match step {
                Step::Wait { millis } => now += millis * 1_000_000,
                Step::Success { times } => for _ in 0..times {
                    budget.on_success(at);
                    model.history.push(Event::Success(now));
                },
                Step::Request { times } => for _ in 0..times {
                    budget.on_request(at);
                    model.history.push(Event::Request(now));
                },
                Step::Retry | Step::Hedge => {
                    let hedge = matches!(step, Step::Hedge);
                    let (stored, hedges) = model.replay(now);
                    let expected = running < max_concurrent && stored >= TOKEN * FINE && (!hedge || hedges >= TOKEN);
                    let granted = if hedge { budget.try_hedge(at) } else { budget.try_retry(at) };
                    prop_assert_eq!(granted, expected, "at {} with {} stored", now, stored);
                    if granted {
                        running += 1;
                        model.history.push(Event::Charge { at: now, hedge });
                    }
                }
                Step::Release => if running > 0 {
                    budget.release();
                    running -= 1;
                },
            }
            budget.check_invariants();
            prop_assert_eq!(budget.concurrent(), running);
        }
        let expected = model.replay(now).0 as f64 / (TOKEN * FINE) as f64;
        // The store rounds down to a millionth of a token at its last reading, and the balance is a float.
        prop_assert!((budget.balance(Time::from_nanos(now)) - expected).abs() < 2e-6);
    }

    /// The bound that protects a backend: whatever happens, in whatever order.
    #[test]
    fn extra_traffic_never_exceeds_its_share(steps in steps()) {
        let config = BudgetConfig { max_concurrent: u32::MAX, ..BudgetConfig::default() };
        let mut budget = Budget::new(config);
        let (mut now, mut successes, mut requests, mut extra, mut hedges) = (0_u64, 0_u32, 0_u32, 0_u32, 0_u32);
        for step in steps {
            let at = Time::from_millis(now);
            match step {
                Step::Wait { millis } => now += millis,
                Step::Success { times } => for _ in 0..times {
                    budget.on_success(at);
                    successes += 1;
                },
                Step::Request { times } => for _ in 0..times {
                    budget.on_request(at);
                    requests += 1;
                },
                Step::Retry => extra += u32::from(budget.try_retry(at)),
                Step::Hedge | Step::Release => {
                    let granted = u32::from(budget.try_hedge(at));
                    extra += granted;
                    hedges += granted;
                }
            }
            let allowed = 10.0 + 0.1 * f64::from(successes) + now as f64 / 1_000.0;
            prop_assert!(f64::from(extra) <= allowed + 1e-6, "{} extra, {} allowed", extra, allowed);
            prop_assert!(f64::from(hedges) <= 0.02 * f64::from(requests) + 1e-6);
        }
    }
}
