//! What is wrong with a stack, seen from its order and numbers alone.
//!
//! Errors are what cannot work as written; warnings are what works badly on the day it is needed.

use std::fmt;
use std::time::Duration;

use seaworthy_policy::{BreakerConfig, ConfigError};

use crate::concurrency::ConcurrencyConfig;
use crate::hedge::{HedgeConfig, HedgeDelay};
use crate::retry::RetryConfig;

/// One layer of a stack, as the builder was told.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Answers in place of failures.
    Fallback,
    /// Limits the whole call.
    TotalTimeout(Duration),
    /// Sends again.
    Retry(RetryConfig),
    /// Sends second copies.
    Hedge(HedgeConfig),
    /// Stops calling.
    CircuitBreaker(BreakerConfig),
    /// Limits calls under way.
    ConcurrencyLimit(ConcurrencyConfig),
    /// Limits each attempt.
    AttemptTimeout(Duration),
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

/// Whether a finding refuses the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but look at it.
    Warning,
}

impl Finding {
    pub(crate) fn invalid_value(part: &'static str, error: ConfigError) -> Self {
        let sentence = format!("{part}: {error}");
        Finding { code: "invalid-value", severity: Severity::Error, sentence }
    }

    fn error(code: &'static str, sentence: String) -> Self {
        Finding { code, severity: Severity::Error, sentence }
    }

    fn warning(code: &'static str, sentence: String) -> Self {
        Finding { code, severity: Severity::Warning, sentence }
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
    let stack = Stack { parts };
    let mut findings = Vec::new();
    stack.order(&mut findings);
    stack.time(&mut findings);
    stack.twice(&mut findings);
    findings
}

/// Whether a part is of some kind.
type Is = fn(&Part) -> bool;

struct Stack<'a> {
    parts: &'a [Part],
}

impl Stack<'_> {
    fn place(&self, is: Is) -> Option<usize> {
        self.parts.iter().position(is)
    }

    fn total(&self) -> Option<Duration> {
        self.parts
            .iter()
            .find_map(|part| if let Part::TotalTimeout(after) = part { Some(*after) } else { None })
    }

    fn attempt(&self) -> Option<Duration> {
        self.parts
            .iter()
            .find_map(|part| if let Part::AttemptTimeout(after) = part { Some(*after) } else { None })
    }

    fn order(&self, findings: &mut Vec<Finding>) {
        let total = self.place(|part| matches!(part, Part::TotalTimeout(_)));
        let attempt = self.place(|part| matches!(part, Part::AttemptTimeout(_)));
        let retry = self.place(|part| matches!(part, Part::Retry(_)));
        let hedge = self.place(|part| matches!(part, Part::Hedge(_)));
        let breaker = self.place(|part| matches!(part, Part::CircuitBreaker(_)));
        let fallback = self.place(|part| matches!(part, Part::Fallback));
        let outside = |outer: Option<usize>, inner: Option<usize>| matches!((outer, inner), (Some(o), Some(i)) if o < i);
        let rules = [
            (
                outside(attempt, retry),
                "attempt-timeout-outside-retry",
                "the attempt timeout lies outside the retry, so it limits all attempts together; put it inside",
            ),
            (
                outside(retry, total),
                "total-timeout-inside-retry",
                "the total timeout lies inside the retry, so every attempt gets all of it; put it outside",
            ),
        ];
        findings.extend(
            rules.into_iter().filter(|rule| rule.0).map(|rule| Finding::error(rule.1, rule.2.into())),
        );
        let rules = [
            (
                outside(attempt, breaker),
                "timeout-outside-breaker",
                "the attempt timeout lies outside the circuit breaker, so the breaker sees cancelled calls where it should see failures; put it inside",
            ),
            (
                outside(breaker, retry),
                "breaker-outside-retry",
                "the circuit breaker lies outside the retry, so it hears of one failure where there were several, and opens late; put it inside",
            ),
            (
                outside(breaker, hedge),
                "hedge-inside-breaker",
                "the hedge lies inside the circuit breaker, so the breaker never sees the slow copies; put it outside",
            ),
            (
                fallback.is_some_and(|place| place > 0),
                "fallback-not-outermost",
                "the fallback is not the outermost layer, so the layers around it take its answers for the backend's; put it first",
            ),
        ];
        findings.extend(
            rules.into_iter().filter(|rule| rule.0).map(|rule| Finding::warning(rule.1, rule.2.into())),
        );
    }

    fn time(&self, findings: &mut Vec<Finding>) {
        let (total, attempt) = (self.total(), self.attempt());
        if let (Some(total), Some(attempt)) = (total, attempt)
            && attempt >= total
        {
            findings.push(Finding::error("attempt-not-below-total", format!(
                "the attempt timeout of {attempt:?} is not below the total timeout of {total:?}, so it can never act"
            )));
        }
        for part in self.parts {
            match part {
                Part::Retry(retry) => self.retries_fit(retry, findings),
                Part::CircuitBreaker(breaker) => {
                    if let Some(attempt) = attempt
                        && breaker.sliding_window < 2 * attempt
                    {
                        let window = breaker.sliding_window;
                        findings.push(Finding::warning("window-too-short", format!(
                            "the breaker's window of {window:?} is shorter than two attempt timeouts of {attempt:?}, so an outage of timeouts hardly fills it"
                        )));
                    }
                }
                Part::ConcurrencyLimit(limit) if limit.max_queue > 0 && total.is_none() => {
                    findings.push(Finding::warning(
                        "wait-without-deadline",
                        format!(
                            "calls may wait {:?} for a place, and no total timeout counts that wait",
                            limit.max_wait_duration
                        ),
                    ));
                }
                Part::Hedge(HedgeConfig { delay: HedgeDelay::Fixed(delay) }) => {
                    if let Some(attempt) = attempt
                        && *delay >= attempt
                    {
                        findings.push(Finding::warning("hedge-never-runs", format!(
                            "the hedge's delay of {delay:?} is not below the attempt timeout of {attempt:?}, so it can never act"
                        )));
                    }
                }
                _ => {}
            }
        }
    }

    fn retries_fit(&self, retry: &RetryConfig, findings: &mut Vec<Finding>) {
        let Some(total) = self.total() else {
            findings.push(Finding::warning(
                "retry-without-deadline",
                format!(
                    "{} attempts and their waits, and no total timeout that ends them",
                    retry.max_attempts
                ),
            ));
            return;
        };
        let Some(attempt) = self.attempt() else { return };
        let fit = (total.as_nanos() / attempt.as_nanos().max(1)).min(u128::from(u32::MAX)) as u32;
        if fit < retry.max_attempts && attempt < total {
            findings.push(Finding::warning(
                "retries-never-run",
                format!(
                    "only {fit} of {} attempts of {attempt:?} fit into the total timeout of {total:?}",
                    retry.max_attempts
                ),
            ));
        }
    }

    fn twice(&self, findings: &mut Vec<Finding>) {
        let kinds: [(Is, &str); 3] = [
            (|part| matches!(part, Part::Retry(_)), "retry"),
            (|part| matches!(part, Part::Hedge(_)), "hedge"),
            (|part| matches!(part, Part::CircuitBreaker(_)), "circuit breaker"),
        ];
        for (is, name) in kinds {
            let times = self.parts.iter().filter(|part| is(part)).count();
            if times > 1 {
                let sentence =
                    format!("there are {times} layers of the kind `{name}`; their effects multiply");
                findings.push(Finding::error("nested-layers", sentence));
            }
        }
    }
}

#[cfg(test)]
mod tests;
