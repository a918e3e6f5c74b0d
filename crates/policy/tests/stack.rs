//! Stacks of policies: a good one, and one for each way in which good layers make a bad stack.

use std::time::Duration;

use seaworthy_policy::call::{CallConfig, Safety};
use seaworthy_policy::stack::{Code, ExtraLimit, Finding, LAYERS_MAX, Resend, Severity};
use seaworthy_policy::{BackoffConfig, BreakerConfig, Jitter, Layer, Stack};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn total(millis: u64) -> Layer {
    Layer::TotalTimeout(ms(millis))
}

fn attempt(millis: u64) -> Layer {
    Layer::AttemptTimeout(ms(millis))
}

fn bulkhead(millis: u64) -> Layer {
    Layer::Bulkhead { max_wait: ms(millis) }
}

fn retry(max_attempts: u32) -> Layer {
    let (limit, resend) = (ExtraLimit::Budget, Resend::AfterAnyFailure);
    Layer::Retry { max_attempts, backoff: BackoffConfig::default(), limit, resend }
}

fn waiting_retry(max_attempts: u32, wait_ms: u64) -> Layer {
    let backoff = BackoffConfig {
        initial: ms(wait_ms),
        max: ms(wait_ms),
        jitter: Jitter::None,
        ..BackoffConfig::default()
    };
    Layer::Retry { max_attempts, backoff, limit: ExtraLimit::Budget, resend: Resend::AfterAnyFailure }
}

fn hedge(max_hedged_attempts: u32) -> Layer {
    Layer::Hedge { max_hedged_attempts, limit: ExtraLimit::Budget }
}

fn breaker() -> Layer {
    Layer::Breaker { window: Some(ms(10_000)), slow_call_duration: None }
}

fn findings(layers: &[Layer], safety: Safety) -> Vec<Finding> {
    Stack { layers: layers.to_vec(), safety }.findings()
}

fn codes(layers: &[Layer]) -> Vec<&'static str> {
    findings(layers, Safety::Safe).iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn the_order_that_pleases_every_rule() {
    let good = [total(2_000), bulkhead(500), retry(3), hedge(1), breaker(), attempt(600)];
    assert_eq!(codes(&good), [""; 0]);
    assert_eq!(codes(&[]), [""; 0], "no layers, no contradiction");
}

#[test]
fn every_single_layer_is_good() {
    for layer in [total(1), attempt(1), bulkhead(0), retry(3), hedge(1), breaker()] {
        assert_eq!(codes(&[layer]), [""; 0], "{layer:?}");
    }
}

#[test]
fn each_bad_stack_has_its_finding() {
    let unlimited = ExtraLimit::Nothing;
    let backoff = BackoffConfig::default();
    let resend = Resend::AfterAnyFailure;
    let no_budget = Layer::Retry { max_attempts: 4, backoff, limit: unlimited, resend };
    let hedge_no_budget = Layer::Hedge { max_hedged_attempts: 2, limit: unlimited };
    let short = Layer::Breaker { window: Some(ms(1_000)), slow_call_duration: None };
    let by_count = Layer::Breaker { window: None, slow_call_duration: None };
    let slow = |millis| Layer::Breaker { window: Some(ms(10_000)), slow_call_duration: Some(ms(millis)) };
    let limiter = Layer::RateLimit { max_wait: ms(5_000) };
    for (layers, expected) in [
        (vec![total(1_000), attempt(999)], vec![]),
        (vec![total(1_000), attempt(1_000)], vec!["SP01"]),
        (vec![total(1_000), retry(3), attempt(1_001)], vec!["SP01"]),
        (vec![short, attempt(500)], vec![]),
        (vec![short, attempt(501)], vec!["SP02"]),
        (vec![by_count, attempt(501)], vec![]),
        (vec![total(1_500), retry(3), attempt(500)], vec![]),
        (vec![total(1_499), retry(3), attempt(500)], vec!["SP03"]),
        (vec![total(1_600), waiting_retry(3, 50), attempt(500)], vec![]),
        (vec![total(1_599), waiting_retry(3, 50), attempt(500)], vec!["SP03"]),
        (vec![total(1_000), retry(1), attempt(999)], vec![]),
        (vec![total(1_000), breaker()], vec!["SP04"]),
        (vec![attempt(1_000), breaker()], vec!["SP04"]),
        (vec![total(1_000), breaker(), attempt(500)], vec![]),
        (vec![attempt(400), breaker(), attempt(500)], vec!["SP04"]),
        (vec![total(1_000), slow(1_000)], vec![]),
        (vec![total(1_000), slow(1_001)], vec!["SP04"]),
        (vec![breaker(), retry(3)], vec!["SP05"]),
        (vec![breaker(), retry(1)], vec![]),
        (vec![breaker(), hedge(1)], vec!["SP06"]),
        (vec![breaker(), hedge(0)], vec![]),
        (vec![no_budget], vec!["SP07"]),
        (vec![no_budget, hedge_no_budget], vec!["SP07", "SP07"]),
        (vec![bulkhead(1), total(1_000)], vec!["SP09"]),
        (vec![bulkhead(0), total(1_000)], vec![]),
        (vec![total(1_000), bulkhead(1)], vec![]),
        (vec![limiter], vec!["SP09"]),
        (vec![retry(3), retry(4)], vec!["SP10"]),
        (vec![retry(3), retry(1)], vec![]),
        (vec![retry(3), total(1_000)], vec!["SP11"]),
        (vec![total(9_000), retry(3), total(1_000)], vec![]),
    ] {
        // A bulkhead or limiter alone waits outside of any deadline; that is what SP09 says of `limiter`.
        assert_eq!(codes(&layers), expected, "{layers:?}");
    }
}

