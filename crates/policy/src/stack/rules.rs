//! One function per rule. Each gets the layers from the outside in, and says what it is sure of.

use std::time::Duration;

use crate::BackoffConfig;
use crate::call::Safety;
use crate::stack::{Code, ExtraLimit, Finding, Layer, Resend, Severity};

type Rule = fn(&[Layer], Safety) -> Vec<Finding>;

/// Every rule, in the order of its code.
pub(super) const ALL: [Rule; 11] = [
    attempt_not_below_total,
    window_too_short,
    retries_never_run,
    timeout_outside_breaker,
    breaker_outside_retry,
    hedge_inside_breaker,
    no_budget,
    not_idempotent,
    wait_outside_deadline,
    nested_retries,
    total_inside_retry,
];

fn finding(code: Code, severity: Severity, layer: usize, sentence: String) -> Finding {
    Finding { code, severity, layer, sentence }
}

/// The layers that `pick` wants, with their places.
fn each<'a, T: 'a>(
    layers: &'a [Layer],
    pick: impl Fn(&Layer) -> Option<T> + 'a,
) -> impl Iterator<Item = (usize, T)> + 'a {
    layers.iter().enumerate().filter_map(move |(place, layer)| Some((place, pick(layer)?)))
}

fn total(layer: &Layer) -> Option<Duration> {
    if let Layer::TotalTimeout(limit) = layer { Some(*limit) } else { None }
}

fn attempt(layer: &Layer) -> Option<Duration> {
    if let Layer::AttemptTimeout(limit) = layer { Some(*limit) } else { None }
}

fn retry(layer: &Layer) -> Option<(u32, BackoffConfig)> {
    match layer {
        Layer::Retry { max_attempts, backoff, .. } if *max_attempts > 1 => Some((*max_attempts, *backoff)),
        _ => None,
    }
}

fn is_breaker(layer: &Layer) -> Option<()> {
    matches!(layer, Layer::Breaker { .. }).then_some(())
}

fn hedges(layer: &Layer) -> Option<u32> {
    match layer {
        Layer::Hedge { max_hedged_attempts, .. } if *max_hedged_attempts > 0 => Some(*max_hedged_attempts),
        _ => None,
    }
}

fn shortest(limits: impl Iterator<Item = (usize, Duration)>) -> Option<(usize, Duration)> {
    limits.min_by_key(|(_, limit)| *limit)
}

fn attempt_not_below_total(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let Some((_, whole)) = shortest(each(layers, total)) else { return vec![] };
    each(layers, attempt)
        .filter(|(_, one)| *one >= whole)
        .map(|(place, one)| {
            let severity = if one > whole { Severity::Error } else { Severity::Warning };
            let sentence = format!(
                "one attempt may take {one:?} and all together {whole:?}, so an attempt that hangs leaves no time for another; lower the attempt timeout"
            );
            finding(Code::AttemptNotBelowTotal, severity, place, sentence)
        })
        .collect()
}

fn window_too_short(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let Some((_, one)) = shortest(each(layers, attempt)) else { return vec![] };
    let window = |layer: &Layer| if let Layer::Breaker { window, .. } = layer { *window } else { None };
    each(layers, window)
        .filter(|(_, window)| *window < one.saturating_mul(2))
        .map(|(place, window)| {
            let least = one.saturating_mul(2);
            let sentence = format!(
                "the breaker looks back over {window:?}, and calls that hang end after {one:?}: by the next one the last is forgotten; look back over at least {least:?}"
            );
            finding(Code::WindowTooShort, Severity::Warning, place, sentence)
        })
        .collect()
}

fn retries_never_run(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, (attempts, backoff)) in each(layers, retry) {
        let outer = shortest(each(&layers[..place], total));
        let inner = shortest(each(&layers[place..], attempt));
        let (Some((_, whole)), Some((_, one))) = (outer, inner) else { continue };
        let (fitting, needed) = fitting_attempts(attempts, &backoff, one, whole);
        // None at all is another finding.
        if fitting < attempts && one < whole {
            let sentence = format!(
                "only {fitting} of {attempts} attempts fit when each takes its whole {one:?}: with the shortest waits the next would end after {needed:?} of {whole:?}; lower the attempt timeout or allow fewer attempts"
            );
            findings.push(finding(Code::RetriesNeverRun, Severity::Warning, place, sentence));
        }
    }
    findings
}

/// How many attempts fit into `whole`, and when the first one that does not would end.
fn fitting_attempts(
    attempts: u32,
    backoff: &BackoffConfig,
    one: Duration,
    whole: Duration,
) -> (u32, Duration) {
    let mut end = Duration::ZERO;
    for number in 0..attempts {
        let wait = if number == 0 { Duration::ZERO } else { backoff.least(number - 1) };
        end = end.saturating_add(wait).saturating_add(one);
        if end > whole {
            return (number, end);
        }
    }
    (attempts, end)
}

fn timeout_outside_breaker(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let mut findings = Vec::new();
    let slow_of = |layer: &Layer| match layer {
        Layer::Breaker { slow_call_duration, .. } => Some(*slow_call_duration),
        _ => None,
    };
    for (place, slow) in each(layers, slow_of) {
        let any = |layer: &Layer| total(layer).or(attempt(layer));
        let Some((outside, outer)) = shortest(each(&layers[..place], any)) else { continue };
        let inner = shortest(each(&layers[place..], any)).map(|(_, limit)| limit);
        let is_told = inner.is_some_and(|inner| inner < outer) || slow.is_some_and(|slow| slow <= outer);
        if !is_told {
            let sentence = format!(
                "the {} of {outer:?} drops what hangs before the breaker inside it hears of it, so an outage of hanging calls never opens the circuit; put a shorter timeout inside the breaker, or count calls as slow from at most {outer:?}",
                layers[outside].name()
            );
            findings.push(finding(Code::TimeoutOutsideBreaker, Severity::Error, place, sentence));
        }
    }
    findings
}

