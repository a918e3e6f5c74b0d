//! What is wrong with a stack, seen from its order and numbers alone.
//!
//! Most rules are [`seaworthy_policy::stack`]'s, which know nothing of Tower (`SP01` to `SP11`). Those of the builder
//! itself (`TW01` to `TW06`) stand here. Errors are what cannot work as written; warnings are what works badly on the day
//! it is needed.

use std::fmt;
use std::time::Duration;

use seaworthy_policy::breaker::WindowType;
use seaworthy_policy::call::Safety;
use seaworthy_policy::stack::{ExtraLimit, Layer, Resend, Severity, Stack};
use seaworthy_policy::{AdmissionConfig, BreakerConfig, ConfigError};

use crate::concurrency::ConcurrencyConfig;
use crate::hedge::{HedgeConfig, HedgeDelay};
use crate::outcome::FAIR_CHANCE;
use crate::retry::RetryConfig;

/// One layer of a stack, as the builder was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Fallback,
    TotalTimeout(Duration),
    Retry(RetryConfig),
    Hedge(HedgeConfig),
    CircuitBreaker(BreakerConfig),
    ConcurrencyLimit(ConcurrencyConfig),
    Admission(AdmissionConfig),
    AttemptTimeout(Duration),
    Throttle,
    /// A layer that the builder knows nothing about.
    Other,
}

/// Something wrong with a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name; stays the same from version to version.
    pub code: &'static str,
    /// Whether the stack is refused.
    pub severity: Severity,
    /// What is wrong, with the numbers.
    pub sentence: String,
}

impl Finding {
    pub(crate) fn invalid_value(part: &'static str, error: ConfigError) -> Self {
        let sentence = format!("{part}: {error}");
        Finding { code: "TW01", severity: Severity::Error, sentence }
    }

    fn new(code: &'static str, severity: Severity, sentence: impl Into<String>) -> Self {
        Finding { code, severity, sentence: sentence.into() }
    }
}

/// A stack that cannot work, with everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidStack {
    /// At least one of them is an error.
    pub findings: Vec<Finding>,
}

impl fmt::Display for InvalidStack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this stack cannot work")?;
        for finding in &self.findings {
            write!(formatter, "; {} ({})", finding.sentence, finding.code)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidStack {}

/// Everything that is wrong with these layers, outermost first.
pub(crate) fn examine(parts: &[Part]) -> Vec<Finding> {
    let layers = parts.iter().filter_map(layer_of).collect();
    // A request that must not be executed twice is sent again only with proof, whatever its layer was told.
    let general = Stack { layers, safety: Safety::Safe }.findings().into_iter();
    let general = general.map(|found| Finding::new(found.code.as_str(), found.severity, found.sentence));
    let rules = [attempt_outside_retry, fallback_inside, retry_without_deadline, hedge_never_runs, twice];
    general.chain(rules.iter().filter_map(|rule| rule(parts))).collect()
}

/// The layer as the general rules know it; `None` for what they do not.
fn layer_of(part: &Part) -> Option<Layer> {
    match *part {
        Part::Fallback | Part::Throttle | Part::Other => None,
        Part::TotalTimeout(after) => Some(Layer::TotalTimeout(after)),
        Part::AttemptTimeout(after) => Some(Layer::AttemptTimeout(after)),
        Part::ConcurrencyLimit(limit) => Some(Layer::Bulkhead { max_wait: limit.max_wait_duration }),
        Part::Admission(config) => {
            let waits = config.max_queue > 0;
            Some(Layer::Bulkhead { max_wait: if waits { config.max_wait_duration } else { Duration::ZERO } })
        }
        Part::Retry(RetryConfig { max_attempts, backoff, .. }) => {
            let (limit, resend) = (ExtraLimit::Budget, Resend::AfterAnyFailure);
            Some(Layer::Retry { max_attempts, backoff, limit, resend })
        }
        Part::Hedge(_) => Some(Layer::Hedge { max_hedged_attempts: 1, limit: ExtraLimit::Budget }),
        Part::CircuitBreaker(config) => {
            let by_time = config.sliding_window_type == WindowType::TimeBased;
            // What a timeout of ours cuts off counts as a failure from here on, so that is when our breaker is told.
            let told = config.slow_call_duration.map_or(FAIR_CHANCE, |slow| slow.min(FAIR_CHANCE));
            let window = by_time.then_some(config.sliding_window);
            Some(Layer::Breaker { window, slow_call_duration: Some(told) })
        }
    }
}

/// Whether a part is of some kind.
type Is = fn(&Part) -> bool;

fn place(parts: &[Part], is: Is) -> Option<usize> {
    parts.iter().position(is)
}

fn attempt_timeout(parts: &[Part]) -> Option<Duration> {
    parts.iter().find_map(|part| if let Part::AttemptTimeout(after) = part { Some(*after) } else { None })
}

fn attempt_outside_retry(parts: &[Part]) -> Option<Finding> {
    let attempt = place(parts, |part| matches!(part, Part::AttemptTimeout(_)))?;
    let retry = place(parts, |part| matches!(part, Part::Retry(_)))?;
    let sentence =
        "the attempt timeout lies outside the retry, so it limits all attempts together; put it inside";
    (attempt < retry).then(|| Finding::new("TW02", Severity::Error, sentence))
}

fn fallback_inside(parts: &[Part]) -> Option<Finding> {
    let fallback = place(parts, |part| matches!(part, Part::Fallback))?;
    let sentence = "the fallback is not the outermost layer, so the layers around it take its answers for the backend's; put it first";
    (fallback > 0).then(|| Finding::new("TW03", Severity::Warning, sentence))
}

fn retry_without_deadline(parts: &[Part]) -> Option<Finding> {
    let attempts = parts.iter().find_map(|part| match part {
        Part::Retry(retry) if retry.max_attempts > 1 => Some(retry.max_attempts),
        _ => None,
    })?;
    let total = place(parts, |part| matches!(part, Part::TotalTimeout(_)));
    let sentence = format!("{attempts} attempts and their waits, and no total timeout that ends them");
    total.is_none().then(|| Finding::new("TW04", Severity::Warning, sentence))
}

fn hedge_never_runs(parts: &[Part]) -> Option<Finding> {
    let attempt = attempt_timeout(parts)?;
    let delay = parts.iter().find_map(|part| match part {
        Part::Hedge(HedgeConfig { delay: HedgeDelay::Fixed(delay) }) => Some(*delay),
        _ => None,
    })?;
    let sentence = format!(
        "the hedge's delay of {delay:?} is not below the attempt timeout of {attempt:?}, so it can never act"
    );
    (delay >= attempt).then(|| Finding::new("TW05", Severity::Warning, sentence))
}

fn twice(parts: &[Part]) -> Option<Finding> {
    let kinds: [(Is, &str); 2] = [
        (|part| matches!(part, Part::Hedge(_)), "hedges"),
        (|part| matches!(part, Part::CircuitBreaker(_)), "circuit breakers"),
    ];
    let (_, name) = kinds.iter().find(|(is, _)| parts.iter().filter(|part| is(part)).count() > 1)?;
    let sentence = format!("there are several {name} inside each other, and their effects multiply");
    Some(Finding::new("TW06", Severity::Error, sentence))
}

#[cfg(test)]
mod tests;
