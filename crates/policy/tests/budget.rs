//! The budget: tables, and each accounting defect that other budgets have had.

use std::time::Duration;

use seaworthy_policy::{Budget, BudgetConfig, Time};

/// A budget of successes alone: no burst, no floor.
fn bare(retry_ratio: f64) -> BudgetConfig {
    let defaults = BudgetConfig::default();
    BudgetConfig { retry_ratio, floor_per_second: 0.0, burst: 0, max_concurrent: u32::MAX, ..defaults }
}

fn retries(budget: &mut Budget, now: Time) -> usize {
    std::iter::repeat_with(|| budget.try_retry(now)).take(100_000).take_while(|granted| *granted).count()
}

#[test]
fn tower_tps_budget_truncates_fractions_and_this_one_does_not() {
    for (ratio, expected) in
        [(0.1, 100), (0.3, 300), (0.4, 400), (0.6, 600), (0.9, 900), (1.0, 1000), (0.0, 0)]
    {
        let mut budget = Budget::new(bare(ratio));
        for number in 0..1_000 {
            budget.on_success(Time::from_millis(number));
        }
        assert_eq!(retries(&mut budget, Time::from_millis(1_000)), expected, "ratio {ratio}");
    }
}

#[test]
fn tower_tps_budget_truncates_when_retries_are_mixed_in_and_this_one_does_not() {
    for (ratio, expected) in [(0.3, 300), (0.4, 400), (0.6, 600), (0.9, 900)] {
        let mut budget = Budget::new(bare(ratio));
        let mut granted = 0;
        for number in 0..1_000 {
            budget.on_success(Time::from_millis(number));
            granted += retries(&mut budget, Time::from_millis(number));
        }
        assert_eq!(granted, expected, "ratio {ratio}");
    }
}

#[test]
fn envoy_30205_retries_in_backoff_are_charged_when_decided() {
    // A thousand calls fail in the same millisecond; each decides to retry after a backoff. None of those
    // retries has begun, and still only what the budget holds may be decided.
    let mut budget = Budget::new(BudgetConfig::default());
    let decided = (0..1_000).filter(|_| budget.try_retry(Time::from_millis(5))).count();
    assert_eq!(decided, 10, "the burst, and nothing more");

    let mut busy = Budget::new(BudgetConfig { max_concurrent: 4, ..BudgetConfig::default() });
    assert_eq!(retries(&mut busy, Time::from_millis(5)), 4, "four may wait or run at a time");
    busy.release();
    assert_eq!(retries(&mut busy, Time::from_millis(5)), 1, "one has ended, so one more may begin");
}

#[test]
fn the_store_holds_no_more_than_the_window_brought() {
    let mut budget = Budget::new(BudgetConfig { max_concurrent: u32::MAX, ..BudgetConfig::default() });
    for second in 0..100 {
        for _ in 0..600 {
            budget.on_success(Time::from_millis(second * 1_000));
        }
    }
    let now = Time::from_millis(99_000);
    assert!((budget.balance(now) - 610.0).abs() < 1e-9, "{}", budget.balance(now));
    assert_eq!(retries(&mut budget, now), 610);
    assert_eq!(retries(&mut budget, Time::from_millis(100_000)), 1, "the floor");
}

#[test]
fn an_hour_of_good_weather_is_forgotten_in_one_window() {
    let mut budget = Budget::new(BudgetConfig { max_concurrent: u32::MAX, ..BudgetConfig::default() });
    for number in 0..100_000 {
        budget.on_success(Time::from_millis(number));
    }
    assert_eq!(retries(&mut budget, Time::from_millis(120_000)), 10, "only the burst is left");
}

#[test]
fn the_floor_keeps_its_fractions() {
    let config = BudgetConfig { floor_per_second: 0.3, burst: 2, ..BudgetConfig::default() };
    let mut budget = Budget::new(config);
    assert_eq!(retries(&mut budget, Time::ZERO), 2);
    // Looking a thousand times a second must not lose what is earned between two looks.
    let granted: Vec<u64> = (0..=20_000).filter(|now| budget.try_retry(Time::from_millis(*now))).collect();
    assert_eq!(granted, [3_334, 6_667, 10_000, 13_334, 16_667, 20_000]);
}

#[test]
fn looking_often_does_not_lose_what_is_earned_in_between() {
    let config = BudgetConfig { floor_per_second: 0.3, burst: 2, ..BudgetConfig::default() };
    let mut budget = Budget::new(config);
    assert_eq!(retries(&mut budget, Time::ZERO), 2);
    // Each microsecond earns 0.3 millionths of a token, which is less than the store can hold.
    for micros in 1..=100_000 {
        assert!(!budget.try_retry(Time::from_nanos(micros * 1_000)));
    }
    let balance = budget.balance(Time::from_millis(100));
    assert!((balance - 0.03).abs() < 1e-9, "{balance}");
}