fn breaker_outside_retry(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, ()) in each(layers, is_breaker) {
        if let Some((_, (attempts, _))) = each(&layers[place..], retry).next() {
            let sentence = format!(
                "the breaker around the retry hears one outcome of up to {attempts} attempts: it opens up to {attempts} times as late, and retries go on against a backend that is down; put it inside"
            );
            findings.push(finding(Code::BreakerOutsideRetry, Severity::Warning, place, sentence));
        }
    }
    findings
}

fn hedge_inside_breaker(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, ()) in each(layers, is_breaker) {
        if let Some((_, hedges)) = each(&layers[place..], hedges).next() {
            let attempts = hedges + 1;
            let sentence = format!(
                "the breaker around the hedge hears the best of up to {attempts} attempts: an endpoint that hangs is never seen, and one permit sends {attempts} requests; put the breaker inside"
            );
            findings.push(finding(Code::HedgeInsideBreaker, Severity::Warning, place, sentence));
        }
    }
    findings
}

fn no_budget(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let unlimited = |layer: &Layer| match layer {
        Layer::Retry { max_attempts, limit: ExtraLimit::Nothing, .. } if *max_attempts > 1 => {
            Some(*max_attempts)
        }
        Layer::Hedge { max_hedged_attempts, limit: ExtraLimit::Nothing } if *max_hedged_attempts > 0 => {
            Some(*max_hedged_attempts + 1)
        }
        _ => None,
    };
    each(layers, unlimited)
        .map(|(place, times)| {
            let sentence = format!(
                "without a budget the {} sends up to {times} times the load exactly when the backend can bear least, and may keep it down after the cause is gone; give it a budget refilled by successes",
                layers[place].name()
            );
            finding(Code::NoBudget, Severity::Error, place, sentence)
        })
        .collect()
}

fn not_idempotent(layers: &[Layer], safety: Safety) -> Vec<Finding> {
    if safety != Safety::Unsafe {
        return vec![];
    }
    let repeats = |layer: &Layer| match layer {
        Layer::Retry { max_attempts, resend: Resend::AfterAnyFailure, .. } if *max_attempts > 1 => {
            Some(*max_attempts)
        }
        _ => hedges(layer).map(|hedges| hedges + 1),
    };
    each(layers, repeats)
        .map(|(place, times)| {
            let sentence = format!(
                "the {} may have work executed up to {times} times that must be executed once; send it again only with proof that it was not executed, or give it an idempotency key that the backend honours",
                layers[place].name()
            );
            finding(Code::NotIdempotent, Severity::Error, place, sentence)
        })
        .collect()
}

fn wait_outside_deadline(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let wait = |layer: &Layer| match layer {
        Layer::Bulkhead { max_wait } | Layer::RateLimit { max_wait } if !max_wait.is_zero() => {
            Some(*max_wait)
        }
        _ => None,
    };
    let mut findings = Vec::new();
    for (place, wait) in each(layers, wait) {
        if each(&layers[..place], total).next().is_some() {
            continue;
        }
        let name = layers[place].name();
        let sentence = match shortest(each(&layers[place..], total)) {
            Some((_, whole)) => format!(
                "callers wait up to {wait:?} at the {name} before the total timeout of {whole:?} begins, {:?} in all; put the {name} inside it",
                wait.saturating_add(whole)
            ),
            None => format!(
                "callers wait up to {wait:?} at the {name}, and no total timeout limits that and what follows; put one around it"
            ),
        };
        findings.push(finding(Code::WaitOutsideDeadline, Severity::Warning, place, sentence));
    }
    findings
}

fn nested_retries(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let retries: Vec<(usize, u32)> =
        each(layers, retry).map(|(place, (attempts, _))| (place, attempts)).collect();
    let [_, .., (innermost, _)] = retries[..] else { return vec![] };
    let times = retries.iter().fold(1_u64, |times, (_, attempts)| times.saturating_mul(u64::from(*attempts)));
    let factors: Vec<String> = retries.iter().map(|(_, attempts)| attempts.to_string()).collect();
    let sentence = format!(
        "{} retries inside each other make {} = {times} attempts of one call; retry in one layer only",
        retries.len(),
        factors.join(" x ")
    );
    vec![finding(Code::NestedRetries, Severity::Error, innermost, sentence)]
}

fn total_inside_retry(layers: &[Layer], _: Safety) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, whole) in each(layers, total) {
        let outside = each(&layers[..place], retry).next();
        let limited = each(&layers[..place], total).next().is_some();
        if let Some((_, (attempts, _))) = outside.filter(|_| !limited) {
            let sentence = format!(
                "the total timeout of {whole:?} inside the retry begins anew with each of {attempts} attempts, {:?} and the waits in all; put it around the retry",
                whole.saturating_mul(attempts)
            );
            findings.push(finding(Code::TotalInsideRetry, Severity::Error, place, sentence));
        }
    }
    findings
}
