//! Queues and topics: where their jobs go, when, and what is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::delivery::{Guarantee, Schedule, webhook};
use seaworthy_policy::{DeliveryConfig, RateLimitConfig};

use super::entrance::{is_field_name, priority_of, word_of};
use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Data, Value, show_duration, show_rate, show_share, show_size};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{
    DedupePlan, LanePlan, Origin, PushPlan, QueuePlan, SecretSource, SubscriberPlan, TopicPlan,
};
use crate::yaml::Name;

/// The largest body unless the spec says otherwise.
const MAX_BODY: u64 = 256 << 10;
/// How many jobs a queue holds unless the spec says otherwise.
const CAPACITY: u32 = 1_000_000;
/// How long dead letters are kept unless the spec says otherwise.
const DEAD_LETTER_AGE: Duration = Duration::from_hours(30 * 24);
/// How many dead letters are kept unless the spec says otherwise.
const DEAD_LETTERS: u32 = 100_000;
/// How long keys of jobs are remembered unless the spec says otherwise.
const DEDUPE_WINDOW: Duration = Duration::from_hours(24);
/// Where the keys of jobs stand unless the spec says otherwise.
const DEDUPE_HEADER: &str = "idempotency-key";
/// What a topic keeps unless the spec says otherwise.
const TOPIC_AGE: Duration = Duration::from_hours(7 * 24);
const TOPIC_SIZE: u64 = 1 << 30;
/// What only pushing needs.
const PUSH_ONLY: [&str; 7] =
    ["timeout", "concurrency", "rate", "circuit_breaker", "final", "max_retry_after", "signing"];
/// Rates are counted by the hour, so that one per hour is a whole number too.
const HOUR: Duration = Duration::from_hours(1);

