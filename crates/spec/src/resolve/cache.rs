//! Stored answers of routes, and the rungs of their degradation ladders.

use std::time::Duration;

use seaworthy_policy::fallback::FallbackConfig;

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Object, Value, show_duration, show_size};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{CacheLimits, CachePlan, DegradeStep, Origin, RouteMatch};
use crate::source::Span;

/// The status of a static answer unless the spec says otherwise.
const STATIC_STATUS_DEFAULT: u16 = 503;
/// The share of a route's total timeout that is kept for its fallback service. Without it, the last attempt at a
/// service that hangs would use up the time in which the other one could answer.
const FALLBACK_TIME_SHARE: u32 = 3;

/// What a ladder has to know of its route.
pub(super) struct Rungs<'a> {
    pub(super) matcher: Option<&'a RouteMatch>,
    /// Index of the service that the route leads to.
    pub(super) to: Option<usize>,
    pub(super) total_timeout: Duration,
}

/// How long a client may send nothing of a request's body, unless the spec says otherwise.
const CLIENT_BODY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

impl Resolver<'_> {
    /// The patience with clients that send slowly.
    pub(super) fn client_body_timeout(&mut self) -> Duration {
        let gateway = Section::new("gateway", self.root.object("gateway"));
        self.duration(&gateway, "client_body_timeout", CLIENT_BODY_TIMEOUT_DEFAULT)
    }

    /// The bounds of stored answers.
    pub(super) fn cache_limits(&mut self) -> CacheLimits {
        let gateway = Section::new("gateway", self.root.object("gateway"));
        let section = gateway.under("cache");
        let default = CacheLimits::default();
        let limits = CacheLimits {
            max_bytes: self.size(&section, "max_bytes", default.max_bytes),
            max_entries: u64::from(self.count(&section, "max_entries", default.max_entries as u32)),
            max_answer_bytes: self.size(&section, "max_answer_bytes", default.max_answer_bytes),
        };
        if limits.max_answer_bytes > limits.max_bytes
            && let Some(value) = section.get("max_answer_bytes").or(section.get("max_bytes"))
        {
            let message = format!(
                "one answer may take {}, but all of them together {}",
                show_size(limits.max_answer_bytes),
                show_size(limits.max_bytes)
            );
            self.report(
                Diagnostic::new(Code::Contradiction, value.span, message)
                    .label("an answer must fit")
                    .help("lower `max_answer_bytes`, or raise `max_bytes`")
                    .path(section.path.clone()),
            );
        }
        limits
    }

    /// A size in bytes.
    pub(super) fn size(&mut self, section: &Section<'_>, key: &str, default: u64) -> u64 {
        let given = section.get(key).and_then(Value::as_count);
        self.effective(section, key, given, (default, Origin::Default), |size| show_size(*size))
    }

    /// The cache of a route.
    pub(super) fn route_cache(
        &mut self,
        route: &Section<'_>,
        matcher: Option<&RouteMatch>,
    ) -> Option<CachePlan> {
        let section = route.under("cache");
        let Some(object) = section.object else {
            if !route.is_given("cache") {
                self.setting(section.path, "off", Origin::Default);
            }
            return None;
        };
        if let Some(span) = route.key_span("cache") {
            self.refuse_stores_nothing(route, span, matcher, "a cache");
        }
        let ttl = object.duration("ttl")?;
        let ttl = self.duration(&section, "ttl", ttl);
        let stale_while_revalidate = self.duration(&section, "stale_while_revalidate", Duration::ZERO);
        Some(CachePlan { ttl, stale_while_revalidate })
    }

    /// Only answers to GET are stored.
    fn refuse_stores_nothing(
        &mut self,
        route: &Section<'_>,
        span: Span,
        matcher: Option<&RouteMatch>,
        what: &str,
    ) {
        let Some(method) = matcher.and_then(|matcher| matcher.method.as_deref()) else { return };
        if matches!(method, "GET" | "HEAD") {
            return;
        }
        let message = format!("{what} has no effect on a route that takes only {}", quoted(method));
        self.report(
            Diagnostic::new(Code::Contradiction, span, message)
                .label("only answers to GET are stored")
                .help("remove it, or let the route match GET")
                .path(route.path.clone()),
        );
    }

    /// The degradation ladder of a route.
    pub(super) fn degrade(&mut self, section: &Section<'_>, route: &Rungs<'_>) -> Vec<DegradeStep> {
        let steps = section.object.map(|object| object.list("degrade")).unwrap_or_default();
        let mut ladder: Vec<DegradeStep> = Vec::new();
        for (index, value) in steps.iter().enumerate() {
            let Some(object) = value.as_object() else { continue };
            let path = format!("{}.{index}", section.path_of("degrade"));
            let rung = Section::new(path, Some(object));
            let Some(step) = self.rung(section, &rung, object, route) else { continue };
            self.refuse_unreachable(value.span, &step, &ladder);
            ladder.push(step);
        }
        if ladder.is_empty() && !section.is_given("degrade") {
            self.setting(section.path_of("degrade"), "none", Origin::Default);
        }
        ladder
    }

    fn rung(
        &mut self,
        section: &Section<'_>,
        rung: &Section<'_>,
        object: &Object,
        route: &Rungs<'_>,
    ) -> Option<DegradeStep> {
        if let (Some(span), false) = (rung.key_span("max_concurrent_calls"), rung.is_given("service")) {
            self.report(
                Diagnostic::new(Code::Contradiction, span, "`max_concurrent_calls` has no effect here")
                    .label("this step calls nobody")
                    .help("it stands beside `service`"),
            );
        }
        if let Some(answer) = object.object("static") {
            let status = answer.count("status").and_then(|status| u16::try_from(status).ok());
            let status = status.unwrap_or(STATIC_STATUS_DEFAULT);
            let json = answer.text("json").unwrap_or("{}").to_owned();
            let origin = self.origin(object.span);
            self.setting(rung.path_of("static"), format!("{status} {json}"), origin);
            return Some(DegradeStep::Static { status, json });
        }
        if let Some(max_age) = object.duration("stale") {
            self.refuse_stores_nothing(section, object.span, route.matcher, "a stale answer");
            let origin = self.origin(object.span);
            self.setting(rung.path_of("stale"), show_duration(max_age), origin);
            return Some(DegradeStep::Stale { max_age });
        }
        let value = object.get("service")?;
        let service = self.service_named(value.as_text()?, value.span)?;
        if route.to == Some(service) {
            self.report(
                Diagnostic::new(Code::Contradiction, value.span, "a service cannot stand in for itself")
                    .label("the route leads there already")
                    .help("name another service, or remove the step"),
            );
        }
        let origin = self.origin(value.span);
        self.setting(rung.path_of("service"), value.as_text()?, origin);
        let calls = FallbackConfig::default().max_concurrent_calls;
        let max_concurrent_calls = self.count(rung, "max_concurrent_calls", calls);
        let time_kept = route.total_timeout / FALLBACK_TIME_SHARE;
        let origin = Origin::Derived(format!("{}.policy.total_timeout", section.path));
        self.setting(rung.path_of("time_kept"), show_duration(time_kept), origin);
        Some(DegradeStep::Service { to: service, max_concurrent_calls, time_kept })
    }

    fn refuse_unreachable(&mut self, span: Span, step: &DegradeStep, above: &[DegradeStep]) {
        let same = |other: &DegradeStep| std::mem::discriminant(other) == std::mem::discriminant(step);
        let is_static = |other: &DegradeStep| matches!(other, DegradeStep::Static { .. });
        if above.iter().any(is_static) {
            self.report(
                Diagnostic::new(Code::Contradiction, span, "this step is never reached")
                    .label("a static answer before it always works")
                    .help("keep one static answer, as the last step"),
            );
        } else if above.iter().any(same) {
            self.report(
                Diagnostic::new(Code::Contradiction, span, "this kind of step is there already")
                    .label("once is enough")
                    .help("keep one step of each kind"),
            );
        }
    }
}
