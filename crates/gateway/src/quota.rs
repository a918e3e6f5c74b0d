//! How a rate limit is told: the fields of draft-ietf-httpapi-ratelimit-headers-10.
//!
//! `RateLimit-Policy: "buy-ticket";q=100;w=1` says what there is, `RateLimit: "buy-ticket";r=12;t=1` how much of it is
//! left and in how many seconds it is whole again (after a refusal: in how many there is room for one). Both are
//! lists: several limits, or one of ours beside the service's own, stand side by side.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use seaworthy_policy::RateLimitConfig;
use seaworthy_policy::entrance::Quote;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The fields that an answer gets.
#[derive(Default)]
pub(crate) struct QuotaFields(Vec<(HeaderName, HeaderValue)>);

impl QuotaFields {
    /// One more limit.
    pub(crate) fn add(&mut self, policy: Option<&HeaderValue>, state: Option<HeaderValue>) {
        self.0.extend(policy.map(|policy| (RATE_LIMIT_POLICY, policy.clone())));
        self.0.extend(state.map(|state| (RATE_LIMIT, state)));
    }

    /// Puts them behind what the service said itself.
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        for (name, value) in self.0 {
            headers.append(name, value);
        }
    }
}

/// What there is. A window that is no whole number of seconds cannot be said, so it is left away.
pub(crate) fn policy_field(name: &str, config: &RateLimitConfig) -> Option<HeaderValue> {
    let period = config.limit_refresh_period;
    let window = if period.subsec_nanos() == 0 { format!(";w={}", period.as_secs()) } else { String::new() };
    HeaderValue::try_from(format!("\"{name}\";q={}{window}", config.limit_for_period)).ok()
}

/// How much of it is left.
pub(crate) fn state_field(name: &str, quote: Quote) -> Option<HeaderValue> {
    let seconds = seconds_up(quote.reset);
    HeaderValue::try_from(format!("\"{name}\";r={};t={seconds}", quote.remaining)).ok()
}

fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_told_in_the_words_of_the_draft() {
        let config = |limit_for_period, millis| RateLimitConfig {
            limit_for_period,
            limit_refresh_period: Duration::from_millis(millis),
            ..RateLimitConfig::default()
        };
        for (config, expected) in [
            (config(100, 1000), "\"buy\";q=100;w=1"),
            (config(5, 60_000), "\"buy\";q=5;w=60"),
            (config(5, 1500), "\"buy\";q=5"),
        ] {
            assert_eq!(policy_field("buy", &config).expect("a field"), expected);
        }
        for (remaining, millis, expected) in
            [(12, 0, "\"buy\";r=12;t=0"), (0, 1, "\"buy\";r=0;t=1"), (3, 2000, "\"buy\";r=3;t=2")]
        {
            let quote = Quote { remaining, reset: Duration::from_millis(millis) };
            assert_eq!(state_field("buy", quote).expect("a field"), expected);
        }
    }
}
