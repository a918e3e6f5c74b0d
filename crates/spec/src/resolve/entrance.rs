//! What requests must pass before they are served.

use std::time::Duration;

use seaworthy_policy::admission::{Discipline, Priority};
use seaworthy_policy::{
    AdmissionConfig, ConfigError, KeyedConfig, LimitConfig, RateLimitConfig, ThrottleConfig,
};

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Data, Value, show_duration};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{EntrancePlan, Gated, KeySource, Origin};

impl Resolver<'_> {
    /// Of the gateway as a whole.
    pub(super) fn gateway_entrance(&mut self) -> EntrancePlan {
        let section = Section::new("gateway", self.root.object("gateway"));
        let rate_limit = self.rate_limit(&section);
        let concurrency = self.concurrency(&section, LimitConfig::default().timeout);
        EntrancePlan { rate_limit, concurrency, ..EntrancePlan::default() }
    }

    /// Of one route; `attempt_timeout` is that of its calls.
    pub(super) fn route_entrance(
        &mut self,
        section: &Section<'_>,
        attempt_timeout: Duration,
    ) -> EntrancePlan {
        let given = section.get("priority").and_then(Value::as_text).map(priority_of);
        let show = |priority: &Priority| word_of(*priority).to_owned();
        let otherwise = (Priority::default(), Origin::Default);
        let priority = self.effective(section, "priority", given, otherwise, show);
        let rate_limit = self.rate_limit(section);
        let concurrency = self.concurrency(section, attempt_timeout);
        EntrancePlan { priority, rate_limit, concurrency, throttle: None }
    }

    /// Of each way to a service.
    pub(super) fn service_entrance(
        &mut self,
        service: &Section<'_>,
        attempt_timeout: Duration,
    ) -> EntrancePlan {
        let section = service.under("policy");
        let concurrency = self.concurrency(&section, attempt_timeout);
        let throttle = self.throttle(service, &section);
        EntrancePlan { concurrency, throttle, ..EntrancePlan::default() }
    }

    fn rate_limit(&mut self, parent: &Section<'_>) -> Option<Gated<RateLimitConfig>> {
        let default = RateLimitConfig::default();
        let section = parent.under("rate_limit");
        if section.object.is_none() {
            self.none(parent, "rate_limit");
            return None;
        }
        let limit = self.count(&section, "limit_for_period", default.limit_for_period);
        let period = self.duration(&section, "limit_refresh_period", default.limit_refresh_period);
        let from_limit = (limit, Origin::Derived("limit_for_period".to_owned()));
        let burst = self.count_or(&section, "burst", from_limit);
        let key = self.key_source(&section, "key", KeySource::Client);
        let max_keys = self.count(&section, "max_keys", default.keys.max_keys);
        let max_wait = self.duration(&section, "max_wait", default.timeout_duration);
        let config = RateLimitConfig {
            limit_for_period: limit,
            limit_refresh_period: period,
            burst: Some(burst),
            timeout_duration: max_wait,
            keys: KeyedConfig { max_keys, ..default.keys },
        };
        self.require_valid(&section, config.validate())?;
        Some(Gated { config, key })
    }

    fn concurrency(
        &mut self,
        parent: &Section<'_>,
        attempt_timeout: Duration,
    ) -> Option<Gated<AdmissionConfig>> {
        let default = AdmissionConfig::default();
        let section = parent.under("concurrency");
        if section.object.is_none() {
            self.none(parent, "concurrency");
            return None;
        }
        let given = section.get("limit").map(|value| match value.as_count() {
            Some(count) => LimitConfig::fixed(u32::try_from(count).unwrap_or(u32::MAX)),
            None => LimitConfig { timeout: attempt_timeout, ..LimitConfig::default() },
        });
        let fixed = section.get("limit").is_none_or(|value| value.as_count().is_some());
        let show = |limit: &LimitConfig| {
            if fixed { limit.max_limit.to_string() } else { "adaptive".to_owned() }
        };
        let limit = self.effective(&section, "limit", given, (default.limit, Origin::Default), show);
        let max_queue = self.count(&section, "queue", default.max_queue);
        let max_wait_duration = self.duration(&section, "max_wait", default.max_wait_duration);
        let discipline = section.get("discipline").and_then(Value::as_text).map(|word| match word {
            "fifo" => Discipline::Fifo,
            _ => Discipline::AdaptiveLifo,
        });
        let show = |discipline: &Discipline| match discipline {
            Discipline::Fifo => "fifo".to_owned(),
            Discipline::AdaptiveLifo => "adaptive_lifo".to_owned(),
        };
        let otherwise = (default.queue_discipline, Origin::Default);
        let queue_discipline = self.effective(&section, "discipline", discipline, otherwise, show);
        let key = self.key_source(&section, "fairness", KeySource::All);
        self.require_queue(&section, max_queue, max_wait_duration);
        let config = AdmissionConfig { limit, max_queue, max_wait_duration, queue_discipline, ..default };
        self.require_valid(&section, config.validate())?;
        Some(Gated { config, key })
    }

    fn throttle(&mut self, service: &Section<'_>, policy: &Section<'_>) -> Option<ThrottleConfig> {
        let default = ThrottleConfig::default();
        let section = policy.under("adaptive_throttle");
        if section.object.is_none() {
            let origin =
                policy.get("adaptive_throttle").map_or(Origin::Default, |value| self.origin(value.span));
            self.setting(policy.path_of("adaptive_throttle"), "off", origin);
            return None;
        }
        if let Some(span) = policy.key_span("adaptive_throttle").filter(|_| !service.is_given("egress")) {
            self.report(
                Diagnostic::new(
                    Code::Contradiction,
                    span,
                    "`adaptive_throttle` has no effect without an egress",
                )
                .label("nobody calls this service through us")
                .help("give the service an `egress`, or limit what clients may ask with `rate_limit` on a route")
                .path(policy.path_of("adaptive_throttle")),
            );
        }
        let k = section.get("k").and_then(Value::as_factor);
        let k = self.effective(&section, "k", k, (default.k, Origin::Default), f64::to_string);
        let window = self.duration(&section, "window", default.window);
        let config = ThrottleConfig { k, window, ..default };
        self.require_valid(&section, config.validate())?;
        Some(config)
    }

    /// Whose a request is: a word, or `{ header: NAME }`.
    fn key_source(&mut self, section: &Section<'_>, key: &str, default: KeySource) -> KeySource {
        let given = section.get(key).and_then(|value| match &value.data {
            Data::Word("client") => Some(KeySource::Client),
            Data::Word(_) => Some(KeySource::All),
            Data::Object(object) => {
                let name = object.get("header")?;
                let text = name.as_text()?;
                if is_field_name(text) {
                    return Some(KeySource::Header(text.to_ascii_lowercase()));
                }
                self.report(
                    Diagnostic::new(
                        Code::Malformed,
                        name.span,
                        format!("{} is not the name of a header", quoted(text)),
                    )
                    .label("letters, digits and `-`")
                    .help("write `{ header: X-Tenant }`")
                    .path(section.path_of(key)),
                );
                None
            }
            _ => None,
        });
        let all = if key == "key" { "all" } else { "none" };
        let show = |source: &KeySource| match source {
            KeySource::All => all.to_owned(),
            KeySource::Client => "client".to_owned(),
            KeySource::Header(name) => format!("{{ header: {name} }}"),
        };
        self.effective(section, key, given, (default, Origin::Default), show)
    }

    /// A queue in which nobody may wait is a mistake, when both were written.
    fn require_queue(&mut self, section: &Section<'_>, queue: u32, max_wait: Duration) {
        let (Some(first), Some(second)) = (section.get("queue"), section.get("max_wait")) else { return };
        if (queue == 0) == max_wait.is_zero() {
            return;
        }
        let message = if queue == 0 {
            format!("nobody can wait {} in a queue of 0", show_duration(max_wait))
        } else {
            format!("a queue of {queue} in which nobody may wait")
        };
        self.report(
            Diagnostic::new(Code::Contradiction, second.span, message)
                .label("one of the two is 0")
                .also(first.span, format!("`queue` is {queue}"))
                .help("to refuse at once, write `queue: 0` alone")
                .path(section.path.clone()),
        );
    }

    /// Reports what a machine could not work with, in its own words.
    pub(super) fn require_valid(
        &mut self,
        section: &Section<'_>,
        valid: Result<(), ConfigError>,
    ) -> Option<()> {
        let Err(error) = valid else { return Some(()) };
        let object = section.object?;
        let at = object.table.find(error.field).and_then(|_| section.get(error.field));
        let span = at.map_or(object.span, |value| value.span);
        self.report(
            Diagnostic::new(Code::OutOfRange, span, error.to_string())
                .label("cannot work")
                .path(section.path.clone()),
        );
        None
    }

    fn none(&mut self, parent: &Section<'_>, key: &str) {
        self.setting(parent.path_of(key), "none", Origin::Default);
    }
}

pub(super) fn priority_of(word: &str) -> Priority {
    Priority::of(word).unwrap_or_default()
}

pub(super) fn word_of(priority: Priority) -> &'static str {
    priority.as_str()
}

/// A token of RFC 9110 §5.6.2.
pub(super) fn is_field_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(is_token)
}
