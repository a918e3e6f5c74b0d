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
    Part::ConcurrencyLimit(ConcurrencyConfig { max_queue, ..ConcurrencyConfig::default() })
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
    check(&[total(), breaker(), short], &[("attempt-not-below-total", Error), ("window-too-short", Warning)]);
    check(&[total(), attempt(), retry()], &[("attempt-timeout-outside-retry", Error)]);
    check(&[retry(), total(), attempt()], &[("total-timeout-inside-retry", Error)]);
    check(&[total(), attempt(), breaker()], &[("timeout-outside-breaker", Warning)]);
    check(&[total(), breaker(), retry()], &[("breaker-outside-retry", Warning)]);
    check(&[total(), breaker(), hedge()], &[("hedge-inside-breaker", Warning)]);
    check(&[total(), Part::Fallback, breaker()], &[("fallback-not-outermost", Warning)]);
    check(&[retry(), breaker()], &[("retry-without-deadline", Warning)]);
    check(&[limit(8)], &[("wait-without-deadline", Warning)]);
    check(&[total(), retry(), retry()], &[("nested-layers", Error)]);
    let late = Part::Hedge(HedgeConfig { delay: HedgeDelay::Fixed(5 * SECOND) });
    check(&[total(), late, attempt()], &[("hedge-never-runs", Warning)]);
    let tight = Part::TotalTimeout(12 * SECOND);
    check(&[tight, retry(), attempt()], &[("retries-never-run", Warning)]);
}

#[test]
fn sentences_carry_the_numbers() {
    let findings = examine(&[Part::TotalTimeout(12 * SECOND), retry(), attempt()]);
    assert_eq!(findings[0].sentence, "only 2 of 3 attempts of 5s fit into the total timeout of 12s");
}