#[test]
fn work_that_must_not_be_executed_twice() {
    let proven = Layer::Retry {
        max_attempts: 3,
        backoff: BackoffConfig::default(),
        limit: ExtraLimit::Budget,
        resend: Resend::OnlyWithProof,
    };
    for (layers, safety, expected) in [
        (vec![retry(3)], Safety::Unsafe, vec![Code::NotIdempotent]),
        (vec![retry(3), hedge(1)], Safety::Unsafe, vec![Code::NotIdempotent, Code::NotIdempotent]),
        (vec![proven], Safety::Unsafe, vec![]),
        (vec![retry(1)], Safety::Unsafe, vec![]),
        (vec![retry(3), hedge(1)], Safety::Keyed, vec![]),
        (vec![retry(3), hedge(1)], Safety::Safe, vec![]),
    ] {
        let found: Vec<Code> = findings(&layers, safety).iter().map(|finding| finding.code).collect();
        assert_eq!(found, expected, "{layers:?} {safety:?}");
    }
}

#[test]
fn findings_say_what_will_happen_in_numbers() {
    for (layers, safety, layer, severity, sentence) in [
        (
            vec![total(2_000), retry(3), attempt(2_500)],
            Safety::Safe,
            2,
            Severity::Error,
            "SP01: one attempt may take 2.5s and all together 2s, so an attempt that hangs leaves no time for another; lower the attempt timeout",
        ),
        (
            vec![total(2_000), waiting_retry(3, 50), attempt(700)],
            Safety::Safe,
            1,
            Severity::Warning,
            "SP03: only 2 of 3 attempts fit when each takes its whole 700ms: with the shortest waits the next would end after 2.2s of 2s; lower the attempt timeout or allow fewer attempts",
        ),
        (
            vec![retry(3), retry(4), retry(2)],
            Safety::Safe,
            2,
            Severity::Error,
            "SP10: 3 retries inside each other make 3 x 4 x 2 = 24 attempts of one call; retry in one layer only",
        ),
        (
            vec![bulkhead(500), total(2_000)],
            Safety::Safe,
            0,
            Severity::Warning,
            "SP09: callers wait up to 500ms at the bulkhead before the total timeout of 2s begins, 2.5s in all; put the bulkhead inside it",
        ),
        (
            vec![retry(3)],
            Safety::Unsafe,
            0,
            Severity::Error,
            "SP08: the retry may have work executed up to 3 times that must be executed once; send it again only with proof that it was not executed, or give it an idempotency key that the backend honours",
        ),
    ] {
        let found = findings(&layers, safety);
        let [finding] = &found[..] else { panic!("one finding: {found:?}") };
        assert_eq!((finding.layer, finding.severity), (layer, severity));
        assert_eq!(finding.to_string(), sentence);
    }
}

#[test]
fn a_thoroughly_bad_stack_is_told_everything_at_once() {
    let blind = Layer::Breaker { window: Some(ms(100)), slow_call_duration: None };
    let unlimited = Layer::Retry {
        max_attempts: 3,
        backoff: BackoffConfig::default(),
        limit: ExtraLimit::Nothing,
        resend: Resend::AfterAnyFailure,
    };
    let layers = [bulkhead(100), attempt(900), blind, unlimited, retry(2), hedge(1), total(500)];
    let found: Vec<&str> =
        findings(&layers, Safety::Unsafe).iter().map(|finding| finding.code.as_str()).collect();
    // SP04 is not among them: the total timeout inside the breaker is shorter than the attempt timeout around it.
    assert_eq!(
        found,
        ["SP01", "SP02", "SP05", "SP06", "SP07", "SP08", "SP08", "SP08", "SP09", "SP10", "SP11"]
    );
}

#[test]
fn our_own_calls_are_good_stacks() {
    for safety in [Safety::Safe, Safety::Keyed, Safety::Unsafe] {
        let stack = Stack::of_call(&CallConfig::default(), Some(&BreakerConfig::default()), safety);
        assert_eq!(stack.findings(), [], "{safety:?}: {stack:?}");
    }
    let config = CallConfig { attempt_timeout: ms(6_000), ..CallConfig::default() };
    let codes: Vec<Code> = Stack::of_call(&config, Some(&BreakerConfig::default()), Safety::Safe)
        .findings()
        .iter()
        .map(|finding| finding.code)
        .collect();
    assert_eq!(codes, [Code::WindowTooShort, Code::RetriesNeverRun]);
}

#[test]
fn a_stack_is_looked_at_up_to_its_bound() {
    let layers = vec![retry(2); 10_000];
    let found = findings(&layers, Safety::Safe);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].layer, LAYERS_MAX - 1);
}
