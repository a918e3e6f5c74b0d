//! What requests must pass: what is written is what is meant, and what is not written is off.

use std::time::Duration;

use seaworthy_policy::admission::{Discipline, Priority};
use seaworthy_policy::entrance::Kind;
use seaworthy_policy::limit::Algorithm;
use seaworthy_spec::plan::{EntrancePlan, KeySource, Origin, Plan};
use seaworthy_spec::{parse, render};

fn plan_of(text: &str) -> Plan {
    let outcome = parse("folder/test.yaml", text);
    let problems = render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain);
    outcome.plan.unwrap_or_else(|| panic!("{problems}"))
}

const FULL: &str = "
seaworthy: v1
name: shop
gateway:
  listen: 127.0.0.1:8080
  rate_limit: { limit_for_period: 5000, key: all }
  concurrency: { limit: 1000, queue: 0 }
services:
  api: { run: ./api, policy: { attempt_timeout: 2s, concurrency: { limit: adaptive, fairness: { header: X-Tenant } } } }
  payments:
    run: ./payments
    egress: 127.0.0.1:7101
    policy: { adaptive_throttle: { k: 1.5, window: 10s } }
routes:
  buy: { match: POST /buy, to: api, priority: critical_plus }
  chat: { match: /chat/**, to: api, priority: sheddable }
  search:
    match: GET /search
    to: api
    rate_limit: { limit_for_period: 100, limit_refresh_period: 1m, burst: 20, key: { header: X-Api-Key }, max_wait: 250ms }
    concurrency: { limit: 20, queue: 5, max_wait: 500ms, discipline: fifo, fairness: client }
";

#[test]
fn everything_can_be_said() {
    let plan = plan_of(FULL);
    let route = |name: &str| &plan.routes.iter().find(|route| route.name == name).unwrap().entrance;
    assert_eq!(route("buy").priority, Priority::CriticalPlus);
    assert_eq!(route("chat").priority, Priority::Sheddable);
    assert_eq!(route("search").priority, Priority::Critical);

    let limit = route("search").rate_limit.clone().unwrap();
    assert_eq!((limit.config.limit_for_period, limit.config.burst), (100, Some(20)));
    assert_eq!(limit.config.limit_refresh_period, Duration::from_mins(1));
    assert_eq!(limit.config.timeout_duration, Duration::from_millis(250));
    assert_eq!(limit.key, KeySource::Header("x-api-key".to_owned()));
    let places = route("search").concurrency.clone().unwrap();
    assert_eq!((places.config.limit.algorithm, places.config.limit.max_limit), (Algorithm::Fixed, 20));
    assert_eq!((places.config.max_queue, places.config.queue_discipline), (5, Discipline::Fifo));
    assert_eq!(places.config.max_wait_duration, Duration::from_millis(500));
    assert_eq!(places.key, KeySource::Client);

    let common = plan.entrance.rate_limit.clone().unwrap();
    assert_eq!((common.config.effective_burst(), common.key), (5000, KeySource::All));
    let places = plan.entrance.concurrency.clone().unwrap();
    assert_eq!((places.config.limit.max_limit, places.config.max_queue), (1000, 0));

    let adaptive = plan.service("api").unwrap().1.entrance.concurrency.clone().unwrap();
    assert_eq!(adaptive.config.limit.algorithm, Algorithm::Vegas);
    assert_eq!(
        adaptive.config.limit.timeout,
        Duration::from_secs(2),
        "an attempt that took that long is lost"
    );
    assert_eq!(adaptive.key, KeySource::Header("x-tenant".to_owned()));
    let throttle = plan.service("payments").unwrap().1.entrance.throttle.unwrap();
    assert_eq!((throttle.k, throttle.window), (1.5, Duration::from_secs(10)));

    for gates in [route("search").gates(), plan.entrance.gates()] {
        assert!(gates.iter().all(|(config, _)| config.validate().is_ok()));
        let kinds: Vec<Kind> = gates.iter().map(|(config, _)| config.kind()).collect();
        assert_eq!(kinds, [Kind::RateLimit, Kind::Concurrency]);
    }
}

#[test]
fn nothing_is_on_that_was_not_asked_for() {
    let plan = plan_of(
        "seaworthy: v1\nname: x\ngateway: { listen: 127.0.0.1:0 }\nservices: { one: { run: ./x } }\nroutes: { r: { match: /**, to: one } }\n",
    );
    assert_eq!(plan.entrance, EntrancePlan::default());
    assert_eq!(plan.routes[0].entrance, EntrancePlan::default());
    assert_eq!(plan.services[0].entrance, EntrancePlan::default());
    assert!(EntrancePlan::default().gates().is_empty());
    for (path, value) in [
        ("gateway.rate_limit", "none"),
        ("gateway.concurrency", "none"),
        ("routes.r.priority", "critical"),
        ("routes.r.rate_limit", "none"),
        ("routes.r.concurrency", "none"),
        ("services.one.policy.concurrency", "none"),
        ("services.one.policy.adaptive_throttle", "off"),
    ] {
        let setting = plan.setting(path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!((setting.value.as_str(), &setting.origin), (value, &Origin::Default), "{path}");
    }
}

#[test]
fn the_plan_says_where_each_value_comes_from() {
    let plan = plan_of(FULL);
    let written = |path: &str| matches!(plan.setting(path).unwrap().origin, Origin::Spec(_));
    for (path, value, is_written) in [
        ("routes.chat.priority", "sheddable", true),
        ("routes.search.rate_limit.burst", "20", true),
        ("routes.search.rate_limit.key", "{ header: x-api-key }", true),
        ("routes.search.rate_limit.max_keys", "10000", false),
        ("services.api.policy.concurrency.limit", "adaptive", true),
        ("services.api.policy.concurrency.queue", "100", false),
        ("services.api.policy.concurrency.discipline", "adaptive_lifo", false),
        ("services.payments.policy.adaptive_throttle.k", "1.5", true),
        ("gateway.rate_limit.burst", "5000", false),
    ] {
        assert_eq!(
            (plan.setting(path).unwrap().value.as_str(), written(path)),
            (value, is_written),
            "{path}"
        );
    }
    assert_eq!(
        plan.setting("gateway.rate_limit.burst").unwrap().origin,
        Origin::Derived("limit_for_period".to_owned())
    );
}
