//! One row per finding, and the stack that has none.

use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn total() -> Part {
    Part::TotalTimeout(15 * SECOND)
}

fn attempt() -> Part {
    Part::AttemptTimeout(5 * SECOND)
}

fn retry() -> Part {
    Part::Retry(RetryConfig::default())
}

fn hedge() -> Part {
    Part::Hedge(HedgeConfig::default())
}

fn breaker() -> Part {
    Part::CircuitBreaker(BreakerConfig::default())
}

fn limit(max_queue: u32) -> Part {
    let max_wait_duration = max_queue * Duration::from_millis(10);
    Part::ConcurrencyLimit(ConcurrencyConfig { max_wait_duration, max_queue, ..ConcurrencyConfig::default() })
}

fn check(parts: &[Part], expected: &[(&str, Severity)]) {
    let found: Vec<_> = examine(parts).iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(found, expected, "{parts:?}");
}

#[test]
fn the_usual_stack_is_good() {
    check(&[Part::Fallback, total(), retry(), hedge(), breaker(), limit(0), attempt()], &[]);
    check(&[total(), limit(8), breaker(), attempt()], &[]);
    check(&[], &[]);
}

#[test]
fn each_fault_is_found() {
    use Severity::{Error, Warning};
    let short = Part::AttemptTimeout(20 * SECOND);
    check(&[total(), breaker(), short], &[("SP01", Error), ("SP02", Warning)]);
    check(&[total(), attempt(), retry()], &[("TW02", Error)]);
    check(&[retry(), total(), attempt()], &[("SP11", Error)]);
    check(&[total(), breaker(), retry()], &[("SP05", Warning)]);
    check(&[total(), breaker(), hedge()], &[("SP06", Warning)]);
    check(&[total(), Part::Fallback, breaker()], &[("TW03", Warning)]);
    check(&[retry(), breaker()], &[("TW04", Warning)]);
    check(&[limit(8)], &[("SP09", Warning)]);
    check(&[total(), retry(), retry()], &[("SP10", Error)]);
    check(&[total(), breaker(), breaker()], &[("TW06", Error)]);
    let late = Part::Hedge(HedgeConfig { delay: HedgeDelay::Fixed(5 * SECOND) });
    check(&[total(), late, attempt()], &[("TW05", Warning)]);
    let tight = Part::TotalTimeout(12 * SECOND);
    check(&[tight, retry(), attempt()], &[("SP03", Warning)]);
}

/// Our breaker counts what a timeout of ours cuts off, unless that was too soon to mean anything.
#[test]
fn a_timeout_around_a_breaker_blinds_it_only_when_it_is_very_short() {
    check(&[total(), breaker()], &[]);
    let hasty = Part::TotalTimeout(Duration::from_millis(199));
    check(&[hasty, breaker()], &[("SP04", Severity::Error)]);
    check(&[hasty, breaker(), Part::AttemptTimeout(Duration::from_millis(100))], &[]);
}

#[test]
fn sentences_carry_the_numbers() {
    let findings = examine(&[retry()]);
    assert_eq!(findings[0].sentence, "3 attempts and their waits, and no total timeout that ends them");
}
