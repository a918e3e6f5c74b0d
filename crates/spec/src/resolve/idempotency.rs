//! What becomes of idempotency keys.

use std::time::Duration;

use seaworthy_policy::idempotency::{Backend, Dialect, IdempotencyConfig};

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Value, show_duration, show_size};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{InFlight, KeysPlan, Origin, RouteMatch};

/// The largest answer that is given again unless the spec says otherwise.
const MAX_ANSWER_DEFAULT: u64 = 1 << 20;
/// The largest that may be asked for: each of them passes through memory.
const MAX_ANSWER_MAX: u64 = 16 << 20;
/// The longest that keys are kept.
const KEEP_MAX: Duration = Duration::from_hours(24 * 90);

impl Resolver<'_> {
    /// What a section says about keys; `None` when it says nothing.
    pub(super) fn keys(&mut self, section: &Section<'_>) -> Option<KeysPlan> {
        let keys = section.under("idempotency");
        keys.object?;
        let word = |key: &str| keys.get(key).and_then(Value::as_text);
        let required = word("key") == Some("required");
        let backend = if word("backend") == Some("honours") { Backend::Honours } else { Backend::Unaware };
        for key in ["key", "backend"] {
            if let (Some(value), Some(word)) = (keys.get(key), word(key)) {
                let origin = self.origin(value.span);
                self.setting(keys.path_of(key), word, origin);
            }
        }
        let mut plan = KeysPlan {
            required,
            backend,
            keep: None,
            in_flight: InFlight::Refuse,
            max_answer: MAX_ANSWER_DEFAULT,
            dialect: Dialect::Draft,
        };
        plan.keep = self.keep(&keys, plan.are_safe());
        if plan.keep.is_none() {
            self.refuse_unprotected(&keys, &plan);
            self.refuse_without_keep(&keys);
            return Some(plan);
        }
        if word("in_flight") == Some("wait") {
            plan.in_flight = InFlight::Wait;
        }
        if word("dialect") == Some("stripe") {
            plan.dialect = Dialect::Stripe;
        }
        for (key, default) in [("in_flight", "refuse"), ("dialect", "draft")] {
            let given = word(key);
            self.effective(&keys, key, given, (default, Origin::Default), |word| (*word).to_owned());
        }
        plan.max_answer = self.size(&keys, "max_answer", MAX_ANSWER_DEFAULT);
        if let Some(value) = keys.get("max_answer").filter(|_| plan.max_answer > MAX_ANSWER_MAX) {
            let most = show_size(MAX_ANSWER_MAX);
            self.report(
                Diagnostic::new(
                    Code::OutOfRange,
                    value.span,
                    format!("answers of at most {most} can be kept"),
                )
                .label("each of them is held in memory on its way")
                .help(format!(
                    "write at most `max_answer: {most}`; larger answers are passed on, and not given again"
                ))
                .path(keys.path_of("max_answer")),
            );
        }
        Some(plan)
    }

    /// Where every write has a key and the backend honours it, the backend keeps them.
    fn keep(&mut self, keys: &Section<'_>, are_safe: bool) -> Option<Duration> {
        let default = IdempotencyConfig::default().retention;
        let show = |keep: &Option<Duration>| keep.map_or("off".to_owned(), show_duration);
        let given = keys.get("keep").map(Value::as_duration);
        let otherwise = if are_safe {
            let because = format!("{}, {}", keys.path_of("key: required"), "backend: honours");
            (None, Origin::Derived(because))
        } else {
            (Some(default), Origin::Default)
        };
        let keep = self.effective(keys, "keep", given, otherwise, show);
        if let (Some(value), true) = (keys.get("keep"), keep.is_some_and(|keep| keep > KEEP_MAX)) {
            let most = show_duration(KEEP_MAX);
            self.report(
                Diagnostic::new(Code::OutOfRange, value.span, format!("keys are kept for at most {most}"))
                    .label("clients do not send a request again that late")
                    .path(keys.path_of("keep")),
            );
        }
        keep
    }

    /// Nothing is kept, so all depends on what the backend does.
    fn refuse_unprotected(&mut self, keys: &Section<'_>, plan: &KeysPlan) {
        for (key, is_missing, why) in [
            ("key", !plan.required, "without its key a write could be executed twice"),
            (
                "backend",
                plan.backend == Backend::Unaware,
                "a backend that does not know the key executes the write again",
            ),
        ] {
            if let Some(value) = keys.get(key).filter(|_| is_missing) {
                let word = value.as_text().unwrap_or_default();
                self.report(
                    Diagnostic::new(
                        Code::Idempotency,
                        value.span,
                        format!("`{word}` with `keep: off` protects nothing: {why}"),
                    )
                    .label("not enough where no key is kept")
                    .help("write `{ key: required, backend: honours }` if that is true, or leave `keep` out")
                    .path(keys.path_of(key)),
                );
            }
        }
    }

    fn refuse_without_keep(&mut self, keys: &Section<'_>) {
        for key in ["in_flight", "max_answer", "dialect"] {
            if let Some(span) = keys.key_span(key) {
                self.report(
                    Diagnostic::new(Code::Contradiction, span, format!("`{key}` has no effect here"))
                        .label("no key is kept")
                        .help("add `keep: 24h`, or remove it")
                        .path(keys.path_of(key)),
                );
            }
        }
    }

    /// What a route does with keys: what it says itself, in one place, or what its service says.
    pub(super) fn route_keys(
        &mut self,
        section: &Section<'_>,
        policy: &Section<'_>,
        matcher: Option<&RouteMatch>,
        default: Option<KeysPlan>,
    ) -> Option<KeysPlan> {
        if let (Some(first), Some(second)) = (section.key_span("idempotency"), policy.key_span("idempotency"))
        {
            let (first, second) = if first < second { (first, second) } else { (second, first) };
            self.report(
                Diagnostic::new(
                    Code::ExactlyOne,
                    second,
                    "`idempotency` is given on the route and in its policy",
                )
                .label("again here")
                .also(first, "first here")
                .help("keep one of them"),
            );
        }
        let method = matcher.and_then(|matcher| matcher.method.as_deref());
        let repeatable = method.filter(|method| super::loads::REPEATABLE.contains(method));
        let given = section.under("idempotency");
        let span = given.key_span("keep").or(policy.under("idempotency").key_span("keep"));
        if let (Some(method), Some(span)) = (repeatable, span) {
            let message = format!("keys have no effect on a route that takes only {}", quoted(method));
            self.report(
                Diagnostic::new(Code::Contradiction, span, message)
                    .label("this method may be repeated without a key")
                    .help("remove `idempotency`, or let the route match POST or PATCH")
                    .path(given.path),
            );
        }
        let own = self.keys(section);
        own.or_else(|| self.keys(policy)).or(default)
    }
}
