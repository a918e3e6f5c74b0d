//! How requests are spread over endpoints, and what is told about deadlines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{BalanceConfig, Strategy, Tier};

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Object, Value};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{AffinitySource, MemberPlan, Origin, TrafficPlan};
use crate::source::Span;

/// Fields that mean something else already, so that nothing can be told in them.
const TAKEN: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "grpc-timeout",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "via",
    "x-envoy-expected-rq-timeout-ms",
];

impl Resolver<'_> {
    /// What an edge does besides protecting single calls. `is_supervised` services hear of deadlines, so that their calls
    /// need time for the way back as well.
    pub(super) fn traffic(
        &mut self,
        policy: &Section<'_>,
        call: &mut CallConfig,
        is_supervised: bool,
    ) -> TrafficPlan {
        let default = TrafficPlan::default();
        let load_balancing = policy.under("load_balancing");
        let own_zone = load_balancing.get("own_zone").and_then(Value::as_text).map(|word| word == "prefer");
        let show = |prefers: &bool| if *prefers { "prefer" } else { "ignore" }.to_owned();
        let prefers_own_zone = self.effective(
            &load_balancing,
            "own_zone",
            own_zone,
            (default.prefers_own_zone, Origin::Default),
            show,
        );
        let affinity = self.affinity(&load_balancing);
        let deadline_header = self.deadline_header(policy);
        let deadline_margin = self.duration(policy, "deadline_margin", default.deadline_margin);
        let min_remaining = self.duration(policy, "min_remaining", call.min_remaining);
        let margin = if is_supervised { deadline_margin } else { Duration::ZERO };
        call.min_remaining = min_remaining.saturating_add(margin);
        TrafficPlan { affinity, prefers_own_zone, members: BTreeMap::new(), deadline_header, deadline_margin }
    }

    /// How the pool chooses.
    pub(super) fn balance(&mut self, policy: &Section<'_>, attempt_timeout: Duration) -> BalanceConfig {
        let default = BalanceConfig::default();
        let section = policy.under("load_balancing");
        let word = section.get("strategy").and_then(Value::as_text);
        let strategy = match word {
            Some("round_robin") => Strategy::RoundRobin,
            Some("least_in_flight") => Strategy::LeastInFlight,
            _ => default.strategy,
        };
        let shown = word.unwrap_or("p2c").to_owned();
        self.effective(&section, "strategy", word.map(str::to_owned), (shown, Origin::Default), Clone::clone);
        let factor = section.get("load_factor").and_then(Value::as_factor);
        let factor = self.effective(
            &section,
            "load_factor",
            factor,
            (default.affinity_load_factor, Origin::Default),
            f64::to_string,
        );
        BalanceConfig {
            strategy,
            // What fails must not look fast.
            failure_cost: attempt_timeout,
            slow_start: self.duration(&section, "slow_start", default.slow_start),
            own_zone: None,
            zone_healthy_share: self.ratio(&section, "healthy_share", default.zone_healthy_share),
            standby_below: self.ratio(&section, "standby_below", default.standby_below),
            failback_delay: self.duration(&section, "failback_delay", default.failback_delay),
            affinity_load_factor: factor,
        }
    }

    /// The cap of each endpoint, and what it means for the whole edge.
    pub(super) fn max_in_flight(
        &mut self,
        policy: &Section<'_>,
        call: &mut CallConfig,
        endpoint_count: usize,
    ) -> Option<u32> {
        let given = policy.get("max_in_flight").and_then(Value::as_count);
        let given = given.map(|count| Some(u32::try_from(count).unwrap_or(u32::MAX)));
        let show = |cap: &Option<u32>| cap.map_or_else(|| "none".to_owned(), |cap| cap.to_string());
        let cap = self.effective(policy, "max_in_flight", given, (None, Origin::Default), show);
        let endpoints = u32::try_from(endpoint_count.max(1)).unwrap_or(u32::MAX);
        call.in_flight_cap = cap.map(|cap| cap.saturating_mul(endpoints));
        cap
    }

    fn affinity(&mut self, section: &Section<'_>) -> Option<AffinitySource> {
        let wanted = section.is_word("strategy", "affinity");
        let Some(object) = section.object.and_then(|object| object.object("affinity")) else {
            if let Some(value) = section.get("strategy").filter(|_| wanted && !section.is_given("affinity")) {
                self.report(
                    Diagnostic::new(Code::MissingKey, value.span, "affinity to what?")
                        .label("needs a part of the request as its key")
                        .help("add `affinity: { cookie: NAME }` or `affinity: { header: NAME }`")
                        .path(section.path_of("affinity")),
                );
            }
            return None;
        };
        let path = section.path_of("affinity");
        let (kind, value) = ["header", "cookie"].into_iter().find_map(|key| Some((key, object.get(key)?)))?;
        let name = self.token(value, &format!("{path}.{kind}"), kind)?;
        let origin = self.origin(value.span);
        self.setting(format!("{path}.{kind}"), name.clone(), origin);
        Some(if kind == "header" {
            AffinitySource::Header(name.to_ascii_lowercase())
        } else {
            AffinitySource::Cookie(name)
        })
    }

    fn deadline_header(&mut self, policy: &Section<'_>) -> String {
        let value = policy.get("deadline_header");
        let name = value.and_then(|value| self.token(value, &policy.path_of("deadline_header"), "header"));
        let name = name.map(|name| name.to_ascii_lowercase());
        if let (Some(value), Some(name)) = (value, name.as_deref())
            && TAKEN.contains(&name)
        {
            let message = format!("the header {} means something else", quoted(name));
            self.report(
                Diagnostic::new(Code::BadName, value.span, message)
                    .label("taken")
                    .help("choose a name of its own; `grpc-timeout` and `x-envoy-expected-rq-timeout-ms` are understood without it")
                    .path(policy.path_of("deadline_header")),
            );
        }
        let default = (TrafficPlan::default().deadline_header, Origin::Default);
        self.effective(policy, "deadline_header", name, default, Clone::clone)
    }

    /// The name of a header or cookie (a token of RFC 9110 §5.6.2).
    fn token(&mut self, value: &Value, path: &str, kind: &str) -> Option<String> {
        let text = value.as_text()?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !text.is_empty() && text.bytes().all(allowed) {
            return Some(text.to_owned());
        }
        let message = format!("{} is not the name of a {kind}", quoted(text));
        self.report(
            Diagnostic::new(Code::BadName, value.span, message)
                .label("letters, digits and dashes only")
                .path(path),
        );
        None
    }

    /// The endpoints of a service that somebody else runs: addresses with their zones, and what they are by number.
    pub(super) fn endpoint_list(
        &mut self,
        values: &[Value],
    ) -> (Vec<(SocketAddr, u16)>, BTreeMap<String, MemberPlan>) {
        let (mut endpoints, mut members) = (Vec::new(), BTreeMap::new());
        let (mut zoned, mut unzoned) = (None, None);
        for value in values {
            let (address, zone, member) = match value.as_object() {
                Some(object) => (object.address("url"), self.zone_of(object), member_of(object)),
                None => (value.as_address(), None, MemberPlan::default()),
            };
            let Some(address) = address else { continue };
            if zone.is_some() { &mut zoned } else { &mut unzoned }.get_or_insert(value.span);
            if endpoints.iter().any(|(known, _)| *known == address) {
                let message = format!("the endpoint {address} is listed twice");
                self.report(Diagnostic::new(Code::Contradiction, value.span, message).label("again here"));
            }
            endpoints.push((address, zone.unwrap_or(0)));
            if member != MemberPlan::default() {
                members.insert(endpoints.len().to_string(), member);
            }
        }
        if let (Some(zoned), Some(unzoned)) = (zoned, unzoned) {
            self.report(
                Diagnostic::new(
                    Code::Contradiction,
                    unzoned,
                    "some endpoints have a zone, and this one has none",
                )
                .label("in which zone?")
                .also(zoned, "this one has one")
                .help("write `{ url: ..., zone: ... }` for each of them, or for none"),
            );
        }
        if let (Some(value), false) = (values.first(), members.is_empty()) {
            self.require_active(value.span, endpoints.len(), &members);
        }
        (endpoints, members)
    }

    /// Somebody must serve while all is well.
    pub(super) fn require_active(
        &mut self,
        span: Span,
        total: usize,
        members: &BTreeMap<String, MemberPlan>,
    ) {
        let standby = members.values().filter(|member| member.tier == Tier::Standby).count();
        if standby >= total && total > 0 {
            self.report(
                Diagnostic::new(Code::OutOfRange, span, "a service with standby endpoints only")
                    .label("who serves while all is well?")
                    .help("make at least one of them active"),
            );
        }
    }

    fn zone_of(&mut self, object: &Object) -> Option<u16> {
        let value = object.get("zone")?;
        self.zone_named(value.as_text()?, value.span)
    }
}

fn member_of(object: &Object) -> MemberPlan {
    let tier = if object.text("tier") == Some("standby") { Tier::Standby } else { Tier::Active };
    MemberPlan { tier, weight: weight_of(object) }
}

/// The weight that an endpoint, or each replica of a zone, is given.
pub(super) fn weight_of(object: &Object) -> u32 {
    object.count("weight").and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1)
}

/// How many replicas of a zone always serve, and how many stand by.
pub(super) fn tiers_of(value: &Value) -> Option<(u64, u64, u32)> {
    if let Some(count) = value.as_count() {
        return Some((count, 0, 1));
    }
    let object = value.as_object()?;
    let standby = object.count("standby").unwrap_or(0);
    let usual = u64::from(object.given("standby").is_none());
    Some((object.count("active").unwrap_or(usual), standby, weight_of(object)))
}

/// An endpoint as the plan shows it.
pub(super) fn show_endpoint(address: SocketAddr, member: MemberPlan) -> String {
    let tier = if member.tier == Tier::Standby { " (standby)" } else { "" };
    let weight = if member.weight == 1 { String::new() } else { format!(" (weight {})", member.weight) };
    format!("http://{address}{tier}{weight}")
}