impl Resolver<'_> {
    pub(super) fn queues(&mut self) -> Vec<QueuePlan> {
        let root = self.root;
        let entries = root.map("queues").iter();
        entries.filter_map(|(name, value)| self.queue(name, value)).collect()
    }

    pub(super) fn topics(&mut self) -> Vec<TopicPlan> {
        let root = self.root;
        let entries = root.map("topics").iter();
        entries.filter_map(|(name, value)| self.topic(name, value)).collect()
    }

    fn queue(&mut self, name: &Name, value: &Value) -> Option<QueuePlan> {
        let section = Section::new(format!("queues.{}", name.text), Some(value.as_object()?));
        let lane = self.lane(&section);
        let dedupe = self.dedupe(&section);
        let deadline = self.optional_duration(&section, "deadline");
        let delay = self.duration(&section, "delay", Duration::ZERO);
        if let Some(deadline) = deadline
            && deadline <= delay
        {
            self.report_late(&section, deadline, delay);
        }
        let given = section.get("priority").and_then(Value::as_text).map(priority_of);
        let otherwise = (seaworthy_policy::admission::Priority::default(), Origin::Default);
        let show = |priority: &_| word_of(*priority).to_owned();
        let priority = self.effective(&section, "priority", given, otherwise, show);
        let max_body = self.size(&section, "max_body", MAX_BODY);
        let capacity = u64::from(self.count(&section, "capacity", CAPACITY));
        Some(QueuePlan {
            name: name.text.clone(),
            place: self.place(name.span),
            lane: lane?,
            dedupe,
            deadline,
            delay,
            priority,
            max_body,
            capacity,
        })
    }

    fn topic(&mut self, name: &Name, value: &Value) -> Option<TopicPlan> {
        let object = value.as_object()?;
        let section = Section::new(format!("topics.{}", name.text), Some(object));
        let retention = section.under("retention");
        let age = self.duration(&retention, "age", TOPIC_AGE);
        let size = self.size(&retention, "size", TOPIC_SIZE);
        let max_body = self.size(&section, "max_body", MAX_BODY);
        if max_body > size {
            self.report_too_small(&section, max_body, size);
        }
        let mut subscribers = Vec::new();
        for (name, value) in object.map("subscribers") {
            let path = format!("{}.{}", section.path_of("subscribers"), name.text);
            let Some(object) = value.as_object() else { continue };
            let section = Section::new(path, Some(object));
            let lane = self.lane(&section);
            let given = section.get("start").and_then(Value::as_text).map(|word| word == "oldest");
            let show = |oldest: &bool| if *oldest { "oldest" } else { "now" }.to_owned();
            let from_oldest = self.effective(&section, "start", given, (false, Origin::Default), show);
            let Some(lane) = lane else { continue };
            let place = self.place(name.span);
            subscribers.push(SubscriberPlan { name: name.text.clone(), place, from_oldest, lane });
        }
        let place = self.place(name.span);
        Some(TopicPlan { name: name.text.clone(), place, age, size, max_body, subscribers })
    }

    /// Everything that queues and subscribers share; `None` when it names nobody.
    fn lane(&mut self, section: &Section<'_>) -> Option<LanePlan> {
        let push = match section.get("deliver").map(|value| (value, &value.data)) {
            Some((value, Data::Delivery { method, service, path })) => {
                let origin = self.origin(value.span);
                self.setting(section.path_of("deliver"), format!("{method} {service}{path}"), origin);
                let service = self.service_named(service, value.span)?;
                Some(PushPlan { service, method: method.clone(), path: path.clone() })
            }
            _ => None,
        };
        if let Some(value) = section.get("pull") {
            let origin = self.origin(value.span);
            self.setting(section.path_of("pull"), "true", origin);
            self.refuse_push_only(section);
        }
        let delivery = self.delivery(section);
        let order_by = section.under("order_by");
        let order_by = if order_by.object.is_some() {
            self.header(&order_by, None)
        } else {
            self.setting(section.path_of("order_by"), "none", Origin::Default);
            None
        };
        let signing = self.signing(section);
        let dead_letters = section.under("dead_letters");
        let dead_letter_age = self.duration(&dead_letters, "age", DEAD_LETTER_AGE);
        let dead_letters_max = u64::from(self.count(&dead_letters, "count", DEAD_LETTERS));
        let is_given = section.is_given("deliver") || section.is_given("pull");
        let delivery = Arc::new(delivery?);
        is_given.then_some(LanePlan { push, delivery, order_by, signing, dead_letter_age, dead_letters_max })
    }

    fn delivery(&mut self, section: &Section<'_>) -> Option<DeliveryConfig> {
        let default = DeliveryConfig::default();
        let schedule = self.schedule(section, &default.schedule);
        let max_retry_after = self.duration(section, "max_retry_after", default.max_retry_after);
        let timeout = self.duration(section, "timeout", default.timeout);
        let lease = self.duration(section, "lease", default.lease);
        let concurrency = self.count(section, "concurrency", default.concurrency);
        let rate = self.rate(section);
        let breaker = if section.is_word("circuit_breaker", "off") {
            self.off(section, "circuit_breaker");
            None
        } else {
            Some(Arc::new(self.breaker(&section.under("circuit_breaker"), timeout)))
        };
        let final_statuses = self.final_statuses(section, &default.final_statuses);
        let given = section.get("guarantee").and_then(Value::as_text).map(|word| match word {
            "at_most_once" => Guarantee::AtMostOnce,
            _ => Guarantee::AtLeastOnce,
        });
        let show = |guarantee: &Guarantee| match guarantee {
            Guarantee::AtLeastOnce => "at_least_once".to_owned(),
            Guarantee::AtMostOnce => "at_most_once".to_owned(),
        };
        let guarantee =
            self.effective(section, "guarantee", given, (default.guarantee, Origin::Default), show);
        let config = DeliveryConfig {
            schedule,
            timeout,
            lease,
            concurrency,
            // As many again wait here, so that no place stands empty for as long as the store takes.
            prefetch: concurrency,
            rate,
            breaker,
            final_statuses,
            max_retry_after,
            guarantee,
            ..default
        };
        // The breaker has been judged, key by key.
        let valid = DeliveryConfig { breaker: None, ..config.clone() }.validate();
        self.require_valid(section, valid)?;
        Some(config)
    }

    fn schedule(&mut self, section: &Section<'_>, default: &Schedule) -> Schedule {
        let list = section.object.map(|object| object.list("schedule")).unwrap_or_default();
        let given: Arc<[Duration]> = list.iter().filter_map(Value::as_duration).collect();
        let given = section.get("schedule").map(|_| given);
        let show = |waits: &Arc<[Duration]>| show_list(waits.iter().map(|wait| show_duration(*wait)));
        let otherwise = (Arc::clone(&default.waits), Origin::Default);
        let waits = self.effective(section, "schedule", given, otherwise, show);
        let jitter = section.get("jitter").and_then(Value::as_ratio);
        let jitter = self.effective(section, "jitter", jitter, (default.jitter, Origin::Default), |share| {
            show_share(*share)
        });
        let schedule = Schedule { waits, jitter };
        let from_schedule = (schedule.attempts(), Origin::Derived("schedule".to_owned()));
        let attempts = self.count_or(section, "attempts", from_schedule);
        if let (Some(waits), Some(number)) = (section.get("schedule"), section.get("attempts"))
            && attempts < schedule.attempts()
        {
            let waits_given = schedule.attempts();
            let message = format!("{attempts} attempts use only {attempts} of {waits_given} waits");
            self.report(
                Diagnostic::new(Code::Contradiction, number.span, message)
                    .label(format!("{attempts} attempts"))
                    .also(waits.span, format!("{waits_given} waits, one before each attempt"))
                    .help("leave out `attempts`, or shorten `schedule`")
                    .path(section.path_of("attempts")),
            );
        }
        if schedule.waits.is_empty() { schedule } else { schedule.with_attempts(attempts) }
    }

    fn rate(&mut self, section: &Section<'_>) -> Option<RateLimitConfig> {
        let rate = section.get("rate").and_then(|value| match value.data {
            Data::Rate(rate) => Some(rate),
            _ => None,
        });
        let show = |rate: &Option<f64>| rate.map_or_else(|| "none".to_owned(), show_rate);
        let rate = self.effective(section, "rate", rate.map(Some), (None, Origin::Default), show)?;
        let per_hour = (rate * HOUR.as_secs_f64()).round().clamp(1.0, f64::from(u32::MAX));
        Some(RateLimitConfig {
            limit_for_period: per_hour as u32,
            limit_refresh_period: HOUR,
            // A second's worth at once.
            burst: Some(rate.ceil().max(1.0) as u32),
            ..RateLimitConfig::default()
        })
    }

    fn final_statuses(&mut self, section: &Section<'_>, default: &Arc<[u16]>) -> Arc<[u16]> {
        let list = section.object.map(|object| object.list("final")).unwrap_or_default();
        let mut statuses = Vec::new();
        for value in list {
            let Some(status) = value.as_count().and_then(|status| u16::try_from(status).ok()) else {
                continue;
            };
            let (label, help) = match status {
                300..=409 | 411..=599 => {
                    statuses.push(status);
                    continue;
                }
                410 => ("disables the receiver, whatever is listed", "leave it out"),
                200..=299 => ("means that the job is delivered", "leave it out"),
                _ => ("is not the end of an answer", "leave it out"),
            };
            let message = format!("{status} is not a final failure");
            let path = section.path_of("final");
            self.report(
                Diagnostic::new(Code::OutOfRange, value.span, message).label(label).help(help).path(path),
            );
        }
        statuses.sort_unstable();
        statuses.dedup();
        let given = section.get("final").map(|_| statuses.into());
        let show = |statuses: &Arc<[u16]>| show_list(statuses.iter().map(u16::to_string));
        self.effective(section, "final", given, (Arc::clone(default), Origin::Default), show)
    }

    fn signing(&mut self, section: &Section<'_>) -> Vec<SecretSource> {
        let list = section.object.and_then(|object| object.object("signing"));
        let list = list.map(|object| object.list("secret")).unwrap_or_default();
        if list.is_empty() && !section.is_given("signing") {
            self.setting(section.path_of("signing"), "none", Origin::Default);
        }
        if let Some(value) = list.get(webhook::SECRETS_MAX) {
            let message = format!("more than {} secrets", webhook::SECRETS_MAX);
            self.report(
                Diagnostic::new(Code::OutOfRange, value.span, message)
                    .label("one too many")
                    .help("remove secrets that no receiver uses any more")
                    .path(section.path_of("signing.secret")),
            );
        }
        let sources: Vec<SecretSource> =
            list.iter().filter_map(|value| Some(source_of(value.as_text()?))).collect();
        if let Some(first) = list.first().filter(|_| !sources.is_empty()) {
            let origin = self.origin(first.span);
            let shown = show_list(list.iter().filter_map(Value::as_text).map(str::to_owned));
            self.setting(section.path_of("signing.secret"), shown, origin);
        }
        sources
    }

    fn dedupe(&mut self, section: &Section<'_>) -> Option<DedupePlan> {
        if section.is_word("dedupe", "off") {
            self.off(section, "dedupe");
            return None;
        }
        let dedupe = section.under("dedupe");
        let window = self.duration(&dedupe, "window", DEDUPE_WINDOW);
        let header = self.header(&dedupe, Some(DEDUPE_HEADER))?;
        Some(DedupePlan { window, header })
    }

    /// The name of a header under the key `header`.
    fn header(&mut self, section: &Section<'_>, default: Option<&str>) -> Option<String> {
        let given = section.get("header").and_then(|value| Some((value, value.as_text()?)));
        if let Some((value, text)) = given.filter(|(_, text)| !is_field_name(text)) {
            self.report(
                Diagnostic::new(
                    Code::Malformed,
                    value.span,
                    format!("{} is not the name of a header", quoted(text)),
                )
                .label("letters, digits and `-`")
                .help("write `{ header: X-Customer }`")
                .path(section.path_of("header")),
            );
            return None;
        }
        let given = given.map(|(_, text)| text.to_ascii_lowercase());
        let otherwise = default.map(str::to_owned);
        if given.is_none() && otherwise.is_none() {
            return None;
        }
        let otherwise = (otherwise.unwrap_or_default(), Origin::Default);
        Some(self.effective(section, "header", given, otherwise, Clone::clone))
    }

    fn optional_duration(&mut self, section: &Section<'_>, key: &str) -> Option<Duration> {
        let given = section.get(key).and_then(Value::as_duration).map(Some);
        let show = |duration: &Option<Duration>| duration.map_or_else(|| "none".to_owned(), show_duration);
        self.effective(section, key, given, (None, Origin::Default), show)
    }

    fn refuse_push_only(&mut self, section: &Section<'_>) {
        for key in PUSH_ONLY {
            let Some(span) = section.key_span(key) else { continue };
            self.report(
                Diagnostic::new(
                    Code::Contradiction,
                    span,
                    format!("`{key}` has no effect where workers claim jobs"),
                )
                .label("nothing is sent")
                .help(format!("leave `{key}` out, or write `deliver: POST SERVICE/path` in place of `pull`"))
                .path(section.path_of(key)),
            );
        }
    }

    fn report_late(&mut self, section: &Section<'_>, deadline: Duration, delay: Duration) {
        let Some(value) = section.get("deadline") else { return };
        let message = format!(
            "a job expires after {} and is due after {}",
            show_duration(deadline),
            show_duration(delay)
        );
        let mut diagnostic = Diagnostic::new(Code::Contradiction, value.span, message)
            .label("no job is ever attempted")
            .help("raise `deadline` above `delay`")
            .path(section.path_of("deadline"));
        if let Some(delay) = section.get("delay") {
            diagnostic = diagnostic.also(delay.span, "due only then");
        }
        self.report(diagnostic);
    }

    fn report_too_small(&mut self, section: &Section<'_>, max_body: u64, size: u64) {
        let retention = section.under("retention");
        let Some(value) = retention.get("size").or_else(|| section.get("max_body")) else { return };
        let (body, size) = (show_size(max_body), show_size(size));
        let message = format!("an event may have {body}, and the topic holds {size}");
        self.report(
            Diagnostic::new(Code::Contradiction, value.span, message)
                .label("one event would not fit")
                .help("raise `retention: { size: ... }`, or lower `max_body`")
                .path(section.path.clone()),
        );
    }
}

fn show_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Where a secret is that the decoder let pass.
fn source_of(text: &str) -> SecretSource {
    match text.split_once(':') {
        Some(("env", name)) => SecretSource::Environment(name.to_owned()),
        Some((_, path)) => SecretSource::File(PathBuf::from(path)),
        None => SecretSource::File(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests;