#[test]
fn a_hedge_passes_both_its_share_and_the_common_store() {
    let mut no_requests = Budget::new(BudgetConfig::default());
    assert!(!no_requests.try_hedge(Time::ZERO), "tokens in store, but no share of requests");

    let mut no_tokens =
        Budget::new(BudgetConfig { burst: 0, floor_per_second: 0.0, ..BudgetConfig::default() });
    (0..100).for_each(|_| no_tokens.on_request(Time::ZERO));
    assert!(!no_tokens.try_hedge(Time::ZERO), "a share of requests, but no tokens in store");

    let mut both = Budget::new(BudgetConfig::default());
    (0..200).for_each(|_| both.on_request(Time::ZERO));
    assert_eq!((0..10).filter(|_| both.try_hedge(Time::ZERO)).count(), 4, "two per hundred requests");
    assert!((both.balance(Time::ZERO) - 6.0).abs() < 1e-9, "and each was charged to the common store");
}

#[test]
fn ordinary_slowness_lives_off_the_upper_quarter_of_the_hedges() {
    let mut budget = Budget::new(BudgetConfig::default());
    assert!(!budget.has_spare_hedges(Time::ZERO), "nobody has asked, so nothing is spare");
    (0..200).for_each(|_| budget.on_request(Time::ZERO));
    assert!(budget.has_spare_hedges(Time::ZERO), "four of four");
    assert!(budget.try_hedge(Time::ZERO));
    assert!(!budget.has_spare_hedges(Time::ZERO), "three of four are the reserve");
    assert!(budget.try_hedge(Time::ZERO), "which can still be spent");
    assert!(!budget.has_spare_hedges(Time::ZERO));
    (0..75).for_each(|_| budget.on_request(Time::ZERO));
    assert!(!budget.has_spare_hedges(Time::ZERO), "3.5 of 5.5");
    (0..200).for_each(|_| budget.on_request(Time::ZERO));
    assert!(budget.has_spare_hedges(Time::ZERO), "7.5 of 9.5 is more than three quarters");
}

#[test]
fn a_quiet_edge_may_hedge_once_per_fifty_requests() {
    let mut budget = Budget::new(BudgetConfig::default());
    let mut hedges = 0;
    for number in 0..500 {
        let now = Time::from_millis(number * 2_000);
        budget.on_request(now);
        hedges += u32::from(budget.try_hedge(now));
    }
    assert_eq!(hedges, 10);
}

#[test]
fn backwards_clock() {
    let mut budget = Budget::new(BudgetConfig { burst: 1, ..BudgetConfig::default() });
    assert!(budget.try_retry(Time::from_millis(60_000)));
    assert!(!budget.try_retry(Time::ZERO));
    assert!(!budget.try_retry(Time::from_millis(60_999)), "going back and forth earns nothing");
    assert!(budget.try_retry(Time::from_millis(61_000)));
    budget.check_invariants();
}

#[test]
fn a_reset_keeps_count_of_what_runs() {
    let mut budget = Budget::new(BudgetConfig { max_concurrent: 2, ..BudgetConfig::default() });
    assert_eq!(retries(&mut budget, Time::ZERO), 2);
    budget.reset(Time::ZERO);
    assert!((budget.balance(Time::ZERO) - 10.0).abs() < 1e-9);
    assert!(!budget.try_retry(Time::ZERO), "two are still running");
    budget.release();
    assert!(budget.try_retry(Time::ZERO));
}

#[test]
fn a_reset_does_not_turn_the_clock_back() {
    let mut budget = Budget::new(BudgetConfig { max_concurrent: u32::MAX, ..BudgetConfig::default() });
    budget.reset(Time::from_millis(60_000));
    assert_eq!(retries(&mut budget, Time::ZERO), 10, "the burst");
    assert_eq!(
        retries(&mut budget, Time::from_millis(60_000)),
        0,
        "the minute before the reset earns nothing"
    );
}

#[test]
fn the_concurrency_cap_fits_the_timeout() {
    for (service_ms, timeout_ms, expected) in
        [(50, 5_000, 99), (49, 5_000, 102), (9_000, 5_000, 1), (1, 0, 1)]
    {
        let (service, timeout) = (Duration::from_millis(service_ms), Duration::from_millis(timeout_ms));
        assert_eq!(BudgetConfig::concurrency_cap(service, timeout), expected);
    }
}

#[test]
fn validation_names_the_field() {
    let good = BudgetConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for (config, field) in [
        (BudgetConfig { retry_ratio: 1.1, ..good }, "retry_ratio"),
        (BudgetConfig { floor_per_second: -1.0, ..good }, "floor_per_second"),
        (BudgetConfig { window: Duration::ZERO, ..good }, "window"),
        (BudgetConfig { hedge_ratio: f64::NAN, ..good }, "hedge_ratio"),
        (BudgetConfig { max_concurrent: 0, ..good }, "max_concurrent"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
